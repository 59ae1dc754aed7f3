#include "daemon/net/https_client.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <optional>

#include "daemon/base/text.h"
#include "daemon/net/http_connection.h"
#include "daemon/net/resolver.h"
#include "daemon/net/tls_context.h"
#include "daemon/net/url.h"

namespace gatehouse::net {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using Deadline = HttpConnection::Deadline;
using Endpoints = std::vector<tcp::endpoint>;

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

/// A question about a name, and its answer. The answer may come after the request that waited for
/// it has ended, so this lives on its own.
struct Lookup {
  explicit Lookup(const asio::any_io_executor& executor) : system(executor), answered(executor) {}
  tcp::resolver system;         // when there is no Resolver
  asio::steady_timer answered;  // cancelled by the answer
  std::optional<Result<Endpoints>> answer;

  void tell(Result<Endpoints> given) {
    answer.emplace(std::move(given));
    answered.cancel();
  }
};

/// Asks our resolver.
void ask(const std::shared_ptr<Lookup>& lookup, const std::string& host, std::uint16_t port,
         Resolver& resolver) {
  resolver.resolve(host, port, [lookup](Result<Resolver::Addresses> found) {
    if (!found) return lookup->tell(std::move(found).error());
    Endpoints endpoints;
    for (const SocketAddress& address : *found) {
      const std::string_view bytes = address.ip().bytes();
      if (bytes.size() == 16) {
        asio::ip::address_v6::bytes_type v6{};
        std::copy(bytes.begin(), bytes.end(), v6.begin());
        endpoints.emplace_back(asio::ip::address_v6(v6), address.port());
      } else {
        asio::ip::address_v4::bytes_type v4{};
        std::copy(bytes.begin(), bytes.end(), v4.begin());
        endpoints.emplace_back(asio::ip::address_v4(v4), address.port());
      }
    }
    lookup->tell(std::move(endpoints));
  });
}

/// Asks the C library, on a thread of Asio's; the call itself cannot be interrupted.
void ask_system(const std::shared_ptr<Lookup>& lookup, const std::string& host,
                std::uint16_t port) {
  lookup->system.async_resolve(
      host, std::to_string(port),
      [lookup](const boost::system::error_code& failed, const tcp::resolver::results_type& found) {
        if (failed) return lookup->tell(Error{Fault::kResolve, to_lower(failed.message())});
        Endpoints endpoints;
        for (const auto& entry : found) endpoints.push_back(entry.endpoint());
        lookup->tell(std::move(endpoints));
      });
}

/// Not empty when it is no error.
asio::awaitable<Result<Endpoints>> resolve(std::string host, std::uint16_t port, Resolver* resolver,
                                           Deadline deadline) {
  boost::system::error_code code;
  if (const auto literal = asio::ip::make_address(host, code); !code) {
    Endpoints one{tcp::endpoint(literal, port)};
    co_return std::move(one);
  }
  const auto executor = co_await asio::this_coro::executor;
  const auto lookup = std::make_shared<Lookup>(executor);
  lookup->answered.expires_at(deadline);
  if (resolver)
    ask(lookup, host, port, *resolver);
  else
    ask_system(lookup, host, port);
  co_await lookup->answered.async_wait(asio::redirect_error(asio::use_awaitable, code));
  if (!lookup->answer) {
    lookup->system.cancel();
    if (code) co_return Error{Fault::kCancelled, "cancelled"};
    co_return Error{Fault::kTimeout, "no answer in time"};
  }
  if (*lookup->answer && (*lookup->answer)->empty()) co_return Error{Fault::kResolve, "no address"};
  co_return std::move(*lookup->answer);
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
  std::map<std::string, Idle> idle;  // by origin

  asio::awaitable<Result<HttpResponse>> send(HttpRequest request);
  asio::awaitable<Result<HttpResponse>> send_on_any(Url url, HttpConnection::Request message);
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
  Idle entry{std::move(connection), std::chrono::steady_clock::now()};
  idle.insert_or_assign(origin, std::move(entry));
}

asio::awaitable<Result<std::unique_ptr<HttpConnection>>> HttpsClient::State::connect(
    Url url, Deadline deadline) {
  auto endpoints = co_await resolve(url.host, url.port, resolver, deadline);
  if (!endpoints) co_return std::move(endpoints).error().in("resolving " + url.host);
  const std::string doing = "connecting to " + url.host_and_port();
  Error last;
  for (std::size_t i = 0; i < endpoints->size(); ++i) {
    // An address that swallows packets gets its share of the time, not all of it.
    const auto now = std::chrono::steady_clock::now();
    const auto share = (deadline - now) / static_cast<int>(endpoints->size() - i);
    beast::tcp_stream stream(context);
    stream.expires_after(std::max<Duration>(share, 0ms));
    boost::system::error_code code;
    co_await stream.async_connect((*endpoints)[i], asio::redirect_error(asio::use_awaitable, code));
    if (code) {
      last = http_error(code);
      if (last.fault == Fault::kCancelled) break;
      continue;
    }
    stream.socket().set_option(tcp::no_delay(true), code);
    auto connection = std::make_unique<HttpConnection>(std::move(stream));
    if (!url.is_https) co_return std::move(connection);
    auto ssl = tls->new_ssl(options.tls_server_name.empty() ? url.host : options.tls_server_name);
    if (!ssl) co_return std::move(ssl).error().in(doing);
    auto secured = co_await connection->start_tls(std::move(*ssl), deadline);
    // Another address of the same name would hardly have another certificate.
    if (!secured) co_return std::move(secured).error().in("TLS with " + url.host_and_port());
    co_return std::move(connection);
  }
  co_return std::move(last).in(doing);
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

asio::awaitable<Result<HttpResponse>> HttpsClient::State::send(HttpRequest request) {
  auto url = Url::parse(request.url);
  if (!url) co_return std::move(url).error();
  if (!url->is_https && !options.allow_plain)
    co_return Error{Fault::kInvalid, "URL \"" + request.url + "\" is not https"};
  // Without the query: it may hold what a log must not.
  const std::string doing =
      request.method + " " + url->origin() + url->target.substr(0, url->target.find('?'));
  auto message = compose(std::move(request), *url, options.user_agent);
  if (!message) co_return std::move(message).error().in(doing);
  auto response = co_await send_on_any(*url, std::move(*message));
  if (!response) co_return std::move(response).error().in(doing);
  co_return response;
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

void HttpsClient::close_idle() { state_->idle.clear(); }

}  // namespace gatehouse::net
