#include "daemon/net/https_client.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <map>

#include "daemon/base/text.h"
#include "daemon/net/connect.h"
#include "daemon/net/http_connection.h"
#include "daemon/net/tls_context.h"
#include "daemon/net/url.h"

namespace gatehouse::net {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using Deadline = HttpConnection::Deadline;

namespace {

constexpr auto kIdleMax = 30s;

bool is_token(std::string_view text) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return is_alpha(c) || is_digit(c) || kOthers.find(c) != kOthers.npos;
  });
}

bool is_field_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return c == '\t' || (static_cast<unsigned char>(c) >= ' ' && c != 0x7f);
  });
}

/// Fields that frame the message or belong to the connection: ours to set.
bool is_ours(std::string_view name) {
  for (const std::string_view ours :
       {"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "expect"})
    if (equals_ignoring_case(name, ours)) return true;
  return false;
}

/// RFC 9110 section 9.2.2.
bool is_idempotent(std::string_view method) {
  for (const std::string_view safe : {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
    if (method == safe) return true;
  return false;
}

Result<HttpConnection::Request> compose(HttpRequest request, const Url& url,
                                        const std::string& user_agent) {
  if (!is_token(request.method)) return Error{Fault::kInvalid, "method is not a token"};
  HttpConnection::Request message;
  message.version(11);
  message.method_string(request.method);
  message.target(url.target);
  message.set(http::field::host, url.authority());
  message.set(http::field::user_agent, user_agent);
  for (const HttpField& field : request.fields) {
    if (!is_token(field.name) || !is_field_value(field.value) || is_ours(field.name))
      return Error{Fault::kInvalid, "request field \"" + field.name + "\" cannot be sent"};
    if (equals_ignoring_case(field.name, "user-agent"))
      message.set(field.name, field.value);
    else
      message.insert(field.name, field.value);
  }
  message.body() = std::move(request.body);
  message.prepare_payload();
  return message;
}

}  // namespace

struct HttpsClient::State {
  asio::io_context& context;
  HttpsClientOptions options;
  Resolver* resolver;
  std::shared_ptr<ClientTlsContext> tls;

  struct Idle {
    std::unique_ptr<HttpConnection> connection;
    Deadline since;
  };
  std::multimap<std::string, Idle> idle;  // by origin

  /// The wish of a caller, checked and put in form.
  struct Prepared {
    Url url;
    std::string doing;
    HttpConnection::Request message;
  };
  Result<Prepared> prepare(HttpRequest request) const;
  asio::awaitable<Result<HttpResponse>> send(HttpRequest request);
  asio::awaitable<Result<HttpResponse>> send_on_any(Url url, HttpConnection::Request message);
  asio::awaitable<Result<HttpResponse>> stream(HttpRequest request,
                                               std::chrono::milliseconds silence_max,
                                               OnData on_data);
  asio::awaitable<Result<std::unique_ptr<HttpConnection>>> connect(Url url, Deadline deadline);
  std::unique_ptr<HttpConnection> take_idle(const std::string& origin);
  void keep(const std::string& origin, std::unique_ptr<HttpConnection> connection);
};

std::unique_ptr<HttpConnection> HttpsClient::State::take_idle(const std::string& origin) {
  const Deadline now = std::chrono::steady_clock::now();
  std::erase_if(idle, [&](const auto& entry) { return now - entry.second.since > kIdleMax; });
  const auto found = idle.find(origin);
  if (found == idle.end()) return nullptr;
  auto connection = std::move(found->second.connection);
  idle.erase(found);
  if (!connection->is_quiet()) connection.reset();
  return connection;
}

void HttpsClient::State::keep(const std::string& origin,
                              std::unique_ptr<HttpConnection> connection) {
  if (!connection->is_reusable()) return;
  while (idle.count(origin) >= options.idle_max) idle.erase(idle.find(origin));
  Idle entry{std::move(connection), std::chrono::steady_clock::now()};
  idle.emplace(origin, std::move(entry));
}

asio::awaitable<Result<std::unique_ptr<HttpConnection>>> HttpsClient::State::connect(
    Url url, Deadline deadline) {
  ConnectRequest request{url.host, url.port, resolver, deadline};
  auto stream = co_await connect_to(context, std::move(request));
  if (!stream) co_return std::move(stream).error();
  auto connection = std::make_unique<HttpConnection>(std::move(**stream));
  if (!url.is_https) co_return std::move(connection);
  auto ssl = tls->new_ssl(options.tls_server_name.empty() ? url.host : options.tls_server_name);
  if (!ssl) co_return std::move(ssl).error().in("connecting to " + url.host_and_port());
  if (!options.verifies_peer) SSL_set_verify(ssl->get(), SSL_VERIFY_NONE, nullptr);
  // Another address of the same name would hardly have another certificate.
  auto secured = co_await connection->start_tls(std::move(*ssl), deadline);
  if (!secured) co_return std::move(secured).error().in("TLS with " + url.host_and_port());
  co_return std::move(connection);
}

asio::awaitable<Result<HttpResponse>> HttpsClient::State::send_on_any(
    Url url, HttpConnection::Request message) {
  const Deadline deadline = std::chrono::steady_clock::now() + options.deadline;
  const std::string origin = url.origin();
  if (auto reused = take_idle(origin)) {
    auto attempt = co_await reused->exchange(&message, options.response_bytes_max, deadline);
    const bool is_stale = !attempt.outcome && !attempt.is_answered &&
                          (attempt.outcome.error().fault == Fault::kConnection ||
                           attempt.outcome.error().fault == Fault::kTls);
    const std::string_view method(message.method_string().data(), message.method_string().size());
    if (!is_stale || !is_idempotent(method)) {
      keep(origin, std::move(reused));
      co_return std::move(attempt.outcome);
    }
  }
  auto connection = co_await connect(url, deadline);
  if (!connection) co_return std::move(connection).error();
  auto attempt = co_await (*connection)->exchange(&message, options.response_bytes_max, deadline);
  keep(origin, std::move(*connection));
  co_return std::move(attempt.outcome);
}

Result<HttpsClient::State::Prepared> HttpsClient::State::prepare(HttpRequest request) const {
  auto url = Url::parse(request.url);
  if (!url) return std::move(url).error();
  if (!url->is_https && !options.allow_plain)
    return Error{Fault::kInvalid, "URL \"" + request.url + "\" is not https"};
  // Without the query: it may hold what a log must not.
  std::string doing =
      request.method + " " + url->origin() + url->target.substr(0, url->target.find('?'));
  auto message = compose(std::move(request), *url, options.user_agent);
  if (!message) return std::move(message).error().in(doing);
  return Prepared{std::move(*url), std::move(doing), std::move(*message)};
}

asio::awaitable<Result<HttpResponse>> HttpsClient::State::send(HttpRequest request) {
  auto prepared = prepare(std::move(request));
  if (!prepared) co_return std::move(prepared).error();
  auto response = co_await send_on_any(prepared->url, std::move(prepared->message));
  if (!response) co_return std::move(response).error().in(prepared->doing);
  co_return response;
}

asio::awaitable<Result<HttpResponse>> HttpsClient::State::stream(
    HttpRequest request, std::chrono::milliseconds silence_max, OnData on_data) {
  auto prepared = prepare(std::move(request));
  if (!prepared) co_return std::move(prepared).error();
  const Deadline deadline = std::chrono::steady_clock::now() + options.deadline;
  auto connection = co_await connect(prepared->url, deadline);
  if (!connection) co_return std::move(connection).error().in(prepared->doing);
  auto attempt =
      co_await (*connection)
          ->stream(&prepared->message, options.response_bytes_max, deadline, silence_max, &on_data);
  if (!attempt.outcome) co_return std::move(attempt.outcome).error().in(prepared->doing);
  co_return std::move(attempt.outcome);
}

const std::string* HttpResponse::find(std::string_view name) const {
  for (const HttpField& field : fields)
    if (equals_ignoring_case(field.name, name)) return &field.value;
  return nullptr;
}

std::vector<std::string_view> HttpResponse::find_all(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const HttpField& field : fields)
    if (equals_ignoring_case(field.name, name)) values.push_back(field.value);
  return values;
}

HttpsClient::HttpsClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpsClient::~HttpsClient() = default;

Result<std::unique_ptr<HttpsClient>> HttpsClient::create(asio::io_context& context,
                                                         HttpsClientOptions options,
                                                         Resolver* resolver) {
  ClientTlsOptions tls_options;
  tls_options.ca_file = options.ca_file;
  tls_options.ca_pem = options.ca_pem;
  tls_options.credential = options.credential;
  auto tls = ClientTlsContext::create(tls_options);
  if (!tls) return std::move(tls).error();
  if (options.user_agent.empty()) options.user_agent = "gatehouse/" GATEHOUSE_VERSION;
  auto state =
      std::make_unique<State>(State{context, std::move(options), resolver, std::move(*tls), {}});
  return std::unique_ptr<HttpsClient>(new HttpsClient(std::move(state)));
}

asio::awaitable<Result<HttpResponse>> HttpsClient::send(HttpRequest request) {
  // A cancelled wait shall end as an Error, so Asio's exception for it is off while we are here.
  const bool throws = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  auto response = co_await state_->send(std::move(request));
  co_await asio::this_coro::throw_if_cancelled(throws);
  co_return response;
}

asio::awaitable<Result<HttpResponse>> HttpsClient::stream(HttpRequest request,
                                                          std::chrono::milliseconds silence_max,
                                                          OnData on_data) {
  const bool throws = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  auto response = co_await state_->stream(std::move(request), silence_max, std::move(on_data));
  co_await asio::this_coro::throw_if_cancelled(throws);
  co_return response;
}

void HttpsClient::close_idle() { state_->idle.clear(); }

}  // namespace gatehouse::net
