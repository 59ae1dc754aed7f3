#include "daemon/net/connect.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/base/text.h"
#include "daemon/net/http_connection.h"
#include "daemon/net/resolver.h"

namespace gatehouse::net {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using Deadline = std::chrono::steady_clock::time_point;
using Endpoints = std::vector<tcp::endpoint>;

namespace {

/// A peer that is gone without a word is noticed within a minute, also while we only listen.
void keep_alive(int socket) {
  const auto set = [socket](int level, int option, int value) {
    (void)::setsockopt(socket, level, option, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 45'000);
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
      const IpAddress ip = address.ip();
      const std::string_view bytes = ip.bytes();  // of `ip`
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

std::string ConnectRequest::host_and_port() const {
  const bool is_v6 = host.find(':') != host.npos;
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

asio::awaitable<Result<std::unique_ptr<beast::tcp_stream>>> connect_to(asio::io_context& context,
                                                                       ConnectRequest request) {
  const Deadline deadline = request.deadline;
  auto endpoints = co_await resolve(request.host, request.port, request.resolver, deadline);
  if (!endpoints) co_return std::move(endpoints).error().in("resolving " + request.host);
  Error last;
  for (std::size_t i = 0; i < endpoints->size(); ++i) {
    // An address that swallows packets gets its share of the time, not all of it.
    const auto now = std::chrono::steady_clock::now();
    const auto share = (deadline - now) / static_cast<int>(endpoints->size() - i);
    auto stream = std::make_unique<beast::tcp_stream>(context);
    stream->expires_after(std::max<Duration>(share, 0ms));
    boost::system::error_code code;
    co_await stream->async_connect((*endpoints)[i],
                                   asio::redirect_error(asio::use_awaitable, code));
    if (code) {
      last = http_error(code);
      if (last.fault == Fault::kCancelled) break;
      continue;
    }
    stream->socket().set_option(tcp::no_delay(true), code);
    keep_alive(stream->socket().native_handle());
    co_return std::move(stream);
  }
  co_return std::move(last).in("connecting to " + request.host_and_port());
}

}  // namespace gatehouse::net
