// What a cluster knows of its hosts' health: by its own active checks, by how attempts end, and by
// what the clusters of the same backend on other loops have found out. The checks are made by one
// loop of the process; an ejection is decided by the loop that saw the errors. Both are written
// into the commons of the backend, and the others told to look there.

#include <algorithm>
#include <chrono>

#include "daemon/base/log.h"
#include "proxy/connection/cluster.h"

namespace gatehouse::proxy {

namespace {
HostOutcome outcome_of(AttemptEnd end) {
  switch (end) {
    case AttemptEnd::kAnswered: return HostOutcome::kGood;
    case AttemptEnd::kCancelled: return HostOutcome::kNothing;
    case AttemptEnd::kConnectFailed: return HostOutcome::kNoConnection;
    case AttemptEnd::kReset:
    case AttemptEnd::kLost:
    case AttemptEnd::kMalformed:
    case AttemptEnd::kTimeout: return HostOutcome::kBad;
  }
  return HostOutcome::kNothing;
}

std::int64_t milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

/// What a request to the host itself has as its authority.
std::string authority_of(const Backend& backend, const Endpoint& endpoint) {
  if (!backend.tls.server_name.empty()) return backend.tls.server_name;
  if (!endpoint.unix_path.empty()) return "localhost";
  const bool is_v6 = endpoint.host.find(':') != std::string::npos;
  const std::string host = is_v6 ? "[" + endpoint.host + "]" : endpoint.host;
  const bool is_default = endpoint.port == (endpoint.is_tls ? 443 : 80);
  return is_default ? host : host + ":" + std::to_string(endpoint.port);
}
}  // namespace

// ---- what all loops know --------------------------------------------------------------------

void Cluster::tell_others(const ClusterNews& news) {
  for (std::size_t loop = 0; loop < commons_->loops(); ++loop)
    if (loop != host_.loop_index()) host_.tell(loop, commons_, news);
}

void Cluster::learn(std::uint64_t host) {
  if (const auto slot = balancer_.find(host); slot && take_facts(*slot)) publish();
}

/// True: it changes something here.
bool Cluster::take_facts(std::uint32_t slot) {
  const auto facts = commons_->facts(balancer_.id(slot));
  if (!facts) return false;
  const SteadyTime now = host_.timers().now();
  seats_[slot].reason = facts->reason;
  bool has_changed = balancer_.set_health(slot, facts->is_healthy, now);
  if (facts->ejected.until > now && balancer_.eject(slot, facts->ejected)) {
    has_changed = true;
    arm_return();
  }
  return has_changed;
}

// ---- ejection -------------------------------------------------------------------------------

void Cluster::on_attempt_over(Exchange& exchange, AttemptEnd end) {
  const std::uint32_t slot = exchange.host_slot;
  exchange.wish.add_tried(slot);
  leave_request();
  const SteadyTime now = host_.timers().now();
  if (!balancer_.end(slot, outcome_of(end), now)) return;
  const std::size_t most = ejections_allowed(balancer_.size(), backend_->eject->at_most_percent);
  const Outlier::Term term = balancer_.next_term(slot, now);
  if (!commons_->eject(balancer_.id(slot), term, most, now)) return;
  balancer_.eject(slot, term);
  log(Level::kWarn, "backend.ejected")
      .with("backend", backend_->name)
      .with("address", seats_[slot].place.address.to_string())
      .with("for_ms", milliseconds(term.until - now));
  host_.metrics().backend_ejections.add();
  publish();
  arm_return();
  tell_others({ClusterNews::Kind::kHost, balancer_.id(slot)});
}

void Cluster::arm_return() {
  const auto next = balancer_.next_return_time();
  return_timer_->cancel();
  if (next)
    return_timer_->arm(
        std::max<Duration>(*next - host_.timers().now(), std::chrono::milliseconds(1)));
}

/// Every loop takes it back by itself, at the same time.
void Cluster::on_return_timer() {
  const SteadyTime now = host_.timers().now();
  while (const auto slot = balancer_.next_return(now))
    if (is_home())
      log(Level::kInfo, "backend.returned")
          .with("backend", backend_->name)
          .with("address", seats_[*slot].place.address.to_string());
  publish();
  arm_return();
}

// ---- active checks --------------------------------------------------------------------------

void Cluster::stop_checks() {
  if (checker_) checker_->stop();
}

void Cluster::watch(std::uint32_t slot) {
  const Place& place = seats_[slot].place;
  const Endpoint endpoint = endpoint_of(place);
  checker_->add(slot, place.address,
                connection_settings(*backend_, endpoint, place.address, tls_.get()),
                authority_of(*backend_, endpoint));
}

void Cluster::on_checked(std::uint32_t slot, std::uint64_t round, bool passed,
                         const std::string& reason) {
  if (!checker_ || !checker_->take_verdict(slot, round)) return;
  const std::string before = std::exchange(seats_[slot].reason, reason);
  if (!passed) host_.metrics().health_check_failures.add();
  const bool has_changed = balancer_.on_check(slot, passed, host_.timers().now());
  const bool is_unhealthy = balancer_.state(slot) == Balancer::State::kUnhealthy;
  if (!has_changed && !(is_unhealthy && before != reason)) return;
  commons_->set_health(balancer_.id(slot), !is_unhealthy, reason);
  tell_others({ClusterNews::Kind::kHost, balancer_.id(slot)});
  if (!has_changed) return;
  publish();
  if (passed) {
    log(Level::kInfo, "backend.healthy")
        .with("backend", backend_->name)
        .with("address", seats_[slot].place.address.to_string());
  } else {
    log(Level::kWarn, "backend.unhealthy")
        .with("backend", backend_->name)
        .with("address", seats_[slot].place.address.to_string())
        .with("reason", reason)
        .with("usable", balancer_.usable());
  }
}

// ---- what is told of it ---------------------------------------------------------------------

BackendStatus Cluster::status() {
  BackendStatus status;
  status.name = backend_->name;
  status.usable = balancer_.usable();
  status.is_panicking = balancer_.is_panicking();
  for (std::uint32_t slot = 0; slot < seats_.size(); ++slot) {
    if (!balancer_.is_used(slot)) continue;
    const Seat& seat = seats_[slot];
    HostStatus& host = status.hosts.emplace_back();
    host.address = seat.place.address.to_string();
    host.state = balancer_.state(slot);
    if (host.state == Balancer::State::kUnhealthy) host.reason = seat.reason;
    host.requests = balancer_.active(slot);
    if (const BackendPool* pool = host_.find_pool(seat.pool))
      host.connections = pool->connections();
    if (client_pools_) host.connections = client_pools_->connections(slot);
  }
  return status;
}

}  // namespace gatehouse::proxy
