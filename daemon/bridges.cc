#include "daemon/bridges.h"

#include "daemon/base/log.h"

namespace gatehouse::daemon {

void ChallengeBridge::put_http(const std::string& token, const std::string& key_authorization) {
  if (!table_.put_http(token, key_authorization))
    log(Level::kError, "acme.challenge_refused").with("type", "http-01");
}

void ChallengeBridge::remove_http(const std::string& token) { table_.remove_http(token); }

void ChallengeBridge::put_tls_alpn(const std::string& server_name, net::CredentialPtr credential) {
  if (!table_.put_tls_alpn(server_name, std::move(credential)))
    log(Level::kError, "acme.challenge_refused")
        .with("type", "tls-alpn-01")
        .with("name", server_name);
}

void ChallengeBridge::remove_tls_alpn(const std::string& server_name) {
  table_.remove_tls_alpn(server_name);
}

}  // namespace gatehouse::daemon
