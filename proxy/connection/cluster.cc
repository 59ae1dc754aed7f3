#include "proxy/connection/cluster.h"

#include <openssl/hmac.h>

#include <algorithm>
#include <chrono>
#include <unordered_map>

#include "daemon/base/log.h"
#include "proxy/connection/frontend_connection.h"
#include "proxy/connection/sent_proxy_header.h"

namespace gatehouse::proxy {

namespace {
constexpr const char* kHostsMetric = "gatehouse_backend_hosts";
constexpr const char* kUsableMetric = "gatehouse_backend_hosts_usable";
}  // namespace

Cluster::Cluster(ConnectionHost& host, std::shared_ptr<const Backend> backend,
                 std::shared_ptr<net::ClientTlsContext> tls,
                 std::shared_ptr<BackendCommons> commons)
    : host_(host),
      backend_(std::move(backend)),
      tls_(std::move(tls)),
      commons_(std::move(commons)),
      balancer_(Balancer::rules_of(*backend_), host.random()) {
  if (backend_->eject)
    return_timer_ = std::make_unique<Timer>(host.timers(), [this] { on_return_timer(); });
  if (backend_->send_proxy_protocol != ProxyProtocol::kOff)
    client_pools_ = std::make_unique<ClientPools>(host);
}

Cluster::~Cluster() = default;

void Cluster::start(ClusterId id) {
  id_ = id;
  commons_->join(host_.loop_index(), id);
  discovery_ = std::make_unique<Discovery>(host_, *backend_, id);
  if (backend_->health && is_home())
    checker_ = std::make_unique<HealthChecker>(host_, id, *backend_->health);
  if (backend_->health || backend_->eject) {
    const Labels labels{{"backend", backend_->name}};
    Metrics& metrics = host_.registry();
    hosts_gauge_ = &metrics.gauge(kHostsMetric, "Hosts of a backend.", labels);
    usable_gauge_ = &metrics.gauge(kUsableMetric,
                                   "Hosts of a backend that are healthy and not ejected.", labels);
    hosts_gauge_->mark_as_view();  // Every loop says the same.
    usable_gauge_->mark_as_view();
  }
  take_places();
  if (backend_->health) discovery_->watch();
}

void Cluster::retire() {
  is_retired_ = true;
  discovery_->stop();
  stop_checks();
  if (std::exchange(hosts_gauge_, nullptr)) {
    host_.registry().remove(kHostsMetric, {{"backend", backend_->name}});
    host_.registry().remove(kUsableMetric, {{"backend", backend_->name}});
  }
  for (const Seat& seat : seats_)
    if (seat.pool) host_.retire_pool(seat.pool);
  if (client_pools_) client_pools_->retire_all();
}

// ---- hosts ----------------------------------------------------------------------------------

/// What a host is called in sticky cookies and in the table of hashes: the same on every node and
/// after every restart. A keyed hash, so that a cookie does not say an address; its key is what all
/// nodes know and visitors do not, the backend's configuration.
std::uint64_t Cluster::id_of(const Place& place) const {
  std::string key = "gatehouse host id|" + backend_->name;
  for (const Endpoint& endpoint : backend_->endpoints)
    key.append("|").append(endpoint.host).append(":").append(std::to_string(endpoint.port));
  const bool is_tls = backend_->endpoints[place.endpoint].is_tls;
  const std::string text = place.address.to_string() +
                           (is_tls && backend_->tls.server_name.empty() ? "|" + place.name : "") +
                           (is_tls ? "|tls" : "");
  unsigned char digest[EVP_MAX_MD_SIZE] = {};
  unsigned size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &size);
  std::uint64_t id = 0;
  for (int i = 0; i < 8; ++i) id = id << 8 | digest[i];
  return id == 0 ? 1 : id;
}

/// Makes the hosts what discovery says. The same place twice is one host with twice the weight.
void Cluster::take_places() {
  std::vector<Place> places = discovery_->places();
  std::unordered_map<std::uint64_t, std::size_t> wanted;  // index into places, by id
  std::vector<std::uint64_t> ids;
  for (std::size_t i = 0; i < places.size(); ++i) {
    ids.push_back(id_of(places[i]));
    const auto [it, is_new] = wanted.try_emplace(ids[i], i);
    if (!is_new) places[it->second].weight += places[i].weight;
  }
  std::vector<PoolId> left;
  for (std::uint32_t slot = 0; slot < seats_.size(); ++slot) {
    if (!balancer_.is_used(slot) || balancer_.state(slot) == Balancer::State::kLeaving) continue;
    const auto it = wanted.find(balancer_.id(slot));
    if (it != wanted.end()) {
      balancer_.set_weight(slot, places[it->second].weight, places[it->second].priority);
      wanted.erase(it);
      continue;
    }
    const std::vector<PoolId> pools = remove(slot);
    left.insert(left.end(), pools.begin(), pools.end());
  }
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (wanted.erase(ids[i]) > 0) add(ids[i], std::move(places[i]));  // Else it is there already.
  }
  has_had_hosts_ = has_had_hosts_ || balancer_.size() > 0;
  publish();
  for (const PoolId pool : left) send_elsewhere(pool);
}

/// A host that is gone finishes what it has, which may take days: nobody waits for that.
void Cluster::send_elsewhere(PoolId left) {
  BackendPool* pool = host_.find_pool(left);
  if (!pool) return;
  for (const ExchangeId id : pool->dismiss_waiting()) {
    Exchange* exchange = host_.find_exchange(id.packed());
    if (!exchange) continue;
    exchange->end_attempt(AttemptEnd::kCancelled);
    send(*exchange);
  }
}

void Cluster::add(std::uint64_t id, Place place) {
  if (has_had_hosts_)
    log(Level::kInfo, "backend.host_joined")
        .with("backend", backend_->name)
        .with("address", place.address.to_string());
  const std::uint32_t slot =
      balancer_.add({id, place.weight, place.priority}, host_.timers().now(), has_had_hosts_);
  if (seats_.size() <= slot) seats_.resize(slot + 1);
  seats_[slot] = {std::move(place), {}, {}};
  take_facts(slot);
  if (checker_ && !is_retired_) watch(slot);
}

/// The pools that it had.
std::vector<PoolId> Cluster::remove(std::uint32_t slot) {
  log(Level::kInfo, "backend.host_left")
      .with("backend", backend_->name)
      .with("address", seats_[slot].place.address.to_string())
      .with("requests", balancer_.active(slot));
  if (checker_) checker_->remove(slot);
  std::vector<PoolId> pools;
  if (client_pools_) pools = client_pools_->retire_host(slot);
  if (seats_[slot].pool) {
    pools.push_back(std::exchange(seats_[slot].pool, {}));
    host_.retire_pool(pools.back());
  }
  commons_->forget(balancer_.id(slot), host_.loop_index(), host_.timers().now());
  balancer_.remove(slot);
  return pools;
}

void Cluster::publish() {
  if (!hosts_gauge_) return;
  hosts_gauge_->set(static_cast<double>(balancer_.size()));
  usable_gauge_->set(static_cast<double>(balancer_.usable()));
}

void Cluster::on_places() {
  take_places();
  serve_waiting();
}

/// The endpoint that it was found by, with the name (and for SRV the port) that was found.
Endpoint Cluster::endpoint_of(const Place& place) const {
  Endpoint endpoint = backend_->endpoints[place.endpoint];
  endpoint.host = place.name;
  if (endpoint.unix_path.empty()) endpoint.port = place.address.port();
  return endpoint;
}

PoolId Cluster::make_pool(std::uint32_t slot) {
  const Place& place = seats_[slot].place;
  const Endpoint endpoint = endpoint_of(place);
  return host_.adopt(std::make_unique<BackendPool>(host_, id_, *backend_, endpoint, place.address,
                                                   endpoint.is_tls ? tls_ : nullptr, commons_,
                                                   balancer_.id(slot)));
}

/// Made for the first request that goes there. Null: its client is gone.
BackendPool* Cluster::pool_of(std::uint32_t slot, const Exchange& exchange) {
  if (!client_pools_) {
    PoolId& pool = seats_[slot].pool;
    if (BackendPool* known = host_.find_pool(pool)) return known;
    pool = make_pool(slot);
    return host_.find_pool(pool);
  }
  const FrontendId id = exchange.frontend();
  if (BackendPool* known = client_pools_->find(id, slot)) return known;
  FrontendConnection* client = host_.find(id);
  if (!client || client->is_retired) return nullptr;
  const PoolId made = make_pool(slot);
  BackendPool* pool = host_.find_pool(made);
  pool->belong_to_client(sent_proxy_header(backend_->send_proxy_protocol, *client));
  client_pools_->add(id, slot, made);
  return pool;
}

// ---- requests -------------------------------------------------------------------------------

void Cluster::refuse(Exchange& exchange, ResponseFlag flag, std::string_view detail) {
  if (flag == ResponseFlag::kUo) host_.metrics().backend_overflows.add();
  exchange.on_connect_failed(flag, 503, detail);
}

void Cluster::send(Exchange& exchange) {
  if (!enter_request()) return refuse(exchange, ResponseFlag::kUo, "overflow");
  place(exchange);
}

/// It is among the open requests already, until it is refused or its attempt is over.
void Cluster::place(Exchange& exchange) {
  if (discovery_->has_names()) {
    discovery_->touch();
    if (!discovery_->may_use_hosts() || (balancer_.size() == 0 && discovery_->is_asking()))
      return wait_for_hosts(exchange);
  }
  HostWish& wish = exchange.wish;
  const auto slot =
      balancer_.choose({wish.hash, wish.sticky, wish.already()}, host_.timers().now());
  if (!slot) {
    leave_request();
    if (balancer_.size() == 0) return refuse(exchange, ResponseFlag::kDf, "dns_resolution_failed");
    return refuse(exchange, ResponseFlag::kUh, "no_healthy_upstream");
  }
  exchange.host_slot = *slot;
  wish.chosen = balancer_.id(*slot);
  balancer_.begin(*slot);
  exchange.begin_attempt();
  if (BackendPool* pool = pool_of(*slot, exchange)) return pool->acquire(exchange);
  refuse(exchange, ResponseFlag::kDc, "downstream_disconnect");
}

void Cluster::wait_for_hosts(Exchange& exchange) {
  if (!commons_->enter_queue()) {
    leave_request();
    return refuse(exchange, ResponseFlag::kUo, "overflow");
  }
  exchange.pool = {};
  const Duration patience = backend_->timeouts.connect;
  waiting_.push_back({exchange.id(), host_.timers().now() + patience});
  if (waiting_.size() > 1) return;
  if (!wait_timer_)
    wait_timer_ = std::make_unique<Timer>(host_.timers(), [this] { on_wait_timer(); });
  wait_timer_->arm(patience);
}

void Cluster::serve_waiting() {
  const bool may_go = discovery_->may_use_hosts() && (size() > 0 || !discovery_->is_asking());
  if (waiting_.empty() || !may_go) return;
  wait_timer_->cancel();
  const std::vector<Waiter> waited = std::exchange(waiting_, {});
  commons_->leave_queue(waited.size());
  for (const Waiter& waiter : waited) {
    if (Exchange* exchange = host_.find_exchange(waiter.exchange.packed()))
      place(*exchange);
    else
      leave_request();
  }
}

/// DNS takes too long: with old hosts they go on, without any they are told.
void Cluster::on_wait_timer() {
  if (balancer_.size() > 0) {
    discovery_->stop_waiting();
    return serve_waiting();
  }
  const SteadyTime now = host_.timers().now();
  while (!waiting_.empty() && waiting_.front().until <= now) {
    const ExchangeId id = waiting_.front().exchange;
    waiting_.erase(waiting_.begin());
    commons_->leave_queue();
    leave_request();
    if (Exchange* exchange = host_.find_exchange(id.packed()))
      refuse(*exchange, ResponseFlag::kDf, "dns_resolution_timeout");
  }
  if (!waiting_.empty()) wait_timer_->arm(waiting_.front().until - now);
}

void Cluster::leave(const Exchange& exchange) {
  if (BackendPool* pool = host_.find_pool(exchange.pool)) return pool->leave(exchange);
  if (std::erase_if(waiting_,
                    [&](const Waiter& waiter) { return waiter.exchange == exchange.id(); }) == 0)
    return;
  commons_->leave_queue();
  leave_request();
}

// ---- connections ----------------------------------------------------------------------------

/// Of the pools that wait for a connection the one that has fewest. Null: none does.
BackendPool* Cluster::neediest() {
  BackendPool* found = nullptr;
  for (const Seat& seat : seats_) {
    BackendPool* pool = host_.find_pool(seat.pool);
    if (!pool || !pool->needs_connection()) continue;
    if (!found || pool->connections() < found->connections()) found = pool;
  }
  return !found && client_pools_ ? client_pools_->needy() : found;
}

bool Cluster::needs_connection() { return neediest() != nullptr; }

bool Cluster::use_place() {
  BackendPool* pool = neediest();
  if (!pool) return false;
  pool->connect_in_place();
  // Who goes on waiting has to say so: with this place the loop had what it asked for.
  if (BackendPool* next = neediest()) next->connect_for_waiting();
  return true;
}

bool Cluster::close_idle() {
  for (const Seat& seat : seats_)
    if (BackendPool* pool = host_.find_pool(seat.pool); pool && pool->close_idle()) return true;
  return client_pools_ && client_pools_->close_idle();
}

/// The place of each connection that closes goes to a loop that waits, until none does.
void Cluster::make_room() {
  while (commons_->is_needed() && close_idle()) {
  }
}

void Cluster::ask_for_room() {
  make_room();
  if (commons_->is_waiting(host_.loop_index())) tell_others({ClusterNews::Kind::kNeed});
}

void Cluster::forget_client(FrontendId client) {
  if (client_pools_) client_pools_->retire_client(client);
}

}  // namespace gatehouse::proxy
