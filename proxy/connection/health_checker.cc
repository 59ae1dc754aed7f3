#include "proxy/connection/health_checker.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "daemon/base/backoff.h"
#include "proxy/connection/cluster.h"

namespace gatehouse::proxy {

namespace {
constexpr Duration kFirstWithin = std::chrono::milliseconds(100);
constexpr double kJitter = 0.1;
}  // namespace

HealthChecker::HealthChecker(ConnectionHost& host, ClusterId cluster, const HealthCheck& check)
    : host_(host), cluster_(cluster), check_(check) {}

void HealthChecker::add(std::uint32_t slot, const net::SocketAddress& address,
                        BackendConnection::Settings settings, std::string authority) {
  if (watches_.size() <= slot) watches_.resize(slot + 1);
  auto watch = std::make_unique<Watch>();
  watch->address = address;
  watch->settings = std::move(settings);
  watch->settings.connect_timeout = check_.timeout;
  watch->authority = std::move(authority);
  watch->timer = std::make_unique<Timer>(host_.timers(), [this, slot] { on_timer(slot); });
  const Duration first = std::min(kFirstWithin, check_.interval);
  watch->timer->arm(Duration(
      static_cast<Duration::rep>(static_cast<double>(first.count()) * host_.random().fraction())));
  watches_[slot] = std::move(watch);
}

void HealthChecker::remove(std::uint32_t slot) {
  if (slot >= watches_.size() || !watches_[slot]) return;
  end(*watches_[slot]);
  watches_[slot].reset();
}

void HealthChecker::stop() {
  for (std::uint32_t slot = 0; slot < watches_.size(); ++slot) remove(slot);
}

/// Ends what is left of the last check's connection.
void HealthChecker::end(Watch& watch) {
  watch.is_running = false;
  if (BackendConnection* probe = host_.find(std::exchange(watch.probe, {})))
    if (!probe->is_retired) probe->close();
}

void HealthChecker::on_timer(std::uint32_t slot) {
  Watch& watch = *watches_[slot];
  if (!watch.is_running) return begin(slot);
  fail(slot, "timeout");
  end(watch);
}

void HealthChecker::begin(std::uint32_t slot) {
  Watch& watch = *watches_[slot];
  end(watch);
  watch.round = ++rounds_;
  watch.is_running = true;
  watch.timer->arm(check_.timeout);
  const auto descriptor = begin_connect(watch.address);
  if (!descriptor) return fail(slot, descriptor.error().message);
  auto probe = std::make_unique<HealthProbe>(
      host_, *descriptor, watch.settings, check_,
      HealthProbe::Target{cluster_, slot, watch.round, watch.authority});
  if (const BackendConnection* adopted = host_.adopt(std::move(probe)))
    watch.probe = adopted->id();
  else
    fail(slot, "no socket");
}

void HealthChecker::fail(std::uint32_t slot, const std::string& reason) {
  const std::uint64_t round = watches_[slot]->round;
  if (Cluster* cluster = host_.find_cluster(cluster_))
    cluster->on_checked(slot, round, false, reason);
}

bool HealthChecker::take_verdict(std::uint32_t slot, std::uint64_t round) {
  if (slot >= watches_.size() || !watches_[slot]) return false;
  Watch& watch = *watches_[slot];
  if (!watch.is_running || watch.round != round) return false;
  watch.is_running = false;
  watch.timer->cancel();
  watch.timer->arm(with_jitter(check_.interval, kJitter, host_.random()));
  return true;
}

}  // namespace gatehouse::proxy
