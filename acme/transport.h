#pragma once
// How acme::Client reaches a CA: over HTTPS, or inside a test. One request, one answer.

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <utility>

#include "acme/options.h"
#include "daemon/base/error.h"
#include "daemon/net/https_client.h"
#include "daemon/net/loop.h"

namespace gatehouse::acme {

class Transport {
 public:
  virtual ~Transport() = default;
  /// An error means that no complete answer came; whether the CA got the request is not known.
  virtual boost::asio::awaitable<Result<net::HttpResponse>> send(net::HttpRequest request) = 0;
};

/// The real one: verifies the CA's API by `ca_file` or the system's roots, one deadline per
/// request.
class HttpsTransport final : public Transport {
 public:
  static Result<std::unique_ptr<HttpsTransport>> create(net::Loop& loop, const Ca& ca) {
    net::HttpsClientOptions options;
    options.ca_file = ca.ca_file;
    auto client = net::HttpsClient::create(loop.context(), std::move(options));
    if (!client) return std::move(client).error().in("issuer \"" + ca.name + "\"");
    return std::make_unique<HttpsTransport>(std::move(*client));
  }
  explicit HttpsTransport(std::unique_ptr<net::HttpsClient> client) : client_(std::move(client)) {}

  boost::asio::awaitable<Result<net::HttpResponse>> send(net::HttpRequest request) override {
    return client_->send(std::move(request));
  }

 private:
  std::unique_ptr<net::HttpsClient> client_;
};

}  // namespace gatehouse::acme
