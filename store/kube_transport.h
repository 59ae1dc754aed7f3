#pragma once
// How KubeClient reaches the apiserver: over HTTPS with who we are, or inside a test. The real one
// keeps up with what rotates: a token file is read again when what we know is a minute old, or was
// refused; a CA or a client certificate that changed makes a new HTTPS client.

#include <boost/asio/awaitable.hpp>
#include <list>
#include <memory>
#include <string>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/net/https_client.h"
#include "daemon/net/kubeconfig.h"
#include "daemon/net/loop.h"

namespace gatehouse::store {

class KubeTransport {
 public:
  virtual ~KubeTransport() = default;
  /// `url` is a path at the server, "/api/v1/..." with its query. Any complete answer is a success.
  virtual boost::asio::awaitable<Result<net::HttpResponse>> send(net::HttpRequest request) = 0;
  /// See net::HttpsClient::stream().
  virtual boost::asio::awaitable<Result<net::HttpResponse>> stream(
      net::HttpRequest request, std::chrono::milliseconds silence_max,
      net::HttpsClient::OnData on_data) = 0;
  /// The server did not know us: the next request reads the token again.
  virtual void forget_token() = 0;
};

class HttpsKubeTransport final : public KubeTransport {
 public:
  struct Options {
    std::chrono::milliseconds deadline = std::chrono::seconds(30);  // for one answer
  };
  HttpsKubeTransport(net::Loop& loop, net::KubeAccess access, Options options);
  HttpsKubeTransport(net::Loop& loop, net::KubeAccess access)
      : HttpsKubeTransport(loop, std::move(access), Options{}) {}
  /// Nothing may be in flight.
  ~HttpsKubeTransport() override;

  boost::asio::awaitable<Result<net::HttpResponse>> send(net::HttpRequest request) override;
  boost::asio::awaitable<Result<net::HttpResponse>> stream(
      net::HttpRequest request, std::chrono::milliseconds silence_max,
      net::HttpsClient::OnData on_data) override;
  void forget_token() override { token_read_ = SteadyTime::min(); }

 private:
  struct Client;
  struct Lease;
  /// What the CA and the client certificate are now.
  struct Trust {
    std::string ca_pem, certificate_pem, key_pem;
    friend bool operator==(const Trust&, const Trust&) = default;
  };
  Result<Trust> read_trust() const;
  Result<Client*> client();
  Result<std::string> token();
  Result<void> add_identity(net::HttpRequest& request);

  net::Loop& loop_;
  const net::KubeAccess access_;
  const Options options_;
  Trust trust_;
  SteadyTime trust_read_ = SteadyTime::min(), token_read_ = SteadyTime::min();
  std::string token_;
  std::list<Client> clients_;  // the last one is in use; others end what they have
};

}  // namespace gatehouse::store
