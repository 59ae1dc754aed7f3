#pragma once
// The seams between rooms that must not know each other, joined here by the roof.

#include "acme/challenge.h"
#include "proxy/routing/challenge_table.h"

namespace gatehouse::daemon {

/// acme makes challenge answers, the proxy serves them. Both live on the first loop.
class ChallengeBridge final : public acme::ChallengeSink {
 public:
  explicit ChallengeBridge(proxy::ChallengeTable& table) : table_(table) {}

  void put_http(const std::string& token, const std::string& key_authorization) override;
  void remove_http(const std::string& token) override;
  void put_tls_alpn(const std::string& server_name, net::CredentialPtr credential) override;
  void remove_tls_alpn(const std::string& server_name) override;

 private:
  proxy::ChallengeTable& table_;
};

}  // namespace gatehouse::daemon
