#pragma once
// The certificate that a visitor showed, as facts for those behind us.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/net/openssl.h"

namespace gatehouse::net {

struct ClientCertificate {
  std::string sha256_hex;              // of its DER form
  std::string subject;                 // one line, RFC 2253
  std::string common_name;             // of the subject; may be empty
  std::vector<std::string> uris;       // subject alternative names, as they are: a CA's client
  std::vector<std::string> dns_names;  // may have put any bytes there
};

/// Nothing: none was asked for or shown. One that did not verify has ended its handshake.
std::optional<ClientCertificate> client_certificate_of(const SSL* ssl);

/// Why this handshake refused the peer's certificate; empty when it did not.
std::string verify_failure(const SSL* ssl);

}  // namespace gatehouse::net
