#pragma once
// Whether what a CA sent as the certificate may be served: it parses, the leaf is for our key and
// all our names, its dates make sense, and each certificate signed the one before it. The root is
// not looked for: clients know theirs, and a private CA's may be unknown here.

#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/net/certificate.h"

namespace gatehouse::acme {

struct ExpectedChain {
  std::string name;  // of the certificate, for the credential
  std::vector<std::string> names;
  net::PrivateKey key;
};

/// kCorrupt: not a chain at all (cut, HTML, too large), which another download may cure. kInvalid:
/// a chain, but not ours or not usable; asking again gives the same.
Result<net::CredentialPtr> check_issued_chain(std::string_view pem, const ExpectedChain& expected,
                                              WallTime now);

}  // namespace gatehouse::acme
