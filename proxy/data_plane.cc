#include "proxy/data_plane.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "daemon/base/log.h"
#include "daemon/base/prefetch.h"
#include "daemon/net/resolver.h"

namespace gatehouse::proxy {

struct DataPlane::FrontendSink final : net::ReadySink {
  explicit FrontendSink(DataPlane& owner) : plane(owner) {}
  void on_ready(std::uint64_t token, net::Ready ready) override {
    auto* alive = plane.frontends_.find(from_poll_token<FrontendConnection>(token));
    if (!alive) return;
    alive->on_ready(ready);
    plane.flush_singles();
  }
  DataPlane& plane;
};
struct DataPlane::BackendSink final : net::ReadySink {
  explicit BackendSink(DataPlane& owner) : plane(owner) {}
  void on_ready(std::uint64_t token, net::Ready ready) override {
    auto* alive = plane.backends_.find(from_poll_token<BackendConnection>(token));
    if (!alive) return;
    alive->on_ready(ready);
    plane.flush_singles();
  }
  void expect(std::uint64_t token, Distance distance) override {
    const auto* soon = plane.backends_.find(from_poll_token<BackendConnection>(token));
    if (!soon) return;
    if (distance == Distance::kFar) return prefetch(soon);
    soon->prefetch_session();
    if (const auto* exchange = plane.exchanges_.find(soon->last_exchange())) prefetch(exchange);
  }
  DataPlane& plane;
};
struct DataPlane::ListenerSink final : net::ReadySink {
  explicit ListenerSink(DataPlane& owner) : plane(owner) {}
  void on_ready(std::uint64_t token, net::Ready) override {
    if (token < plane.listeners_.size() && plane.listeners_[token])
      plane.listeners_[token]->on_ready();
  }
  DataPlane& plane;
};

namespace {
constexpr std::size_t kSpareExchanges = 1024;
constexpr Duration kLookAtLoad = std::chrono::seconds(1);
constexpr Duration kSecondGoaway = std::chrono::seconds(1);

ConnectionMetrics make_connection_metrics(Metrics& metrics) {
  return {
      metrics.counter("gatehouse_connections_accepted_total", "Client connections accepted."),
      metrics.counter("gatehouse_connections_refused_total",
                      "Client connections closed because of a limit."),
      metrics.counter("gatehouse_tls_handshakes_total", "TLS handshakes with clients completed."),
      metrics.counter("gatehouse_tls_handshake_failures_total",
                      "TLS handshakes with clients that failed or took too long."),
      metrics.counter("gatehouse_connections_stalled_total",
                      "Client connections closed because the client took nothing."),
      metrics.counter("gatehouse_header_timeouts_total",
                      "Client connections whose request head did not come in time."),
      metrics.counter("gatehouse_proxy_header_failures_total",
                      "Connections of listed peers without a good PROXY header."),
      metrics.counter("gatehouse_backend_connects_total", "Connections to backends begun."),
      metrics.counter("gatehouse_backend_connect_failures_total",
                      "Connections to backends that failed."),
      metrics.counter("gatehouse_backend_overflows_total",
                      "Requests refused because a backend had all that its limits allow."),
      metrics.counter("gatehouse_backend_ejections_total",
                      "Hosts of backends left out for a time because requests kept failing."),
      metrics.counter("gatehouse_backend_health_check_failures_total",
                      "Active checks of backends' hosts that failed."),
  };
}

bool is_in(const std::vector<net::Network>& networks, const net::SocketAddress& address) {
  if (address.is_unix()) return false;
  return std::any_of(networks.begin(), networks.end(),
                     [&](const net::Network& network) { return network.contains(address.ip()); });
}

/// The address of the socket under an SSL, for handshakes without SNI.
std::string local_address_of(const SSL* ssl) {
  sockaddr_storage where{};
  socklen_t size = sizeof where;
  if (::getsockname(SSL_get_fd(ssl), reinterpret_cast<sockaddr*>(&where), &size) != 0) return {};
  const auto address = net::SocketAddress::from_native(reinterpret_cast<sockaddr*>(&where), size);
  return address.is_unix() ? std::string() : address.ip().to_string();
}
}  // namespace

DataPlane::DataPlane(const DataPlaneTools& tools)
    : tools_(tools),
      connection_metrics_(make_connection_metrics(tools.metrics)),
      offences_(tools.metrics, tools.loop.clock().steady_now()),
      shed_connections_(
          tools.metrics.counter("gatehouse_connections_shed_total",
                                "Idle client connections closed because something ran short.")),
      shed_requests_(tools.metrics.counter("gatehouse_requests_shed_total",
                                           "Requests refused because something ran short.")),
      overload_gauge_(tools.metrics.gauge(
          "gatehouse_overload", "1 while connections or requests are shed, or none accepted.")),
      load_timer_(tools.loop.timers(), [this] { look_at_load(); }),
      open_frontends_(tools.metrics.gauge("gatehouse_connections", "Client connections open now.")),
      durations_(
          tools.metrics.histogram("gatehouse_request_duration_seconds",
                                  "Time from the request's head to the response's end.",
                                  {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60})),
      retry_metrics_(tools.metrics),
      scratch_(std::make_unique_for_overwrite<char[]>(kScratchBytes)),
      frontend_sink_(std::make_unique<FrontendSink>(*this)),
      backend_sink_(std::make_unique<BackendSink>(*this)),
      listener_sink_(std::make_unique<ListenerSink>(*this)),
      frontend_sink_id_(tools.poller.add_sink(*frontend_sink_)),
      backend_sink_id_(tools.poller.add_sink(*backend_sink_)),
      listener_sink_id_(tools.poller.add_sink(*listener_sink_)),
      chooser_(tools.loop.clock(), challenges_, local_address_of),
      drain_timer_(tools.loop.timers(), [this] { finish_drain(); }) {
  static constexpr const char* kClasses[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
  for (std::size_t i = 0; i < 6; ++i)
    responses_[i] =
        &tools.metrics.counter("gatehouse_requests_total", "Requests answered, by class of status.",
                               {{"status", kClasses[i]}});
  tools.loop.at_turn_end([this] { end_turn(); });
}

DataPlane::~DataPlane() {
  clusters_.for_each([](ClusterId, Cluster& cluster) { cluster.stop_checks(); });
  // Connections tell their exchanges, which look for connections: take them apart in that order.
  frontends_.for_each([&](FrontendId, FrontendConnection& connection) { connection.close(); });
  backends_.for_each([&](BackendId, BackendConnection& connection) { connection.close(); });
  reap();
  while (!retired_backends_.empty()) reap();
}

// ---- snapshots ------------------------------------------------------------------------------

Result<void> DataPlane::prepare(std::shared_ptr<const Router> router, SnapshotCommons& commons,
                                const ListenSockets& sockets) {
  abandon();
  const Options& options = router->options();
  Prepared next;
  auto listeners = take_sockets(options, sockets);
  if (!listeners) return listeners.error();
  next.listeners = std::move(*listeners);
  next.server_tls = server_tls_;
  if (!server_tls_ || options.tls_profile != server_tls_profile_) {
    const auto profile = options.tls_profile == TlsProfile::kModern
                             ? net::TlsProfile::kModern
                             : net::TlsProfile::kIntermediate;
    auto context = net::ServerTlsContext::create(profile, chooser_, tickets_);
    if (!context) return std::move(context).error().in("tls");
    next.server_tls = std::move(*context);
  }
  if (!access_log_ || options.access_log_format != access_log_format_ ||
      options.access_log_path != access_log_path_) {
    AccessLog::Pass pass;
    if (tools_.index != 0)
      pass = [this](std::string lines) { tools_.neighbours.pass_log_lines(std::move(lines)); };
    auto log = AccessLog::open(options.access_log_format, options.access_log_path, timers(),
                               tools_.metrics, std::move(pass));
    if (!log) return std::move(log).error().in("access log");
    next.access_log = std::move(*log);
  }
  auto view = make_view(std::move(router), commons);
  if (!view) return view.error();
  next.view = std::move(*view);
  prepared_ = std::move(next);
  return {};
}

void DataPlane::commit() {
  check(prepared_.has_value(), "a snapshot is prepared before it is taken");
  Prepared next = std::move(*prepared_);
  prepared_.reset();
  const LoopRef<View> before = std::exchange(view_, std::move(next.view));
  chooser_.use(view_->router);
  client_tls_.commit();
  const Options& options = view_->router->options();
  server_tls_ = std::move(next.server_tls);
  server_tls_profile_ = options.tls_profile;
  if (next.access_log) access_log_ = std::move(next.access_log);
  access_log_format_ = options.access_log_format;
  access_log_path_ = options.access_log_path;
  limits_ = options.limits;
  for (auto& listener : next.listeners) listeners_.push_back(std::move(listener));
  const auto is_wanted = [&](const Listener& open) {
    const auto& addresses = open.is_tls() ? options.https : options.http;
    return std::any_of(addresses.begin(), addresses.end(), [&](const net::ListenAddress& address) {
      return address.text == open.address().text;
    });
  };
  for (auto& open : listeners_)
    if (open && !is_wanted(*open)) open.reset();
  take_clusters(before.get());
  accept_again();
}

void DataPlane::abandon() {
  if (prepared_) drop_clusters(*prepared_->view);
  prepared_.reset();
  client_tls_.abandon();
}

void DataPlane::use(std::shared_ptr<const CertificateTable> certificates) {
  chooser_.use(std::move(certificates));
}

Result<std::vector<std::unique_ptr<Listener>>> DataPlane::take_sockets(
    const Options& options, const ListenSockets& sockets) {
  std::vector<std::unique_ptr<Listener>> listeners;
  Result<void> started;
  const auto take = [&](const net::ListenAddress& address, bool is_tls) {
    const auto given = sockets.find(address.text);
    if (given == sockets.end() || listens_on(address.text, is_tls)) return;
    listeners.push_back(
        std::make_unique<Listener>(*this, tools_.poller, timers(), address, is_tls));
    auto result = listeners.back()->start(listener_sink_id_,
                                          listeners_.size() + listeners.size() - 1, given->second);
    if (!result) started = std::move(result);
  };
  for (const auto& address : options.https) take(address, true);
  for (const auto& address : options.http) take(address, false);
  if (!started) return started.error();
  return listeners;
}

bool DataPlane::listens_on(const std::string& address_text, bool is_tls) const {
  return std::any_of(listeners_.begin(), listeners_.end(), [&](const auto& open) {
    return open && open->is_tls() == is_tls && open->address().text == address_text;
  });
}

std::vector<std::pair<std::string, bool>> DataPlane::listening() const {
  std::vector<std::pair<std::string, bool>> all;
  for (const auto& open : listeners_)
    if (open) all.emplace_back(open->bound().to_string(), open->is_tls());
  return all;
}

Result<void> DataPlane::reopen_log() {
  return access_log_ ? access_log_->reopen() : Result<void>();
}

void DataPlane::write_log_lines(std::string_view lines) {
  if (access_log_) access_log_->write(lines);
}

// ---- visitors -------------------------------------------------------------------------------

bool DataPlane::reserve_place() {
  const bool is_short = overload_.actions().stops_accepting && !is_draining_;
  if (!is_short && tools_.neighbours.census().reserve(tools_.index, limits().connections))
    return true;
  if (!is_short)
    count_sockets();  // Other loops have filled the house: our idle ones make room, too.
  pause_accepting();
  return false;
}

void DataPlane::pause_accepting() {
  for (auto& listener : listeners_)
    if (listener) listener->pause();
}

void DataPlane::accept_again() {
  for (auto& listener : listeners_)
    if (listener) listener->resume();
}

void DataPlane::on_accept(Listener& listener, int descriptor, const net::SocketAddress& peer) {
  connection_metrics_.accepted.add();
  const Visitor visitor{descriptor, peer, listener.is_tls()};
  const std::size_t home = tools_.neighbours.census().settle(tools_.index);
  if (home == tools_.index)
    welcome(visitor);
  else
    tools_.neighbours.hand_over(home, visitor);
}

void DataPlane::welcome(const Visitor& visitor) {
  const int descriptor = visitor.descriptor;
  const net::SocketAddress& peer = visitor.peer;
  ConnectionCensus& census = tools_.neighbours.census();
  if (is_draining_) {  // It was on its way here.
    ::close(descriptor);
    census.leave(tools_.index);
    return;
  }
  FrontendConnection::Facts facts;
  facts.peer = peer;
  facts.is_tls = visitor.is_tls;
  facts.peer_ip = peer.is_unix() ? std::string("unix") : peer.ip().to_string();
  sockaddr_storage where{};
  socklen_t size = sizeof where;
  if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&where), &size) == 0)
    facts.local = net::SocketAddress::from_native(reinterpret_cast<sockaddr*>(&where), size);
  facts.awaits_proxy_header = is_in(view_->router->options().proxy_protocol_from, peer);
  if (!facts.awaits_proxy_header && !admit(facts)) {
    ::close(descriptor);
    census.leave(tools_.index);
    return;
  }
  if (!facts.local.is_unix()) {
    // Inherited from our own listeners; a socket that systemd opened may lack it.
    const int on = 1;
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  const FrontendId id =
      frontends_.insert(std::make_unique<FrontendConnection>(*this, descriptor, std::move(facts)));
  FrontendConnection& connection = *frontends_.find(id);
  if (!connection.start(id, frontend_sink_id_)) retire(connection);
  count_sockets();
  open_frontends_.set(static_cast<double>(frontends_.size()));
}

/// Judges a client by its address, which a PROXY header may have told.
bool DataPlane::admit(FrontendConnection::Facts& facts) {
  const Options& options = view_->router->options();
  facts.is_trusted = is_in(options.trusted_proxies, facts.peer);
  if (!tools_.neighbours.census().enter_source(facts.peer_ip,
                                               options.limits.connections_per_source)) {
    connection_metrics_.refused_by_limit.add();
    offences_.note(Offence::kConnectionsPerSource, facts.peer_ip, timers().now());
    return false;
  }
  facts.is_counted = true;
  return true;
}

bool DataPlane::admit(FrontendConnection& connection) { return admit(connection.facts()); }

BackendConnection* DataPlane::adopt(std::unique_ptr<BackendConnection> connection) {
  const BackendId id = backends_.insert(std::move(connection));
  BackendConnection* adopted = backends_.find(id);
  count_sockets();
  if (adopted->start(id, backend_sink_id_)) return adopted;
  backends_.erase(id);
  return nullptr;
}

// ---- the turn -------------------------------------------------------------------------------

void DataPlane::mark_dirty(FrontendConnection& connection) {
  if (!std::exchange(connection.is_dirty, true)) dirty_frontends_.push_back(connection.id());
}
void DataPlane::mark_dirty(BackendConnection& connection) {
  if (std::exchange(connection.is_dirty, true)) return;
  (connection.is_single ? single_backends_ : dirty_backends_).push_back(connection.id());
}
void DataPlane::resume_later(FrontendConnection& connection) {
  later_frontends_.push_back(connection.id());
}
void DataPlane::resume_later(BackendConnection& connection) {
  later_backends_.push_back(connection.id());
}
void DataPlane::retire(FrontendConnection& connection) {
  if (!std::exchange(connection.is_retired, true)) retired_frontends_.push_back(connection.id());
}
void DataPlane::retire(BackendConnection& connection) {
  if (!std::exchange(connection.is_retired, true)) retired_backends_.push_back(connection.id());
}

namespace {
/// The list may grow meanwhile.
template <class Id, class Table>
void flush_all(std::vector<Id>& ids, const Table& table) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    auto* connection = table.find(ids[i]);
    if (!connection) continue;
    connection->is_dirty = false;
    connection->flush();
  }
  ids.clear();
}
}  // namespace

/// HTTP/1.1 has one stream on a connection, and waiting for the turn's end would gather nothing:
/// what one event has brought for a backend leaves while all that it touched is in the cache. (For
/// clients that costs more than it saves: their system calls then come between other events.)
void DataPlane::flush_singles() { flush_all(single_backends_, backends_); }

void DataPlane::end_turn() {
  if (timers().now() - load_looked_at_ >= kLookAtLoad) look_at_load();
  // What was left over from an earlier turn comes first, once.
  std::vector<FrontendId> frontends;
  std::vector<BackendId> backends;
  if (!later_frontends_.empty()) frontends.swap(later_frontends_);
  if (!later_backends_.empty()) backends.swap(later_backends_);
  for (const FrontendId id : frontends)
    if (auto* connection = frontends_.find(id)) connection->resume();
  for (const BackendId id : backends)
    if (auto* connection = backends_.find(id)) connection->resume();
  // Flushing one side returns credit to the other: go on until nobody has anything.
  // Backends first: what they found spoilt is told by their flush.
  while (!dirty_frontends_.empty() || !dirty_backends_.empty() || !single_backends_.empty()) {
    flush_singles();
    flush_all(dirty_backends_, backends_);
    flush_all(dirty_frontends_, frontends_);
  }
  reap();
  if (!later_frontends_.empty() || !later_backends_.empty()) tools_.loop.wake();
}

/// Closing a connection whose answer nobody wants any more costs some hundred microseconds where
/// its backend is on this machine (what it had sent is freed within our call), and a client that
/// goes leaves as many of them as it had streams: some go at a time, and others are served between.
void DataPlane::close_retired_backends() {
  constexpr std::size_t kAtOnce = 16, kShare = 4;
  const auto most = std::max(kAtOnce, retired_backends_.size() / kShare);
  for (std::size_t closed = 0; closed < most && !retired_backends_.empty(); ++closed) {
    const BackendId id = retired_backends_.front();
    retired_backends_.pop_front();
    backends_.erase(id);
  }
  if (!retired_backends_.empty()) tools_.loop.wake();
}

void DataPlane::reap() {
  const bool had_frontends = !retired_frontends_.empty();
  close_retired_backends();
  while (!retired_frontends_.empty() || !done_exchanges_.empty()) {
    const auto frontends = std::exchange(retired_frontends_, {});
    for (const FrontendId id : frontends) {
      const auto connection = frontends_.erase(id);
      if (!connection) continue;
      if (const auto* session = connection->session())
        if (const auto offence = session->offence()) note(*offence, *connection);
      if (connection->facts().is_counted)
        tools_.neighbours.census().leave_source(connection->facts().peer_ip);
      tools_.neighbours.census().leave(tools_.index);
      for (const ClusterId cluster : view_->naming_clients)
        clusters_.find(cluster)->forget_client(id);
    }
    const auto exchanges = std::exchange(done_exchanges_, {});
    for (std::size_t i = 0; i < exchanges.size(); ++i) {
      constexpr std::size_t kAhead = 2;
      if (i + kAhead < exchanges.size()) prefetch(exchanges_.find(exchanges[i + kAhead]));
      auto exchange = exchanges_.erase(exchanges[i]);
      if (!exchange || spare_exchanges_.size() >= kSpareExchanges) continue;
      exchange->recycle();
      spare_exchanges_.push_back(std::move(exchange));
    }
  }
  reap_backends();
  if (!had_frontends) return;
  open_frontends_.set(static_cast<double>(frontends_.size()));
  if (is_draining_ && frontends_.empty() && on_drained_) end_drain();
}

// ---- drain ----------------------------------------------------------------------------------

void DataPlane::drain(std::function<void()> done) {
  is_draining_ = true;
  on_drained_ = std::move(done);
  for (auto& listener : listeners_) listener.reset();
  frontends_.for_each([](FrontendId, FrontendConnection& connection) { connection.drain(); });
  if (frontends_.empty()) return end_drain();
  drain_step_ = 0;
  drain_timer_.arm(std::min(kSecondGoaway, limits().drain_timeout));
  tools_.loop.wake();
}

void DataPlane::end_drain() {
  drain_timer_.cancel();
  if (access_log_) access_log_->flush();  // While the first loop still takes lines.
  tools_.loop.post(std::exchange(on_drained_, nullptr));
}

/// First the GOAWAY with the last stream id, a moment after the one that announced it; then the
/// end.
void DataPlane::finish_drain() {
  if (drain_step_++ == 0) {
    frontends_.for_each([](FrontendId, FrontendConnection& connection) { connection.drain(); });
    drain_timer_.arm(
        std::max<Duration>(limits().drain_timeout - kSecondGoaway, std::chrono::milliseconds(1)));
  } else {
    log(Level::kWarn, "proxy.drain_deadline")
        .with("connections", frontends_.size())
        .with("requests", exchanges_.size());
    frontends_.for_each([](FrontendId, FrontendConnection& connection) { connection.close(); });
  }
  tools_.loop.wake();
}

}  // namespace gatehouse::proxy
