#include "daemon/bridges.h"

#include <variant>

#include "daemon/base/log.h"
#include "daemon/net/answer_of.h"

namespace gatehouse::daemon {

using proxy::ChallengeTable;

void ChallengeBridge::put_http(const std::string& token, const std::string& key_authorization) {
  proxy_.change_challenges([token, key_authorization](ChallengeTable& table) {
    if (!table.put_http(token, key_authorization))
      log(Level::kError, "acme.challenge_refused").with("type", "http-01");
  });
}

void ChallengeBridge::remove_http(const std::string& token) {
  proxy_.change_challenges([token](ChallengeTable& table) { table.remove_http(token); });
}

void ChallengeBridge::put_tls_alpn(const std::string& server_name, net::CredentialPtr credential) {
  proxy_.change_challenges([server_name, credential](ChallengeTable& table) {
    if (!table.put_tls_alpn(server_name, credential))
      log(Level::kError, "acme.challenge_refused")
          .with("type", "tls-alpn-01")
          .with("name", server_name);
  });
}

void ChallengeBridge::remove_tls_alpn(const std::string& server_name) {
  proxy_.change_challenges(
      [server_name](ChallengeTable& table) { table.remove_tls_alpn(server_name); });
}

boost::asio::awaitable<void> ChallengeBridge::settled() {
  std::function<void(std::function<void(std::monostate)>)> settle =
      [this](std::function<void(std::monostate)> answer) {
        proxy_.settle([answer = std::move(answer)] { answer({}); });
      };
  co_await net::answer_of<std::monostate>(loop_, std::move(settle));
}

}  // namespace gatehouse::daemon
