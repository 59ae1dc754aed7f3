#include "proxy/connection/backend_pool.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "daemon/base/log.h"
#include "daemon/base/prefetch.h"
#include "proxy/connection/cluster.h"
#include "proxy/protocol/proxy_protocol.h"

namespace gatehouse::proxy {

namespace {
/// Streams that a connecting HTTP/2 connection is expected to carry.
constexpr std::size_t kStreamsExpected = 100;
}  // namespace

BackendConnection::Settings connection_settings(const Backend& backend, const Endpoint& endpoint,
                                                const net::SocketAddress& address,
                                                const net::ClientTlsContext* tls) {
  BackendConnection::Settings settings;
  settings.protocol = backend.protocol;
  settings.tls = endpoint.is_tls ? tls : nullptr;
  settings.server_name = backend.tls.server_name.empty() ? endpoint.host : backend.tls.server_name;
  settings.connect_timeout = backend.timeouts.connect;
  settings.idle_timeout = backend.timeouts.idle;
  settings.address = address.to_string();
  settings.http2 = backend.http2;
  settings.proxy_header = own_proxy_header(backend.send_proxy_protocol);
  return settings;
}

Result<int> begin_connect(const net::SocketAddress& address) {
  const int descriptor = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return errno_error("socket", errno);
  const int on = 1;
  if (!address.is_unix()) ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(descriptor, address.native(), address.native_size()) == 0 || errno == EINPROGRESS)
    return descriptor;
  Error failure = errno_error("connect", errno);
  ::close(descriptor);
  return failure;
}

BackendPool::BackendPool(ConnectionHost& host, ClusterId cluster, const Backend& backend,
                         const Endpoint& endpoint, const net::SocketAddress& address,
                         std::shared_ptr<net::ClientTlsContext> tls,
                         std::shared_ptr<BackendCommons> commons, std::uint64_t id)
    : host_(host),
      cluster_(cluster),
      backend_name_(backend.name),
      address_(address),
      tls_(std::move(tls)),
      settings_(connection_settings(backend, endpoint, address, tls_.get())),
      commons_(std::move(commons)),
      host_id_(id),
      loop_(host.loop_index()),
      // With ALPN hopes for it until the first connection tells.
      speaks_h2_(backend.protocol == BackendProtocol::kHttp2 ||
                 (backend.protocol == BackendProtocol::kAuto && endpoint.is_tls)) {}

void BackendPool::belong_to_client(std::string proxy_header) {
  settings_.proxy_header = std::move(proxy_header);
  is_clients_own_ = true;
}

BackendPool::~BackendPool() { commons_->leave_queue(waiting()); }

// ---- exchanges ------------------------------------------------------------------------------

void BackendPool::acquire(Exchange& exchange) {
  exchange.pool = id_;
  const bool wants_its_own = settings_.protocol == BackendProtocol::kAuto && settings_.tls &&
                             !exchange.request().upgrade.empty();
  if (BackendConnection* connection = wants_its_own ? nullptr : take_offered()) {
    connection->assign(exchange);
    return;
  }
  if (!commons_->enter_queue()) {
    host_.metrics().backend_overflows.add();
    exchange.on_connect_failed(ResponseFlag::kUo, 503, "overflow");
    return;
  }
  (wants_its_own ? waiting_upgrades_ : waiting_).push_back(exchange.id());
  connect_for_waiting();
}

void BackendPool::leave(const Exchange& exchange) {
  commons_->leave_queue(std::erase(waiting_, exchange.id()) +
                        std::erase(waiting_upgrades_, exchange.id()));
}

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
    if (!is_usable) continue;
    if (!offered_.empty()) {  // Probably the next request's.
      if (const BackendConnection* next = host_.find(offered_.back())) prefetch(next);
    }
    return connection;
  }
  return nullptr;
}

void BackendPool::serve_waiting(BackendConnection& connection) {
  auto& queue =
      connection.is_for_upgrade() && !waiting_upgrades_.empty() ? waiting_upgrades_ : waiting_;
  while (!queue.empty() && connection.is_open() && connection.session()->is_reusable() &&
         connection.session()->capacity() > 0) {
    const ExchangeId next = queue.front();
    queue.pop_front();
    commons_->leave_queue();
    if (Exchange* exchange = host_.find_exchange(next.packed())) connection.assign(*exchange);
  }
}

std::deque<ExchangeId> BackendPool::dismiss_waiting() {
  std::deque<ExchangeId> all;
  all.swap(waiting_);
  all.insert(all.end(), waiting_upgrades_.begin(), waiting_upgrades_.end());
  waiting_upgrades_.clear();
  commons_->leave_queue(all.size());
  return all;
}

void BackendPool::fail_waiting(ResponseFlag flag, std::string_view detail) {
  for (const ExchangeId id : dismiss_waiting())  // Each may come back to us, or to another host.
    if (Exchange* exchange = host_.find_exchange(id.packed()))
      host_.on_connect_failed(*exchange, flag, detail);
}

// ---- connections ----------------------------------------------------------------------------

void hand_on_place(ConnectionHost& host, const std::shared_ptr<BackendCommons>& commons,
                   std::optional<std::size_t> to) {
  for (; to; to = commons->return_place()) {
    if (*to != host.loop_index()) return host.tell(*to, commons, {ClusterNews::Kind::kPlace});
    Cluster* cluster = host.find_cluster(commons->cluster_on(*to));
    if (cluster && cluster->use_place()) return;
  }
}

bool BackendPool::needs_connection() const {
  const std::size_t each = speaks_h2_ ? kStreamsExpected : 1;
  return connecting_upgrades_ < waiting_upgrades_.size() || connecting_ * each < waiting_.size();
}

/// The backend's cap counts over all hosts and loops; one connection each host may always have, so
/// that idle ones elsewhere starve nobody. With HTTP/2 each loop may, because streams may last for
/// days. (Where each client has its own there are too many hosts' pools for that.)
bool BackendPool::take_place() {
  using Claim = BackendCommons::Claim;
  const bool is_another = connections_ > 0 || is_clients_own_;
  if (is_another && commons_->is_waiting(loop_)) return false;
  const Claim claim = is_another ? Claim::kMore : speaks_h2_ ? Claim::kAlone : Claim::kFirst;
  switch (commons_->take_place(loop_, host_id_, claim)) {
    case BackendCommons::Answer::kTaken: return true;
    case BackendCommons::Answer::kRefused: return false;
    case BackendCommons::Answer::kRefusedAnew: break;
  }
  if (Cluster* cluster = host_.find_cluster(cluster_)) cluster->ask_for_room();
  return false;
}

void BackendPool::connect_for_waiting() {
  while (needs_connection() && take_place() && connect()) {
  }
}

void BackendPool::connect_in_place() {
  commons_->use_place(host_id_);
  if (connect()) connect_for_waiting();
}

/// Begins one connection, which has its place. False: not even that worked, and those who waited
/// were told.
bool BackendPool::connect() {
  const bool is_for_upgrade = connecting_upgrades_ < waiting_upgrades_.size();
  host_.metrics().backend_connects.add();
  const auto descriptor = begin_connect(address_);
  if (!descriptor) {
    host_.metrics().backend_connect_failures.add();
    log(Level::kWarn, "backend.connect_failed")
        .with("backend", backend_name_)
        .with("address", settings_.address)
        .with("reason", descriptor.error().message);
    fail_waiting(ResponseFlag::kUf, "connection_failure");
    hand_on_place(host_, commons_, commons_->close(host_id_));
    return false;
  }
  BackendConnection::Settings settings = settings_;
  settings.is_for_upgrade = is_for_upgrade;
  auto connection =
      std::make_unique<BackendConnection>(host_, id_, *descriptor, std::move(settings));
  if (!host_.adopt(std::move(connection))) {
    fail_waiting(ResponseFlag::kUf, "no_socket");
    hand_on_place(host_, commons_, commons_->close(host_id_));
    return false;
  }
  ++connections_;
  ++(is_for_upgrade ? connecting_upgrades_ : connecting_);
  return true;
}

void BackendPool::on_connected(BackendConnection& connection) {
  --connecting(connection);
  connection.counts_as_connecting = false;
  if (!connection.is_for_upgrade()) speaks_h2_ = connection.session()->capacity() > 1;
  reuse(connection);
  // An HTTP/1.1 answer to what looked like HTTP/2: more connections are needed than were begun.
  connect_for_waiting();
}

void BackendPool::on_connect_failed(BackendConnection& connection, const std::string& reason) {
  if (std::exchange(connection.counts_as_connecting, false)) --connecting(connection);
  log(Level::kWarn, "backend.connect_failed")
      .with("backend", backend_name_)
      .with("address", connection.address())
      .with("reason", reason);
  if (connecting_ + connecting_upgrades_ == 0)
    fail_waiting(ResponseFlag::kUf, "connection_failure");
  count_closed();  // Now, so that nobody connects for those who were told.
}

void BackendPool::on_closed(BackendConnection& connection) {
  if (std::exchange(connection.is_offered, false)) std::erase(offered_, connection.id());
  count_closed();
  connect_for_waiting();
}

/// One connection less. At the cap others, here or on other loops, may have waited for that.
void BackendPool::count_closed() {
  --connections_;
  hand_on_place(host_, commons_, commons_->close(host_id_));
}

/// A loop that has no connection at all comes before our own requests, or it would wait for as long
/// as we have any.
void BackendPool::offer(BackendConnection& connection) {
  if (commons_->is_starving_elsewhere(loop_) && connection.is_open() &&
      connection.session()->open_streams() == 0)
    return connection.drain();
  reuse(connection);
}

void BackendPool::reuse(BackendConnection& connection) {
  serve_waiting(connection);
  if (!connection.is_open() || !connection.session()->is_reusable() ||
      connection.session()->capacity() == 0)
    return;
  if (is_retiring_ || commons_->is_needed()) [[unlikely]]
    if (connection.session()->open_streams() == 0 && (is_retiring_ || gives_way()))
      return connection.drain();
  if (std::exchange(connection.is_offered, true)) return;
  offered_.push_back(connection.id());
}

/// It has nothing to do, and whoever waits for a place cannot use it.
bool BackendPool::gives_way() {
  if (Cluster* cluster = host_.find_cluster(cluster_); cluster && !cluster->needs_connection())
    commons_->stop_waiting(loop_);  // It got what it wanted in another way.
  return commons_->is_needed();
}

bool BackendPool::close_idle() {
  for (const BackendId id : offered_) {
    BackendConnection* connection = host_.find(id);
    if (!connection || !connection->is_open() || connection->session()->open_streams() > 0)
      continue;
    connection->drain();
    return true;
  }
  return false;
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
