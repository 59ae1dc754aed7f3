#include "proxy/data_plane.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "daemon/base/log.h"
#include "daemon/net/resolver.h"

namespace gatehouse::proxy {

struct DataPlane::FrontendSink final : net::ReadySink {
  explicit FrontendSink(DataPlane& owner) : plane(owner) {}
  void on_ready(std::uint64_t token, net::Ready ready) override {
    if (auto* alive = plane.frontends_.find(from_poll_token<FrontendConnection>(token)))
      alive->on_ready(ready);
  }
  DataPlane& plane;
};
struct DataPlane::BackendSink final : net::ReadySink {
  explicit BackendSink(DataPlane& owner) : plane(owner) {}
  void on_ready(std::uint64_t token, net::Ready ready) override {
    if (auto* alive = plane.backends_.find(from_poll_token<BackendConnection>(token)))
      alive->on_ready(ready);
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
      metrics.counter("gatehouse_backend_connects_total", "Connections to backends begun."),
      metrics.counter("gatehouse_backend_connect_failures_total",
                      "Connections to backends that failed."),
      metrics.counter("gatehouse_backend_retries_total",
                      "Requests sent again because the backend had not processed them."),
  };
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
      open_frontends_(tools.metrics.gauge("gatehouse_connections", "Client connections open now.")),
      durations_(
          tools.metrics.histogram("gatehouse_request_duration_seconds",
                                  "Time from the request's head to the response's end.",
                                  {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60})),
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
  // Connections tell their exchanges, which look for connections: take them apart in that order.
  frontends_.for_each([&](FrontendId, FrontendConnection& connection) { connection.close(); });
  backends_.for_each([&](BackendId, BackendConnection& connection) { connection.close(); });
  reap();
}

// ---- snapshots ------------------------------------------------------------------------------

Result<void> DataPlane::use(std::shared_ptr<const Router> router,
                            const InheritedSockets& inherited) {
  const Options& options = router->options();
  if (!server_tls_ || options.tls_profile != server_tls_profile_) {
    const auto profile = options.tls_profile == TlsProfile::kModern
                             ? net::TlsProfile::kModern
                             : net::TlsProfile::kIntermediate;
    auto context = net::ServerTlsContext::create(profile, chooser_, tickets_);
    if (!context) return std::move(context).error().in("tls");
    server_tls_ = std::move(*context);
    server_tls_profile_ = options.tls_profile;
  }
  if (!access_log_ || options.access_log_format != access_log_format_ ||
      options.access_log_path != access_log_path_) {
    auto log = AccessLog::open(options.access_log_format, options.access_log_path, timers(),
                               tools_.metrics);
    if (!log) return std::move(log).error().in("access log");
    access_log_ = std::move(*log);
    access_log_format_ = options.access_log_format;
    access_log_path_ = options.access_log_path;
  }
  auto view = make_view(router);
  if (!view) return view.error();
  auto opened = open_listeners(options, inherited);
  if (!opened) return opened.error();
  view_ = std::move(*view);
  limits_ = options.limits;
  retire_unused_pools(*view_);
  update_accepting();
  return {};
}

void DataPlane::use(std::shared_ptr<const CertificateTable> certificates) {
  chooser_.use(std::move(certificates));
}

Result<std::shared_ptr<net::ClientTlsContext>> DataPlane::client_tls(const Backend& backend) {
  net::ClientTlsOptions options;
  options.ca_file = backend.tls.ca_file;
  options.offer_h2 = backend.protocol != BackendProtocol::kHttp1;
  options.offer_http1 = backend.protocol != BackendProtocol::kHttp2;
  const std::string key = options.ca_file + (options.offer_h2 ? "|h2" : "|") +
                          (options.offer_http1 ? "|http/1.1" : "|");
  if (const auto it = client_tls_.find(key); it != client_tls_.end()) return it->second;
  auto context = net::ClientTlsContext::create(options);
  if (!context) return std::move(context).error().in("backend " + backend.name);
  return client_tls_[key] = std::move(*context);
}

Result<LoopRef<DataPlane::View>> DataPlane::make_view(std::shared_ptr<const Router> router) {
  LoopRef<View> view(new View);
  view->router = std::move(router);
  for (const Backend& backend : view->router->options().backends) {
    Target target{&backend, Balancer(backend.endpoints.size()), {}};
    for (const Endpoint& endpoint : backend.endpoints) {
      const std::string key = BackendPool::key_of(backend, endpoint);
      PoolId& id = pools_by_key_[key];
      if (!pools_.find(id)) {
        std::shared_ptr<net::ClientTlsContext> tls;
        if (endpoint.is_tls) {
          auto made = client_tls(backend);
          if (!made) return made.error();
          tls = std::move(*made);
        }
        id = pools_.insert(std::make_unique<BackendPool>(*this, backend, endpoint, std::move(tls)));
        pools_.find(id)->start(id);
      }
      target.pools.push_back(id);
    }
    view->targets.push_back(std::move(target));
  }
  return view;
}

void DataPlane::retire_unused_pools(const View& view) {
  std::vector<PoolId> used;
  for (const Target& target : view.targets)
    used.insert(used.end(), target.pools.begin(), target.pools.end());
  const auto before = [](PoolId a, PoolId b) { return a.packed() < b.packed(); };
  std::sort(used.begin(), used.end(), before);
  std::erase_if(pools_by_key_, [&](const auto& entry) {
    if (std::binary_search(used.begin(), used.end(), entry.second, before)) return false;
    if (BackendPool* pool = pools_.find(entry.second)) {
      pool->retire();
      retiring_pools_.push_back(entry.second);
    }
    return true;
  });
}

Result<void> DataPlane::open_listeners(const Options& options, const InheritedSockets& inherited) {
  struct Wanted {
    const net::ListenAddress* address;
    bool is_tls;
  };
  std::vector<Wanted> wanted;
  for (const auto& address : options.https) wanted.push_back({&address, true});
  for (const auto& address : options.http) wanted.push_back({&address, false});
  const auto is_same = [](const Listener& listener, const Wanted& want) {
    return listener.is_tls() == want.is_tls && listener.address().text == want.address->text;
  };
  const std::size_t before = listeners_.size();
  for (const Wanted& want : wanted) {
    if (std::any_of(listeners_.begin(), listeners_.end(),
                    [&](const auto& open) { return open && is_same(*open, want); }))
      continue;
    const auto given = inherited.find(want.address->text);
    auto listener = std::make_unique<Listener>(tools_.poller, timers(), *want.address, want.is_tls);
    auto started = listener->start(
        listener_sink_id_, listeners_.size(), given == inherited.end() ? -1 : given->second,
        [this](Listener& from, int descriptor, const net::SocketAddress& peer) {
          on_accept(from, descriptor, peer);
        });
    if (!started) {
      listeners_.resize(before);  // Those that were opened just now.
      return started.error();
    }
    listeners_.push_back(std::move(listener));
  }
  for (auto& open : listeners_) {
    if (open && std::none_of(wanted.begin(), wanted.end(),
                             [&](const Wanted& want) { return is_same(*open, want); }))
      open.reset();
  }
  return {};
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

// ---- visitors -------------------------------------------------------------------------------

void DataPlane::on_accept(Listener& listener, int descriptor, const net::SocketAddress& peer) {
  connection_metrics_.accepted.add();
  FrontendConnection::Facts facts;
  facts.peer = peer;
  facts.is_tls = listener.is_tls();
  facts.peer_ip = peer.is_unix() ? std::string("unix") : peer.ip().to_string();
  sockaddr_storage where{};
  socklen_t size = sizeof where;
  if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&where), &size) == 0)
    facts.local = net::SocketAddress::from_native(reinterpret_cast<sockaddr*>(&where), size);
  const Options& options = view_->router->options();
  for (const net::Network& network : options.trusted_proxies)
    facts.is_trusted = facts.is_trusted || (!peer.is_unix() && network.contains(peer.ip()));

  const std::size_t per_source = options.limits.connections_per_source;
  if (per_source != 0) {
    const auto it = sources_.find(facts.peer_ip);
    if (it != sources_.end() && it->second >= per_source) {
      connection_metrics_.refused_by_limit.add();
      ::close(descriptor);
      return;
    }
  }
  if (!facts.local.is_unix()) {
    // Inherited from our own listeners; a socket that systemd opened may lack it.
    const int on = 1;
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  ++sources_[facts.peer_ip];
  const FrontendId id =
      frontends_.insert(std::make_unique<FrontendConnection>(*this, descriptor, std::move(facts)));
  FrontendConnection& connection = *frontends_.find(id);
  if (!connection.start(id, frontend_sink_id_, listener.is_tls() ? server_tls_.get() : nullptr))
    retire(connection);
  update_accepting();
}

void DataPlane::update_accepting() {
  open_frontends_.set(static_cast<double>(frontends_.size()));
  const std::size_t most = limits().connections;
  const bool is_full = most != 0 && frontends_.size() >= most;
  for (auto& listener : listeners_) {
    if (!listener) continue;
    if (is_full)
      listener->pause();
    else
      listener->resume();
  }
}

BackendConnection* DataPlane::adopt(std::unique_ptr<BackendConnection> connection) {
  const BackendId id = backends_.insert(std::move(connection));
  BackendConnection* adopted = backends_.find(id);
  if (adopted->start(id, backend_sink_id_)) return adopted;
  backends_.erase(id);
  return nullptr;
}

// ---- the turn -------------------------------------------------------------------------------

void DataPlane::mark_dirty(FrontendConnection& connection) {
  if (!std::exchange(connection.is_dirty, true)) dirty_frontends_.push_back(connection.id());
}
void DataPlane::mark_dirty(BackendConnection& connection) {
  if (!std::exchange(connection.is_dirty, true)) dirty_backends_.push_back(connection.id());
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

void DataPlane::end_turn() {
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
  while (!dirty_frontends_.empty() || !dirty_backends_.empty()) {
    for (std::size_t i = 0; i < dirty_backends_.size(); ++i) {
      if (auto* connection = backends_.find(dirty_backends_[i])) {
        connection->is_dirty = false;
        connection->flush();
      }
    }
    dirty_backends_.clear();
    for (std::size_t i = 0; i < dirty_frontends_.size(); ++i) {
      if (auto* connection = frontends_.find(dirty_frontends_[i])) {
        connection->is_dirty = false;
        connection->flush();
      }
    }
    dirty_frontends_.clear();
  }
  reap();
  if (!later_frontends_.empty() || !later_backends_.empty()) tools_.loop.wake();
}

void DataPlane::reap() {
  const bool had_frontends = !retired_frontends_.empty();
  while (!retired_frontends_.empty() || !retired_backends_.empty() || !done_exchanges_.empty()) {
    const auto frontends = std::exchange(retired_frontends_, {});
    for (const FrontendId id : frontends) {
      const auto connection = frontends_.erase(id);
      if (!connection) continue;
      const auto source = sources_.find(connection->facts().peer_ip);
      if (source != sources_.end() && --source->second == 0) sources_.erase(source);
    }
    const auto backends = std::exchange(retired_backends_, {});
    for (const BackendId id : backends) backends_.erase(id);
    const auto exchanges = std::exchange(done_exchanges_, {});
    for (const ExchangeId id : exchanges) {
      auto exchange = exchanges_.erase(id);
      if (!exchange || spare_exchanges_.size() >= kSpareExchanges) continue;
      exchange->recycle();
      spare_exchanges_.push_back(std::move(exchange));
    }
  }
  std::erase_if(retiring_pools_, [this](PoolId id) {
    const BackendPool* pool = pools_.find(id);
    if (pool && !pool->is_empty()) return false;
    pools_.erase(id);
    return true;
  });
  if (!had_frontends) return;
  if (view_) update_accepting();
  if (is_draining_ && frontends_.empty() && on_drained_) {
    drain_timer_.cancel();
    tools_.loop.post(std::exchange(on_drained_, nullptr));
  }
}

// ---- drain ----------------------------------------------------------------------------------

void DataPlane::drain(std::function<void()> done) {
  is_draining_ = true;
  on_drained_ = std::move(done);
  for (auto& listener : listeners_) listener.reset();
  frontends_.for_each([](FrontendId, FrontendConnection& connection) { connection.drain(); });
  if (frontends_.empty()) {
    tools_.loop.post(std::exchange(on_drained_, nullptr));
    return;
  }
  drain_step_ = 0;
  drain_timer_.arm(std::min(kSecondGoaway, limits().drain_timeout));
  tools_.loop.wake();
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
