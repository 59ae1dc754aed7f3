#pragma once
// The HTTPS client of the control plane: one awaited HTTP/1.1 request, with a deadline over all of
// it (name, connect, handshake, answer) and a limit on the answer. For the ACME CA, the apiserver
// and the like; never for traffic. Verifies the peer, unless it is told otherwise. Leaves out:
// redirects, cookies, proxies, compression.
//
// Connections: one idle connection per origin is kept (or more, when asked for) and used again. It
// may turn out to be closed by the peer. Before it is used, one that is seen to be closed is
// replaced. When the close is seen only after sending, an idempotent request (RFC 9110
// section 9.2.2) is repeated once on a new connection, provided that no byte of an answer came. A
// POST is never repeated: the peer may have acted on it, and only the caller knows whether that
// matters; it gets Fault::kConnection. Nothing is repeated on a fresh connection, after a timeout,
// or after a cancellation.

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/error.h"
#include "daemon/net/certificate.h"

namespace boost::asio {
class io_context;
}

namespace gatehouse::net {

class Resolver;

struct HttpField {
  std::string name, value;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;                // absolute
  std::vector<HttpField> fields;  // Host, Content-Length, Connection and the like are set for you
  std::string body;
};

struct HttpResponse {
  unsigned status = 0;
  std::vector<HttpField> fields;  // in order, repeated ones apart
  std::string body;

  /// The first field of this name, in any case; null: absent.
  const std::string* find(std::string_view name) const;
  std::vector<std::string_view> find_all(std::string_view name) const;
};

struct HttpsClientOptions {
  std::string ca_file;  // roots; empty: the system's, unless ca_pem is given
  std::string ca_pem;
  CredentialPtr credential;     // our certificate, when the peer asks for one
  std::string tls_server_name;  // verified instead of the URL's host, when not empty
  std::string user_agent;       // empty: "gatehouse/VERSION"
  bool allow_plain = false;     // http:// URLs, too
  bool verifies_peer = true;    // false: an operator has asked for it, and was warned
  std::size_t idle_max = 1;     // connections kept per origin
  std::chrono::milliseconds deadline = std::chrono::seconds(30);
  std::size_t response_bytes_max = 1024 * 1024;  // of the body
};

class HttpsClient {
 public:
  /// Loads the roots. The context and the resolver outlive the client; all calls are made on its
  /// thread. Without a resolver the C library's getaddrinfo is asked, on a thread of Asio's.
  static Result<std::unique_ptr<HttpsClient>> create(boost::asio::io_context& context,
                                                     HttpsClientOptions options,
                                                     Resolver* resolver = nullptr);
  /// Nothing may be in flight: stop and join the coroutines first.
  ~HttpsClient();
  HttpsClient(const HttpsClient&) = delete;
  HttpsClient& operator=(const HttpsClient&) = delete;

  /// Any complete answer is a success here, whatever its status. Errors: kResolve, kConnection,
  /// kTls, kTimeout, kCancelled, kTooLarge, kProtocol, kInvalid (our own request). Cancelling the
  /// coroutine ends the request at once, as kCancelled and without an exception from in here.
  boost::asio::awaitable<Result<HttpResponse>> send(HttpRequest request);

  /// Takes the next piece of a body. False: enough, the request ends.
  using OnData = std::function<bool(std::string_view piece)>;
  /// The same for an answer that may never end, on a connection of its own: the body of a 2xx goes
  /// to `on_data` piece by piece, as it comes, and is not kept; any other is in the answer. The
  /// deadline is for the head; then each silence is `silence_max` at most (kTimeout).
  boost::asio::awaitable<Result<HttpResponse>> stream(HttpRequest request,
                                                      std::chrono::milliseconds silence_max,
                                                      OnData on_data);

  /// Forgets the idle connections.
  void close_idle();

 private:
  struct State;
  std::unique_ptr<State> state_;
  explicit HttpsClient(std::unique_ptr<State> state);
};

}  // namespace gatehouse::net
