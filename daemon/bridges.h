#pragma once
// The seams between rooms that must not know each other, joined here by the roof.

#include "acme/challenge.h"
#include "daemon/net/loop.h"
#include "proxy/proxy.h"

namespace gatehouse::daemon {

/// acme makes challenge answers on the first loop, the proxy serves them on every one.
class ChallengeBridge final : public acme::ChallengeSink {
 public:
  ChallengeBridge(net::Loop& loop, proxy::Proxy& proxy) : loop_(loop), proxy_(proxy) {}

  void put_http(const std::string& token, const std::string& key_authorization) override;
  void remove_http(const std::string& token) override;
  void put_tls_alpn(const std::string& server_name, net::CredentialPtr credential) override;
  void remove_tls_alpn(const std::string& server_name) override;
  boost::asio::awaitable<void> settled() override;

 private:
  net::Loop& loop_;
  proxy::Proxy& proxy_;
};

}  // namespace gatehouse::daemon
