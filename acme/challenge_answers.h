#pragma once
// The answers of one order's challenges, in place for as long as this object lives: whatever way an
// attempt ends, they are gone with it. HTTP-01 (RFC 8555 section 8.3) and TLS-ALPN-01 (RFC 8737).

#include <string>
#include <string_view>
#include <vector>

#include "acme/challenge.h"
#include "acme/jws.h"
#include "acme/messages.h"
#include "acme/options.h"
#include "daemon/base/clock.h"
#include "daemon/base/error.h"

namespace gatehouse::acme {

class ChallengeAnswers {
 public:
  /// The sink outlives this.
  explicit ChallengeAnswers(ChallengeSink& sink) : sink_(sink) {}
  ~ChallengeAnswers() { clear(); }
  ChallengeAnswers(const ChallengeAnswers&) = delete;
  ChallengeAnswers& operator=(const ChallengeAnswers&) = delete;

  // To be called before the CA is told.
  void put_http(const std::string& token, const std::string& key_authorization);
  void put_tls_alpn(const std::string& server_name, net::CredentialPtr credential);
  /// To be awaited before the CA is told.
  boost::asio::awaitable<void> settled() { return sink_.settled(); }
  void clear();

 private:
  ChallengeSink& sink_;
  std::vector<std::string> tokens_, server_names_;
};

/// "http-01", "tls-alpn-01".
std::string_view to_string(ChallengeType type);
/// What a CA sends as SNI: the name, or the reverse-mapping name of an address (RFC 8738 section
/// 6).
Result<std::string> validation_server_name(const Identifier& identifier);
/// RFC 8737 section 3: self-signed, for that one name, with the digest of the key authorization.
/// Makes a key: compute thread.
Result<net::CredentialPtr> tls_alpn_credential(const Identifier& identifier,
                                               std::string_view key_authorization, WallTime now);

}  // namespace gatehouse::acme
