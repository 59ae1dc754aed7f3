#include "proxy/connection/discovery.h"

#include <algorithm>
#include <chrono>

#include "daemon/base/backoff.h"
#include "daemon/base/log.h"
#include "proxy/connection/cluster.h"

namespace gatehouse::proxy {

namespace {
constexpr ExponentialBackoff kAfterFailure{std::chrono::seconds(5), std::chrono::seconds(30)};
}

Discovery::Discovery(ConnectionHost& host, const Backend& backend, ClusterId cluster)
    : host_(host), backend_name_(backend.name), cluster_(cluster) {
  sources_.resize(backend.endpoints.size());
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const Endpoint& endpoint = backend.endpoints[i];
    if (!endpoint.unix_path.empty()) {
      sources_[i].places.push_back({net::SocketAddress::unix_path(endpoint.unix_path), i, {}});
    } else if (const auto ip = net::IpAddress::parse(endpoint.host)) {
      sources_[i].places.push_back({net::SocketAddress(*ip, endpoint.port), i, endpoint.host});
    } else {
      sources_[i].name = endpoint.host;
      sources_[i].port = endpoint.port;
      sources_[i].is_srv = endpoint.is_srv;
      has_names_ = true;
    }
  }
  is_asleep_ = has_names_;
  if (has_names_) timer_ = std::make_unique<Timer>(host.timers(), [this] { on_timer(); });
}

std::vector<Place> Discovery::places() const {
  std::vector<Place> all;
  for (const Source& source : sources_)
    all.insert(all.end(), source.places.begin(), source.places.end());
  return all;
}

void Discovery::watch() {
  is_watched_ = true;
  if (std::exchange(is_asleep_, false)) ask_due();
}

void Discovery::stop() {
  is_watched_ = false;
  is_used_ = false;
}

/// The first request, or the first one after some quiet.
void Discovery::wake() {
  is_asleep_ = false;
  is_waking_ = true;
  ask_due();
}

void Discovery::on_timer() {
  if (!is_watched_ && !is_used_) {
    is_asleep_ = true;
    return;
  }
  is_used_ = false;
  ask_due();
}

void Discovery::ask_due() {
  const SteadyTime now = host_.timers().now();
  for (std::size_t i = 0; i < sources_.size(); ++i)
    if (!sources_[i].name.empty() && !sources_[i].is_asked && sources_[i].until <= now) ask(i);
  if (asking_ == 0) is_waking_ = false;  // All that is known still holds.
  arm();
}

void Discovery::ask(std::size_t endpoint) {
  Source& source = sources_[endpoint];
  source.is_asked = true;
  ++asking_;
  ConnectionHost& host = host_;
  const auto id = cluster_;
  if (source.is_srv) {
    host_.resolver().find_services(source.name,
                                   [&host, id, endpoint](Result<net::Resolver::Services> answer) {
                                     if (Cluster* cluster = host.find_cluster(id))
                                       cluster->discovery().on_services(endpoint, answer);
                                   });
  } else {
    host_.resolver().find(source.name, source.port,
                          [&host, id, endpoint](Result<net::Resolver::Found> answer) {
                            if (Cluster* cluster = host.find_cluster(id))
                              cluster->discovery().on_addresses(endpoint, answer);
                          });
  }
}

void Discovery::on_addresses(std::size_t endpoint, const Result<net::Resolver::Found>& answer) {
  if (!answer) return fail(endpoint, answer.error().message);
  std::vector<Place> places;
  for (const net::SocketAddress& address : answer->addresses)
    places.push_back({address, endpoint, sources_[endpoint].name});
  take(endpoint, std::move(places), answer->until);
}

void Discovery::on_services(std::size_t endpoint, const Result<net::Resolver::Services>& answer) {
  if (!answer) return fail(endpoint, answer.error().message);
  Source& source = sources_[endpoint];
  ++source.round;
  source.open = answer->services.size();
  source.gathered.clear();
  source.gathered_until = answer->until;
  ConnectionHost& host = host_;
  for (const net::Resolver::Service& service : answer->services)
    host_.resolver().find(service.host, service.port,
                          [&host, id = cluster_, endpoint, round = source.round,
                           service](Result<net::Resolver::Found> found) {
                            if (Cluster* cluster = host.find_cluster(id))
                              cluster->discovery().on_service_addresses(endpoint, round, service,
                                                                        found);
                          });
}

void Discovery::on_service_addresses(std::size_t endpoint, std::uint32_t round,
                                     const net::Resolver::Service& service,
                                     const Result<net::Resolver::Found>& answer) {
  Source& source = sources_[endpoint];
  if (round != source.round || source.open == 0) return;
  if (answer) {
    source.gathered_until = std::min(source.gathered_until, answer->until);
    for (const net::SocketAddress& address : answer->addresses)
      source.gathered.push_back({address, endpoint, service.host,
                                 std::max<std::uint32_t>(service.weight, 1), service.priority});
  } else {
    log(Level::kWarn, "backend.resolve_failed")
        .with("backend", backend_name_)
        .with("host", service.host)
        .with("reason", answer.error().message);
  }
  if (--source.open > 0) return;
  if (source.gathered.empty()) return fail(endpoint, "none of its hosts has an address");
  take(endpoint, std::exchange(source.gathered, {}), source.gathered_until);
}

void Discovery::take(std::size_t endpoint, std::vector<Place> places, SteadyTime until) {
  Source& source = sources_[endpoint];
  source.is_asked = false;
  source.failures = 0;
  source.until = std::max(until, host_.timers().now() + kShortest);
  source.places = std::move(places);
  --asking_;
  tell();
}

/// What was known stays: a DNS server that is away takes no backend away.
void Discovery::fail(std::size_t endpoint, const std::string& reason) {
  Source& source = sources_[endpoint];
  source.is_asked = false;
  const Duration wait = kAfterFailure.delay(++source.failures, host_.random());
  source.until = host_.timers().now() + wait;
  --asking_;
  log(Level::kWarn, "backend.resolve_failed")
      .with("backend", backend_name_)
      .with("host", source.name)
      .with("reason", reason)
      .with("hosts_kept", source.places.size());
  tell();
}

void Discovery::tell() {
  if (asking_ == 0) is_waking_ = false;
  arm();
  if (Cluster* cluster = host_.find_cluster(cluster_)) cluster->on_places();
}

void Discovery::arm() {
  std::optional<SteadyTime> next;
  for (const Source& source : sources_)
    if (!source.name.empty() && !source.is_asked && (!next || source.until < *next))
      next = source.until;
  timer_->cancel();  // The new time may be the earlier one.
  if (next) timer_->arm(std::max<Duration>(*next - host_.timers().now(), kShortest / 10));
}

}  // namespace gatehouse::proxy
