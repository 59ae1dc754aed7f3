#include "daemon/net/http_connection.h"

#include <sys/socket.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <cerrno>

#include "daemon/base/text.h"

namespace gatehouse::net {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

constexpr std::uint32_t kHeaderBytesMax = 64 * 1024;
constexpr int kInterimAnswersMax = 8;  // 103 Early Hints and the like

/// "Connection refused" to "connection refused"; "TLS ..." stays.
std::string uncapitalized(std::string text) {
  if (text.size() > 1 && text[1] >= 'a' && text[1] <= 'z') text[0] = to_lower(text[0]);
  return text;
}

HttpResponse response_from(http::response<http::string_body>&& message) {
  HttpResponse response;
  response.status = message.result_int();
  for (const auto& field : message)
    response.fields.push_back({std::string(field.name_string().data(), field.name_string().size()),
                               std::string(field.value().data(), field.value().size())});
  response.body = std::move(message.body());
  return response;
}

Error handshake_error(SSL* ssl, const boost::system::error_code& code) {
  Error error = http_error(code);
  if (error.fault == Fault::kTimeout || error.fault == Fault::kCancelled) return error;
  const long verdict = SSL_get_verify_result(ssl);
  if (verdict != X509_V_OK)
    return Error{Fault::kTls,
                 "certificate refused: " + uncapitalized(X509_verify_cert_error_string(verdict))};
  return error;
}

}  // namespace

Error http_error(const boost::system::error_code& code) {
  if (code == asio::error::operation_aborted) return Error{Fault::kCancelled, "cancelled"};
  if (code == beast::error::timeout) return Error{Fault::kTimeout, "no answer in time"};
  if (code == http::error::body_limit) return Error{Fault::kTooLarge, "the answer is too large"};
  if (code == http::error::header_limit)
    return Error{Fault::kTooLarge, "the head of the answer is over 64 KiB"};
  if (code == http::error::end_of_stream || code == http::error::partial_message ||
      code == asio::error::eof || code == asio::ssl::error::stream_truncated)
    return Error{Fault::kConnection, "closed before the answer was complete"};
  if (code.category() == asio::error::get_ssl_category())
    return Error{Fault::kTls, uncapitalized(code.message())};
  if (code == asio::error::timed_out) return Error{Fault::kTimeout, "connection timed out"};
  if (code.category() == boost::system::system_category())
    return Error{Fault::kConnection, uncapitalized(code.message())};
  return Error{Fault::kProtocol, "malformed answer: " + uncapitalized(code.message())};
}

asio::awaitable<Result<void>> HttpConnection::start_tls(SslPtr ssl, Deadline deadline) {
  SSL* native = ssl.get();
  tls_.emplace(std::move(tcp_), ssl.release());
  tcp().expires_at(deadline);
  boost::system::error_code code;
  co_await tls_->async_handshake(asio::ssl::stream_base::client,
                                 asio::redirect_error(asio::use_awaitable, code));
  if (code) {
    Error error = handshake_error(native, code);
    co_return std::move(error);
  }
  co_return Result<void>();
}

asio::awaitable<HttpAttempt> HttpConnection::exchange(const Request* request,
                                                      std::size_t body_bytes_max,
                                                      Deadline deadline) {
  is_reusable_ = false;
  tcp().expires_at(deadline);
  HttpAttempt attempt;
  if (tls_)
    attempt = co_await exchange_on(*tls_, *request, body_bytes_max);
  else
    attempt = co_await exchange_on(tcp_, *request, body_bytes_max);
  tcp().expires_never();
  co_return attempt;
}

template <class Stream>
asio::awaitable<HttpAttempt> HttpConnection::exchange_on(Stream& stream, const Request& request,
                                                         std::size_t body_bytes_max) {
  HttpAttempt attempt;
  boost::system::error_code code, write_code;
  co_await http::async_write(stream, request,
                             asio::redirect_error(asio::use_awaitable, write_code));
  if (write_code == asio::error::operation_aborted || write_code == beast::error::timeout) {
    attempt.outcome = http_error(write_code);
    co_return attempt;
  }
  // Otherwise an answer may be there although not all was taken: "413", and closed.
  std::optional<http::response_parser<http::string_body>> parser;
  for (int interim = 0;; ++interim) {
    parser.emplace();
    parser->header_limit(kHeaderBytesMax);
    parser->body_limit(body_bytes_max);
    if (request.method() == http::verb::head) parser->skip(true);
    co_await http::async_read_header(stream, received_, *parser,
                                     asio::redirect_error(asio::use_awaitable, code));
    attempt.is_answered |= received_.size() > 0 || parser->got_some();
    const unsigned status = code ? 0 : parser->get().result_int();
    if (code || status < 100 || status >= 200) break;
    if (status == 101 || interim == kInterimAnswersMax) {
      attempt.outcome = Error{Fault::kProtocol, "unexpected interim answers"};
      co_return attempt;
    }
  }
  if (!code)
    co_await http::async_read(stream, received_, *parser,
                              asio::redirect_error(asio::use_awaitable, code));
  if (code) {
    attempt.outcome = http_error(write_code && !attempt.is_answered ? write_code : code);
    co_return attempt;
  }
  is_reusable_ = !write_code && parser->keep_alive() && received_.size() == 0;
  attempt.outcome = response_from(parser->release());
  co_return attempt;
}

asio::awaitable<HttpAttempt> HttpConnection::stream(const Request* request,
                                                    std::size_t body_bytes_max,
                                                    Deadline head_deadline,
                                                    std::chrono::milliseconds silence_max,
                                                    const HttpsClient::OnData* on_data) {
  is_reusable_ = false;
  tcp().expires_at(head_deadline);
  HttpAttempt attempt;
  if (tls_)
    attempt = co_await stream_on(*tls_, *request, body_bytes_max, silence_max, *on_data);
  else
    attempt = co_await stream_on(tcp_, *request, body_bytes_max, silence_max, *on_data);
  co_return attempt;
}

template <class Stream>
asio::awaitable<HttpAttempt> HttpConnection::stream_on(Stream& stream, const Request& request,
                                                       std::size_t body_bytes_max,
                                                       std::chrono::milliseconds silence_max,
                                                       const HttpsClient::OnData& on_data) {
  HttpAttempt attempt;
  boost::system::error_code code;
  http::response_parser<http::string_body> parser;
  parser.header_limit(kHeaderBytesMax);
  parser.body_limit(boost::none);
  co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, code));
  if (!code)
    co_await http::async_read_header(stream, received_, parser,
                                     asio::redirect_error(asio::use_awaitable, code));
  attempt.is_answered = received_.size() > 0 || parser.got_some();
  const unsigned status = code ? 0 : parser.get().result_int();
  const bool is_good = status >= 200 && status < 300;
  std::string& body = parser.get().body();
  bool wants_more = true;
  while (!code && wants_more && !parser.is_done()) {
    tcp().expires_after(silence_max);
    co_await http::async_read_some(stream, received_, parser,
                                   asio::redirect_error(asio::use_awaitable, code));
    if (is_good && !body.empty()) {
      wants_more = on_data(body);
      body.clear();
    } else if (body.size() > body_bytes_max) {
      code = http::error::body_limit;
    }
  }
  if (code)
    attempt.outcome = http_error(code);
  else
    attempt.outcome = response_from(parser.release());
  co_return attempt;
}

bool HttpConnection::is_quiet() {
  char byte;
  const ssize_t got = ::recv(tcp().socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace gatehouse::net
