#pragma once
// An apiserver as a script: each request is answered by a function, without a socket. Watches are
// answered by another one, which is given the taker of what comes.

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <string>
#include <vector>

#include "store/kube_transport.h"

namespace gatehouse {

class FakeKube final : public store::KubeTransport {
 public:
  using Answer = Result<net::HttpResponse>;

  std::function<Answer(const net::HttpRequest&)> answer = [](const net::HttpRequest&) {
    return reply(404, "{}");
  };
  std::function<Answer(const net::HttpRequest&, const net::HttpsClient::OnData&)> watch;

  std::vector<net::HttpRequest> requests;  // watches, too
  int tokens_forgotten = 0;

  static Answer reply(unsigned status, std::string body, std::vector<net::HttpField> fields = {}) {
    return net::HttpResponse{status, std::move(fields), std::move(body)};
  }

  boost::asio::awaitable<Answer> send(net::HttpRequest request) override {
    requests.push_back(request);
    co_return answer(request);
  }
  boost::asio::awaitable<Answer> stream(net::HttpRequest request, std::chrono::milliseconds,
                                        net::HttpsClient::OnData on_data) override {
    requests.push_back(request);
    co_return watch(request, on_data);
  }
  void forget_token() override { ++tokens_forgotten; }
};

}  // namespace gatehouse
