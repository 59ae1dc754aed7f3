#pragma once
// One HTTP/1.1 connection of HttpsClient: a socket, perhaps TLS, and what was read too much.
// Belongs to one request at a time. Includes Asio and Beast: for https_client*.cc only.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <string>

#include "daemon/net/https_client.h"
#include "daemon/net/tls_context.h"

namespace gatehouse::net {

/// How one try on one connection ended.
struct HttpAttempt {
  Result<HttpResponse> outcome = Error{};
  bool is_answered = false;  // at least one byte of an answer came
};

class HttpConnection {
 public:
  using Request = boost::beast::http::request<boost::beast::http::string_body>;
  using Deadline = std::chrono::steady_clock::time_point;

  /// Takes a connected socket.
  explicit HttpConnection(boost::beast::tcp_stream tcp) : tcp_(std::move(tcp)) {}

  /// Speaks TLS from here on, with an SSL of a ClientTlsContext.
  boost::asio::awaitable<Result<void>> start_tls(SslPtr ssl, Deadline deadline);

  /// Sends, and reads one complete answer of at most `body_bytes_max`.
  boost::asio::awaitable<HttpAttempt> exchange(const Request* request, std::size_t body_bytes_max,
                                               Deadline deadline);

  /// Sends, and reads an answer whose body may never end: see HttpsClient::stream(). Nothing else
  /// can be asked on this connection afterwards.
  boost::asio::awaitable<HttpAttempt> stream(const Request* request, std::size_t body_bytes_max,
                                             Deadline head_deadline,
                                             std::chrono::milliseconds silence_max,
                                             const HttpsClient::OnData* on_data);

  /// After an exchange: the peer may be asked again on this connection.
  bool is_reusable() const { return is_reusable_; }
  /// Looks, without waiting, whether the peer is still there and silent.
  bool is_quiet();

 private:
  template <class Stream>
  boost::asio::awaitable<HttpAttempt> exchange_on(Stream& stream, const Request& request,
                                                  std::size_t body_bytes_max);
  template <class Stream>
  boost::asio::awaitable<HttpAttempt> stream_on(Stream& stream, const Request& request,
                                                std::size_t body_bytes_max,
                                                std::chrono::milliseconds silence_max,
                                                const HttpsClient::OnData& on_data);
  boost::beast::tcp_stream& tcp() { return tls_ ? tls_->next_layer() : tcp_; }

  boost::beast::tcp_stream tcp_;  // moved from once TLS has it
  std::optional<boost::asio::ssl::stream<boost::beast::tcp_stream>> tls_;
  boost::beast::flat_buffer received_;
  bool is_reusable_ = false;
};

/// What went wrong, as one of our faults: "connection refused", "no answer in time".
Error http_error(const boost::system::error_code& code);

}  // namespace gatehouse::net
