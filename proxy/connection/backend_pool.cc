#include "proxy/connection/backend_pool.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "daemon/base/log.h"
#include "daemon/net/resolver.h"

namespace gatehouse::proxy {

namespace {
/// Names are asked again when the last answer is older; the resolver caches by TTL.
constexpr Duration kResolveAgain = std::chrono::seconds(1);
/// Streams that a connecting HTTP/2 connection is expected to carry.
constexpr std::size_t kStreamsExpected = 100;

std::string text_of(const Endpoint& endpoint) {
  if (!endpoint.unix_path.empty()) return "unix:" + endpoint.unix_path;
  const bool is_v6 = endpoint.host.find(':') != std::string::npos;
  return (is_v6 ? "[" + endpoint.host + "]" : endpoint.host) + ":" + std::to_string(endpoint.port);
}
}  // namespace

std::string BackendPool::key_of(const Backend& backend, const Endpoint& endpoint) {
  std::string key = text_of(endpoint);
  const auto add = [&](auto number) { key.append(1, '|').append(std::to_string(number)); };
  add(static_cast<int>(backend.protocol));
  add(endpoint.is_tls ? 1 : 0);
  add(backend.timeouts.connect.count());
  add(backend.timeouts.idle.count());
  add(backend.limits.connections);
  add(backend.limits.pending);
  return key + "|" + backend.tls.server_name + "|" + backend.tls.ca_file + "|" + backend.name;
}

BackendPool::BackendPool(ConnectionHost& host, const Backend& backend, const Endpoint& endpoint,
                         std::shared_ptr<net::ClientTlsContext> tls)
    : host_(host),
      backend_name_(backend.name),
      endpoint_(endpoint),
      caps_(backend.limits),
      tls_(std::move(tls)),
      text_(text_of(endpoint)),
      speaks_h2_(backend.protocol == BackendProtocol::kHttp2) {
  settings_.protocol = backend.protocol;
  settings_.tls = endpoint.is_tls ? tls_.get() : nullptr;
  settings_.server_name = backend.tls.server_name.empty() ? endpoint.host : backend.tls.server_name;
  settings_.connect_timeout = backend.timeouts.connect;
  settings_.idle_timeout = backend.timeouts.idle;
  if (!endpoint.unix_path.empty()) {
    addresses_.push_back(net::SocketAddress::unix_path(endpoint.unix_path));
    is_literal_ = true;
  } else if (auto ip = net::IpAddress::parse(endpoint.host)) {
    addresses_.emplace_back(*ip, endpoint.port);
    is_literal_ = true;
  }
}

// ---- exchanges ------------------------------------------------------------------------------

void BackendPool::acquire(Exchange& exchange) {
  exchange.pool = id_;
  if (BackendConnection* connection = take_offered()) {
    connection->assign(exchange);
    return;
  }
  if (waiting_.size() >= caps_.pending) {
    exchange.on_connect_failed(ResponseFlag::kUo, 503, "overflow");
    return;
  }
  waiting_.push_back(exchange.id());
  connect_for_waiting();
}

void BackendPool::leave(const Exchange& exchange) { std::erase(waiting_, exchange.id()); }

BackendConnection* BackendPool::take_offered() {
  while (!offered_.empty()) {
    BackendConnection* connection = host_.find(offered_.back());
    const bool is_usable = connection && connection->is_open() &&
                           connection->session()->is_reusable() &&
                           connection->session()->capacity() > 0;
    // One more stream fills an HTTP/1.1 connection; an HTTP/2 one stays until it is full.
    if (is_usable && connection->session()->capacity() > 1) return connection;
    offered_.pop_back();
    if (connection) connection->is_offered = false;
    if (is_usable) return connection;
  }
  return nullptr;
}

void BackendPool::serve_waiting(BackendConnection& connection) {
  while (!waiting_.empty() && connection.is_open() && connection.session()->is_reusable() &&
         connection.session()->capacity() > 0) {
    const ExchangeId next = waiting_.front();
    waiting_.pop_front();
    if (Exchange* exchange = host_.find_exchange(next.packed())) connection.assign(*exchange);
  }
}

void BackendPool::fail_waiting(ResponseFlag flag, std::string_view detail) {
  std::deque<ExchangeId> failed;
  failed.swap(waiting_);  // Each may come back to us, or to another endpoint.
  for (const ExchangeId id : failed)
    if (Exchange* exchange = host_.find_exchange(id.packed()))
      host_.on_connect_failed(*exchange, flag, detail);
}

// ---- connections ----------------------------------------------------------------------------

void BackendPool::connect_for_waiting() {
  const std::size_t each = speaks_h2_ ? kStreamsExpected : 1;
  while (!waiting_.empty() && connecting_ * each < waiting_.size() &&
         connections_ < caps_.connections) {
    const bool is_fresh =
        is_literal_ || (!addresses_.empty() && host_.timers().now() - resolved_at_ < kResolveAgain);
    if (!is_fresh) return resolve();
    if (!connect()) return;
  }
}

void BackendPool::resolve() {
  if (std::exchange(is_resolving_, true)) return;
  ConnectionHost& host = host_;
  host_.resolver().resolve(endpoint_.host, endpoint_.port,
                           [&host, id = id_](Result<std::vector<net::SocketAddress>> answer) {
                             BackendPool* pool = host.find_pool(id);
                             if (!pool) return;
                             pool->is_resolving_ = false;
                             if (answer && !answer->empty()) {
                               pool->addresses_ = std::move(*answer);
                               pool->next_address_ = 0;
                             } else {
                               log(Level::kWarn, "backend.resolve_failed")
                                   .with("backend", pool->backend_name_)
                                   .with("host", pool->endpoint_.host)
                                   .with("reason", answer ? "no address" : answer.error().message);
                               if (pool->addresses_.empty())
                                 return pool->fail_waiting(ResponseFlag::kDf,
                                                           "dns_resolution_failed");
                             }
                             pool->resolved_at_ = host.timers().now();
                             pool->connect_for_waiting();
                           });
}

/// Begins one connection. False: not even that worked, and those who waited were told.
bool BackendPool::connect() {
  const net::SocketAddress& address = addresses_[next_address_++ % addresses_.size()];
  const int descriptor = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) {
    log(Level::kError, "backend.no_socket")
        .with("backend", backend_name_)
        .with("reason", errno_error("socket", errno).message);
    fail_waiting(ResponseFlag::kUf, "no_socket");
    return false;
  }
  const int on = 1;
  if (!address.is_unix()) ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  host_.metrics().backend_connects.add();
  BackendConnection::Settings settings = settings_;
  settings.address = address.to_string();
  if (::connect(descriptor, address.native(), address.native_size()) != 0 && errno != EINPROGRESS) {
    const std::string reason = errno_error("connect", errno).message;
    ::close(descriptor);
    host_.metrics().backend_connect_failures.add();
    log(Level::kWarn, "backend.connect_failed")
        .with("backend", backend_name_)
        .with("address", settings.address)
        .with("reason", reason);
    fail_waiting(ResponseFlag::kUf, "connection_failure");
    return false;
  }
  auto connection =
      std::make_unique<BackendConnection>(host_, id_, descriptor, std::move(settings));
  if (!host_.adopt(std::move(connection))) {
    fail_waiting(ResponseFlag::kUf, "no_socket");
    return false;
  }
  ++connections_;
  ++connecting_;
  return true;
}

void BackendPool::on_connected(BackendConnection& connection) {
  --connecting_;
  connection.counts_as_connecting = false;
  failed_in_a_row_ = 0;
  speaks_h2_ = connection.session()->capacity() > 1;
  offer(connection);
  // An HTTP/1.1 answer to what looked like HTTP/2: more connections are needed than were begun.
  connect_for_waiting();
}

void BackendPool::on_connect_failed(BackendConnection& connection, const std::string& reason) {
  --connections_;
  if (std::exchange(connection.counts_as_connecting, false)) --connecting_;
  log(Level::kWarn, "backend.connect_failed")
      .with("backend", backend_name_)
      .with("address", connection.address())
      .with("reason", reason);
  if (++failed_in_a_row_ < addresses_.size()) return connect_for_waiting();
  failed_in_a_row_ = 0;
  resolved_at_ = {};  // Perhaps the name means something else by now.
  if (connecting_ == 0) fail_waiting(ResponseFlag::kUf, "connection_failure");
}

void BackendPool::on_closed(BackendConnection& connection) {
  --connections_;
  if (std::exchange(connection.is_offered, false)) std::erase(offered_, connection.id());
  connect_for_waiting();
}

void BackendPool::offer(BackendConnection& connection) {
  serve_waiting(connection);
  if (!connection.is_open() || connection.is_offered || !connection.session()->is_reusable() ||
      connection.session()->capacity() == 0)
    return;
  if (is_retiring_ && connection.session()->open_streams() == 0) return connection.drain();
  connection.is_offered = true;
  offered_.push_back(connection.id());
}

void BackendPool::retire() {
  is_retiring_ = true;
  std::vector<BackendId> idle;
  idle.swap(offered_);
  for (const BackendId id : idle) {
    BackendConnection* connection = host_.find(id);
    if (!connection) continue;
    connection->is_offered = false;
    connection->drain();
  }
}

}  // namespace gatehouse::proxy
