// The backends of the data plane: their clusters over reloads, and which host an exchange goes to.

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "proxy/data_plane.h"
#include "proxy/protocol/grpc.h"
#include "proxy/routing/client_address.h"
#include "proxy/routing/sticky.h"

namespace gatehouse::proxy {

namespace {
constexpr std::size_t kHostsTried = 3;  // of one request, when they do not accept connections
}

// ---- snapshots ------------------------------------------------------------------------------

/// Clusters of backends whose configuration is the same go on; the others are new, and begin with
/// take_clusters().
Result<LoopRef<DataPlane::View>> DataPlane::make_view(std::shared_ptr<const Router> router,
                                                      SnapshotCommons& commons) {
  std::unordered_map<std::string_view, ClusterId> known;
  if (view_)
    for (const Target& target : view_->targets) known[target.backend->name] = target.cluster;
  LoopRef<View> view(new View);
  view->router = std::move(router);
  for (const Backend& backend : view->router->options().backends) {
    std::shared_ptr<net::ClientTlsContext> tls;
    if (std::any_of(backend.endpoints.begin(), backend.endpoints.end(),
                    [](const Endpoint& endpoint) { return endpoint.is_tls; })) {
      auto made = client_tls_.prepare(backend);
      if (!made) {
        drop_clusters(*view);
        return made.error();
      }
      tls = std::move(*made);
    }
    const auto it = known.find(backend.name);
    const Cluster* old = it == known.end() ? nullptr : clusters_.find(it->second);
    if (old && old->backend() == backend) {
      view->targets.push_back({&backend, it->second, old->commons()});
      continue;
    }
    std::shared_ptr<const Backend> kept(view->router, &backend);  // Keeps the whole snapshot.
    auto shared = commons.of(view->targets.size(), backend);
    auto cluster = std::make_unique<Cluster>(*this, std::move(kept), std::move(tls), shared);
    view->targets.push_back({&backend, clusters_.insert(std::move(cluster)), std::move(shared)});
  }
  view->budgets.resize(view->targets.size());
  for (const Target& target : view->targets)
    if (target.backend->send_proxy_protocol != ProxyProtocol::kOff)
      view->naming_clients.push_back(target.cluster);
  return view;
}

/// The snapshot of this view was not taken: what was made for it goes.
void DataPlane::drop_clusters(const View& view) {
  for (const Target& target : view.targets) {
    const Cluster* cluster = clusters_.find(target.cluster);
    if (cluster && !cluster->has_started()) clusters_.erase(target.cluster);
  }
}

/// view_ is new: its clusters begin or go on, those that only `before` had end.
void DataPlane::take_clusters(const View* before) {
  std::unordered_set<std::uint64_t> used;
  for (const Target& target : view_->targets) used.insert(target.cluster.packed());
  if (before) {
    for (const Target& target : before->targets) {
      if (used.contains(target.cluster.packed())) continue;
      clusters_.find(target.cluster)->retire();
      retiring_clusters_.push_back(target.cluster);
    }
  }
  for (const Target& target : view_->targets) {
    Cluster& cluster = *clusters_.find(target.cluster);
    if (cluster.has_started())
      cluster.adopt(std::shared_ptr<const Backend>(view_->router, target.backend));
    else
      cluster.start(target.cluster);
  }
}

std::vector<BackendStatus> DataPlane::backends() {
  std::vector<BackendStatus> all;
  if (!view_) return all;
  for (const Target& target : view_->targets) {
    Cluster* cluster = clusters_.find(target.cluster);
    if (cluster && cluster->size() > 0) all.push_back(cluster->status());
  }
  return all;
}

/// A cluster that has gone needs nothing, but a place that came for it is somebody else's then.
void DataPlane::on_news(const std::shared_ptr<BackendCommons>& commons, const ClusterNews& news) {
  if (news.kind == ClusterNews::Kind::kPlace) return hand_on_place(*this, commons, tools_.index);
  Cluster* cluster = clusters_.find(commons->cluster_on(tools_.index));
  if (!cluster) return;
  if (news.kind == ClusterNews::Kind::kHost)
    cluster->learn(news.host);
  else
    cluster->make_room();
}

void DataPlane::reap_backends() {
  std::erase_if(retiring_clusters_, [this](ClusterId id) {
    Cluster* cluster = clusters_.find(id);
    if (!cluster->is_over()) return false;
    cluster->retire();  // Pools that its last requests needed.
    clusters_.erase(id);
    return true;
  });
  std::erase_if(retiring_pools_, [this](PoolId id) {
    const BackendPool* pool = pools_.find(id);
    if (pool && !pool->is_empty()) return false;
    pools_.erase(id);
    return true;
  });
}

PoolId DataPlane::adopt(std::unique_ptr<BackendPool> pool) {
  const PoolId id = pools_.insert(std::move(pool));
  pools_.find(id)->start(id);
  return id;
}

void DataPlane::retire_pool(PoolId id) {
  BackendPool* pool = pools_.find(id);
  if (!pool || pool->is_retiring()) return;
  pool->retire();
  retiring_pools_.push_back(id);
  tools_.loop.wake();  // To be reaped in this turn, if it is empty.
}

// ---- exchanges ------------------------------------------------------------------------------

/// Null: a reload has removed the backend, and all others that were with it are done.
Cluster* DataPlane::cluster_of(const Exchange& exchange) {
  const auto& view = static_cast<const View&>(*exchange.snapshot);
  return clusters_.find(view.targets[exchange.target].cluster);
}

/// What of the request has a say in the choice of a host.
void DataPlane::read_wish(Exchange& exchange, const Backend& backend) {
  const Fields& fields = exchange.request().fields;
  if (!backend.sticky_cookie.empty()) {
    exchange.wish.is_sticky = true;
    exchange.wish.sticky = parse_host_id(find_cookie(fields, backend.sticky_cookie).value_or(""));
  }
  if (backend.balance.policy != Balance::Policy::kHash) return;
  std::optional<std::string_view> key;
  switch (backend.balance.key) {
    case Balance::Key::kHeader: key = fields.find(backend.balance.key_name); break;
    case Balance::Key::kCookie: key = find_cookie(fields, backend.balance.key_name); break;
    case Balance::Key::kSource:
      if (const FrontendConnection* from = frontends_.find(exchange.frontend())) {
        const auto client =
            client_address(from->facts().peer, fields, view_->router->options().trusted_proxies);
        if (client) exchange.wish.hash = stable_hash(client->bytes());
      }
      break;
  }
  if (key) exchange.wish.hash = stable_hash(*key);
}

void DataPlane::set_sticky_cookie(const Exchange& exchange, ResponseHead& head) {
  if (exchange.wish.chosen == exchange.wish.sticky) return;
  const auto& view = static_cast<const View&>(*exchange.snapshot);
  const std::string& name = view.targets[exchange.target].backend->sticky_cookie;
  const auto scheme = exchange.request().fields.find(Name::kXForwardedProto);
  head.fields.add("set-cookie",
                  sticky_cookie(name, exchange.wish.chosen, scheme && *scheme == "https"));
}

/// Chooses a host for an exchange in kWaiting and hands it to the host's pool.
void DataPlane::send_to_host(Exchange& exchange) {
  if (exchange.awaits_handshake) return;
  if (Cluster* cluster = cluster_of(exchange)) return cluster->send(exchange);
  exchange.on_connect_failed(ResponseFlag::kUh, 503, "no_healthy_upstream");
}

void DataPlane::on_handshake_done(Exchange& exchange) {
  const bool is_held = std::exchange(exchange.awaits_handshake, false);
  if (is_held && exchange.phase() == Exchange::Phase::kWaiting && !exchange.is_backing_off())
    send_to_host(exchange);
}

void DataPlane::leave_queue(Exchange& exchange) {
  if (Cluster* cluster = cluster_of(exchange)) cluster->leave(exchange);
}

void DataPlane::on_connect_failed(Exchange& exchange, ResponseFlag flag, std::string_view detail) {
  const Cluster* cluster = cluster_of(exchange);
  exchange.end_attempt(AttemptEnd::kConnectFailed);
  if (cluster && ++exchange.endpoints_failed < std::min(cluster->size(), kHostsTried))
    return send_to_host(exchange);
  // The line names whom we could not reach, as Envoy's does.
  if (const BackendPool* pool = pools_.find(exchange.pool)) exchange.endpoint = pool->text();
  const int grpc_status = exchange.request().is_grpc() ? code_of(GrpcStatus::kUnavailable) : -1;
  if (wants_retry(exchange, {AttemptEnd::kConnectFailed, 503, grpc_status, false})) return;
  exchange.on_connect_failed(flag, 503, detail);
}

void DataPlane::on_attempt_over(Exchange& exchange, AttemptEnd end) {
  if (Cluster* cluster = cluster_of(exchange)) cluster->on_attempt_over(exchange, end);
}

}  // namespace gatehouse::proxy
