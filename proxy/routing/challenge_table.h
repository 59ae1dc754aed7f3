#pragma once
// Answers to the CA's questions that are open right now: HTTP-01 tokens (RFC 8555 section 8.3) and
// TLS-ALPN-01 certificates (RFC 8737). Bounded; changed and asked on one loop only. The roof joins
// it to acme::ChallengeSink. A token that nobody announced is a 404, except in a cluster: there any
// node is asked, and each answers any token by the thumbprint of the account. Nobody else can use
// that answer, since it is bound to our key.

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "daemon/net/certificate.h"
#include "proxy/routing/host_table.h"

namespace gatehouse::proxy {

class ChallengeTable {
 public:
  static constexpr std::size_t kEntriesMax = 10000;  // of each kind
  static constexpr std::size_t kTokenBytesMax = 128;

  /// False: not a token (base64url, RFC 8555 section 8.3), or the table is full.
  bool put_http(std::string_view token, std::string_view key_authorization);
  void remove_http(std::string_view token);
  /// `server_name` as in SNI, lower case. False: no name, no credential, or the table is full.
  bool put_tls_alpn(std::string_view server_name, net::CredentialPtr credential);
  void remove_tls_alpn(std::string_view server_name);

  /// What completes any token, by the hosts that certificates are issued for. Null: nothing does.
  using Thumbprints = HostTable<std::string>;
  void use_thumbprints(std::shared_ptr<const Thumbprints> thumbprints) {
    thumbprints_ = std::move(thumbprints);
  }

  /// True for everything under /.well-known/acme-challenge: never routed, redirected or refused,
  /// but answered with http_answer() (application/octet-stream) or else a constant 404.
  static bool is_challenge_path(std::string_view target);
  /// The key authorization for exactly this path. `target` is in normal form; one with a query has
  /// no answer.
  std::optional<std::string> http_answer(std::string_view authority, std::string_view target) const;
  /// Null: no such challenge is open.
  net::CredentialPtr tls_alpn(std::string_view server_name) const;

  std::size_t http_count() const { return http_.size(); }
  std::size_t tls_alpn_count() const { return tls_alpn_.size(); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  std::unordered_map<std::string, std::string, Hash, std::equal_to<>> http_;
  std::unordered_map<std::string, net::CredentialPtr, Hash, std::equal_to<>> tls_alpn_;
  std::shared_ptr<const Thumbprints> thumbprints_;
};

}  // namespace gatehouse::proxy
