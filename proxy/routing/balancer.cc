#include "proxy/routing/balancer.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "daemon/base/error.h"

namespace gatehouse::proxy {

namespace {
/// Bounds of one choice, so that a thousand dead hosts cost no more than a few.
constexpr std::size_t kLooksMax = 16;
constexpr int kDrawsMax = 4;
/// Weights are rounded to fit a schedule of this length, or of one entry for each host.
constexpr std::uint64_t kScheduleMax = 1024;
}  // namespace

Balancer::Balancer(const Rules& rules, Random& random) : rules_(rules), random_(random) {}

// ---- hosts ----------------------------------------------------------------------------------

std::uint32_t Balancer::add(const Host& host, SteadyTime now, bool warms_up) {
  std::uint32_t slot = 0;
  while (slot < hosts_.size() && hosts_[slot].is_used) ++slot;
  if (slot == hosts_.size()) hosts_.emplace_back();
  Entry& entry = hosts_[slot] = {};
  entry.host = host;
  entry.is_used = true;
  if (warms_up) warm_up(entry, now);
  slots_[host.id] = slot;
  ++present_;
  ++usable_;
  is_stale_ = is_table_stale_ = true;
  return slot;
}

void Balancer::set_weight(std::uint32_t slot, std::uint32_t weight, std::uint16_t priority) {
  Host& host = hosts_[slot].host;
  if (host.weight == weight && host.priority == priority) return;
  host.weight = weight;
  host.priority = priority;
  is_stale_ = is_table_stale_ = true;
}

void Balancer::remove(std::uint32_t slot) {
  Entry& entry = hosts_[slot];
  check(entry.is_used && !entry.is_leaving, "a host that is there");
  entry.is_leaving = true;
  --present_;
  if (entry.is_usable()) --usable_;
  if (entry.outlier.is_ejected()) {
    entry.outlier.come_back();
    --ejected_;
  }
  if (const auto it = slots_.find(entry.host.id); it != slots_.end() && it->second == slot)
    slots_.erase(it);
  is_stale_ = is_table_stale_ = true;
  free_if_over(slot);
}

void Balancer::free_if_over(std::uint32_t slot) {
  Entry& entry = hosts_[slot];
  if (entry.is_leaving && entry.active == 0) entry.is_used = false;
}

void Balancer::warm_up(Entry& entry, SteadyTime now) {
  if (rules_.slow_start > Duration::zero()) entry.warm_at = now + rules_.slow_start;
}

// ---- what choices read ----------------------------------------------------------------------

void Balancer::rebuild() {
  is_stale_ = false;
  std::vector<std::uint32_t> candidates;
  choose_candidates(candidates);
  for (Entry& entry : hosts_) entry.is_candidate = false;
  for (const std::uint32_t slot : candidates) hosts_[slot].is_candidate = true;
  candidates_ = candidates.size();
  make_schedule(candidates);
  if (rules_.policy == Balance::Policy::kHash && is_table_stale_) make_table();
  is_table_stale_ = false;
}

void Balancer::choose_candidates(std::vector<std::uint32_t>& into) {
  is_panicking_ = false;
  std::vector<std::uint32_t> present;
  for (std::uint32_t slot = 0; slot < hosts_.size(); ++slot)
    if (hosts_[slot].is_used && !hosts_[slot].is_leaving) present.push_back(slot);
  const auto priority = [&](std::uint32_t slot) { return hosts_[slot].host.priority; };
  std::stable_sort(present.begin(), present.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return priority(a) < priority(b); });
  for (std::size_t first = 0, end = 0; first < present.size(); first = end) {
    into.clear();
    for (; end < present.size() && priority(present[end]) == priority(present[first]); ++end)
      if (hosts_[present[end]].is_usable()) into.push_back(present[end]);
    if (!into.empty() && into.size() * 100 >= (end - first) * rules_.panic_percent) return;
  }
  into.clear();
  is_panicking_ = rules_.panic_percent > 0 && !present.empty();
  if (is_panicking_) into = std::move(present);
}

/// A host of weight w stands at (k + phase) / w for each k below w: evenly spread, whatever the
/// others do. Phases keep hosts of the same weight apart.
void Balancer::make_schedule(std::span<const std::uint32_t> candidates) {
  schedule_.clear();
  std::uint64_t divisor = 0, sum = 0;
  for (const std::uint32_t slot : candidates) {
    divisor = std::gcd(divisor, std::uint64_t{hosts_[slot].host.weight});
    sum += hosts_[slot].host.weight;
  }
  const std::uint64_t most = std::max<std::uint64_t>(kScheduleMax, candidates.size());
  const bool is_rounded = divisor > 0 && sum / divisor > most;
  struct Place {
    double at;
    std::uint32_t slot;
  };
  std::vector<Place> places;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const std::uint64_t weight = hosts_[candidates[i]].host.weight;
    const std::uint64_t times =
        std::max<std::uint64_t>(is_rounded ? weight * most / sum : weight / divisor, 1);
    const double phase = (static_cast<double>(i) + 0.5) / static_cast<double>(candidates.size());
    for (std::uint64_t k = 0; k < times; ++k)
      places.push_back(
          {(static_cast<double>(k) + phase) / static_cast<double>(times), candidates[i]});
  }
  std::stable_sort(places.begin(), places.end(),
                   [](const Place& a, const Place& b) { return a.at < b.at; });
  for (const Place& place : places) schedule_.push_back(place.slot);
  // Begun anywhere: with many loops, or after each reload, the first host would get the most.
  if (schedule_.empty())
    next_ = kNowhere;
  else if (next_ >= schedule_.size())
    next_ = static_cast<std::size_t>(random_.below(schedule_.size()));
}

/// Of all hosts, healthy or not: what a host comes back to is what it had.
void Balancer::make_table() {
  table_slots_.clear();
  std::vector<MaglevTable::Host> all;
  for (std::uint32_t slot = 0; slot < hosts_.size(); ++slot) {
    const Entry& entry = hosts_[slot];
    if (!entry.is_used || entry.is_leaving) continue;
    table_slots_.push_back(slot);
    all.push_back({entry.host.id, entry.host.weight});
  }
  table_ = MaglevTable(all);
}

// ---- choices --------------------------------------------------------------------------------

std::optional<std::uint32_t> Balancer::choose(const Wish& wish, SteadyTime now) {
  if (is_stale_) rebuild();
  if (schedule_.empty()) return std::nullopt;
  if (candidates_ == 1) return schedule_.front();
  if (wish.sticky != 0) {
    const auto it = slots_.find(wish.sticky);
    if (it != slots_.end() && hosts_[it->second].is_candidate && is_fine(it->second, wish, now))
      return it->second;
  }
  switch (rules_.policy) {
    case Balance::Policy::kRoundRobin: break;
    case Balance::Policy::kLeastRequests: return of_two(wish, now);
    case Balance::Policy::kHash:
      if (wish.hash) return by_hash(*wish.hash, wish, now);
      break;  // A request without the key goes to any host.
  }
  return in_turn(wish, now);
}

/// Slow start thins the turns of a host out: fewer at first, all of them in the end.
bool Balancer::is_cold(const Entry& entry, SteadyTime now) {
  if (now >= entry.warm_at) [[likely]]
    return false;
  const auto left = std::chrono::duration<double>(entry.warm_at - now).count();
  const auto whole = std::chrono::duration<double>(rules_.slow_start).count();
  return random_.fraction() >= std::max(kSlowest, 1 - left / whole);
}

bool Balancer::is_fine(std::uint32_t slot, const Wish& wish, SteadyTime now) const {
  return now >= hosts_[slot].avoided_until &&
         std::find(wish.tried.begin(), wish.tried.end(), slot) == wish.tried.end();
}

/// Of two hosts that are not fine: one that this request has not tried, then the one that failed
/// longest ago.
std::uint32_t Balancer::better(std::uint32_t a, std::uint32_t b, const Wish& wish) const {
  const auto is_tried = [&](std::uint32_t slot) {
    return std::find(wish.tried.begin(), wish.tried.end(), slot) != wish.tried.end();
  };
  if (is_tried(a) != is_tried(b)) return is_tried(a) ? b : a;
  return hosts_[b].avoided_until < hosts_[a].avoided_until ? b : a;
}

std::uint32_t Balancer::in_turn(const Wish& wish, SteadyTime now) {
  const std::size_t looks = std::min(schedule_.size(), kLooksMax);
  std::optional<std::uint32_t> cold;
  std::uint32_t last_resort = schedule_[next_];
  for (std::size_t i = 0, at = next_; i < looks; ++i) {
    const std::uint32_t slot = schedule_[at];
    at = at + 1 == schedule_.size() ? 0 : at + 1;
    if (!is_fine(slot, wish, now)) {
      last_resort = better(last_resort, slot, wish);
      continue;
    }
    const bool waits = is_cold(hosts_[slot], now);
    if (waits && !cold) cold = slot;
    if (waits) continue;
    next_ = at;
    return slot;
  }
  next_ = next_ + 1 == schedule_.size() ? 0 : next_ + 1;
  return cold.value_or(last_resort);
}

/// The power of two choices: the one with fewer open requests of two that are drawn by lot.
std::uint32_t Balancer::of_two(const Wish& wish, SteadyTime now) {
  const auto draw = [&] { return static_cast<std::size_t>(random_.below(schedule_.size())); };
  std::optional<std::uint32_t> first;
  for (int draws = 0; draws < 2 * kDrawsMax; ++draws) {
    const std::uint32_t slot = schedule_[draw()];
    if (slot == first || !is_fine(slot, wish, now) || is_cold(hosts_[slot], now)) continue;
    if (!first) {
      first = slot;
    } else {
      return hosts_[slot].active < hosts_[*first].active ? slot : *first;
    }
  }
  return first ? *first : in_turn(wish, now);
}

std::uint32_t Balancer::by_hash(std::uint64_t hash, const Wish& wish, SteadyTime now) {
  const double average =
      static_cast<double>(active_ + 1) / static_cast<double>(std::max<std::size_t>(candidates_, 1));
  const auto bound = std::max(kLoadFree, static_cast<std::size_t>(average * kLoadFactor + 1));
  for (std::size_t nth = 0; nth < 4 * kLooksMax; ++nth) {
    const std::uint32_t slot = table_slots_[table_.at(hash, nth)];
    const Entry& entry = hosts_[slot];
    if (entry.is_candidate && entry.active < bound && is_fine(slot, wish, now)) return slot;
  }
  return in_turn(wish, now);
}

bool Balancer::end(std::uint32_t slot, HostOutcome outcome, SteadyTime now) {
  Entry& entry = hosts_[slot];
  check(entry.is_used && entry.active > 0, "an attempt that began");
  --entry.active;
  --active_;
  if (entry.is_leaving) {
    free_if_over(slot);
    return false;
  }
  if (outcome == HostOutcome::kNothing) return false;
  if (outcome == HostOutcome::kNoConnection) {
    const auto doubled = kAvoidance * (1 << std::min(entry.failed_connects, 3u));
    entry.avoided_until = now + std::min<Duration>(doubled, kAvoidanceMax);
    ++entry.failed_connects;
  } else {
    entry.failed_connects = 0;
    entry.avoided_until = {};
  }
  if (!rules_.eject) return false;
  if (outcome == HostOutcome::kGood) {
    entry.outlier.on_good();
    return false;
  }
  return entry.outlier.on_error(*rules_.eject) && !entry.outlier.is_ejected() &&
         ejected_ < ejections_allowed(present_, rules_.eject->at_most_percent);
}

// ---- health ---------------------------------------------------------------------------------

bool Balancer::on_check(std::uint32_t slot, bool passed, SteadyTime now) {
  Entry& entry = hosts_[slot];
  if (!rules_.health || entry.is_leaving) return false;
  const bool was_usable = entry.is_usable();
  if (!entry.health.on_check(passed, *rules_.health)) return false;
  on_health_changed(entry, was_usable, now);
  return true;
}

bool Balancer::set_health(std::uint32_t slot, bool is_healthy, SteadyTime now) {
  Entry& entry = hosts_[slot];
  if (!rules_.health || entry.is_leaving) return false;
  const bool was_usable = entry.is_usable(), was_healthy = entry.health.is_healthy();
  entry.health.take(is_healthy);
  if (is_healthy == was_healthy) return false;
  on_health_changed(entry, was_usable, now);
  return true;
}

void Balancer::on_health_changed(Entry& entry, bool was_usable, SteadyTime now) {
  if (entry.is_usable() != was_usable) usable_ += entry.is_usable() ? 1 : std::size_t(-1);
  if (entry.health.is_healthy()) {
    entry.failed_connects = 0;
    entry.avoided_until = {};
    warm_up(entry, now);
  }
  is_stale_ = true;
}

bool Balancer::eject(std::uint32_t slot, const Outlier::Term& term) {
  Entry& entry = hosts_[slot];
  if (!rules_.eject || entry.is_leaving || entry.outlier.is_ejected()) return false;
  if (entry.is_usable()) --usable_;
  entry.outlier.eject(term);
  ++ejected_;
  is_stale_ = true;
  return true;
}

std::optional<std::uint32_t> Balancer::next_return(SteadyTime now) {
  if (ejected_ == 0) return std::nullopt;
  for (std::uint32_t slot = 0; slot < hosts_.size(); ++slot) {
    Entry& entry = hosts_[slot];
    if (!entry.is_used || !entry.outlier.is_ejected() || now < entry.outlier.until()) continue;
    entry.outlier.come_back();
    if (entry.is_usable()) ++usable_;
    --ejected_;
    warm_up(entry, now);
    is_stale_ = true;
    return slot;
  }
  return std::nullopt;
}

std::optional<SteadyTime> Balancer::next_return_time() const {
  std::optional<SteadyTime> next;
  if (ejected_ == 0) return next;
  for (const Entry& entry : hosts_)
    if (entry.is_used && entry.outlier.is_ejected() && (!next || entry.outlier.until() < *next))
      next = entry.outlier.until();
  return next;
}

Balancer::State Balancer::state(std::uint32_t slot) const {
  const Entry& entry = hosts_[slot];
  if (entry.is_leaving) return State::kLeaving;
  if (!entry.health.is_healthy()) return State::kUnhealthy;
  return entry.outlier.is_ejected() ? State::kEjected : State::kHealthy;
}

}  // namespace gatehouse::proxy
