#include "proxy/connection/backend_commons.h"

#include <algorithm>

#include "daemon/base/error.h"

namespace gatehouse::proxy {

BackendCommons::BackendCommons(const Backend::Caps& caps, std::size_t loops, std::size_t home)
    : caps_(caps), home_(home), clusters_(loops) {
  check(loops > 0 && loops <= 64 && home < loops, "a backend is shared by 1 to 64 loops");
}

/// `most` is the bound; 0 refuses everybody, so that whoever means "no bound" does not ask.
bool BackendCommons::enter(std::atomic<std::size_t>& count, std::size_t most) {
  std::size_t now = count.load(std::memory_order_relaxed);
  while (now < most)
    if (count.compare_exchange_weak(now, now + 1, std::memory_order_relaxed)) return true;
  return false;
}

BackendCommons::Entry* BackendCommons::find(std::uint64_t host) {
  for (Entry& entry : hosts_)
    if (entry.id == host) return &entry;
  return nullptr;
}

BackendCommons::Entry& BackendCommons::entry(std::uint64_t host) {
  if (Entry* known = find(host)) return *known;
  hosts_.emplace_back().id = host;
  return hosts_.back();
}

void BackendCommons::drop_if_empty(std::uint64_t host) {
  std::erase_if(hosts_, [host](const Entry& entry) {
    return entry.id == host && entry.connections == 0 && !entry.is_judged;
  });
}

// ---- connections ----------------------------------------------------------------------------

BackendCommons::Answer BackendCommons::take_place(std::size_t loop, std::uint64_t host,
                                                  Claim claim) {
  const std::lock_guard lock(guard_);
  const Entry* known = find(host);
  const bool has_none = (!known || known->connections == 0) && passed_ == 0;
  if (connections_ < caps_.connections || claim == Claim::kAlone ||
      (claim == Claim::kFirst && has_none)) {
    ++connections_;
    ++entry(host).connections;
    starving_ &= ~bit(loop);
    return Answer::kTaken;
  }
  const bool is_known_to_wait = is_waiting(loop);
  hungry_ |= bit(loop);
  if (claim == Claim::kFirst) starving_ |= bit(loop);
  return is_known_to_wait ? Answer::kRefused : Answer::kRefusedAnew;
}

std::optional<std::size_t> BackendCommons::close(std::uint64_t host) {
  const std::lock_guard lock(guard_);
  Entry* known = find(host);
  check(known && known->connections > 0, "a connection that was counted");
  if (--known->connections == 0) drop_if_empty(host);
  return pass_place();
}

void BackendCommons::use_place(std::uint64_t host) {
  const std::lock_guard lock(guard_);
  --passed_;
  ++entry(host).connections;
}

std::optional<std::size_t> BackendCommons::return_place() {
  const std::lock_guard lock(guard_);
  --passed_;
  return pass_place();
}

/// One place is left over: those in turn get it, and who has nothing comes first.
std::optional<std::size_t> BackendCommons::pass_place() {
  if (!is_needed() || connections_ > caps_.connections) {
    --connections_;
    return std::nullopt;
  }
  const std::uint64_t all = starving_ != 0 ? starving_ : hungry_;
  const std::uint64_t behind = all & ~((bit(last_) << 1) - 1);  // the last one
  last_ = static_cast<std::size_t>(std::countr_zero(behind != 0 ? behind : all));
  starving_ &= ~bit(last_);
  hungry_ &= ~bit(last_);
  ++passed_;
  return last_;
}

void BackendCommons::stop_waiting(std::size_t loop) {
  if (!is_waiting(loop)) return;
  const std::lock_guard lock(guard_);
  starving_ &= ~bit(loop);
  hungry_ &= ~bit(loop);
}

// ---- hosts ----------------------------------------------------------------------------------

std::optional<BackendCommons::HostFacts> BackendCommons::facts(std::uint64_t host) const {
  const std::lock_guard lock(guard_);
  for (const Entry& entry : hosts_)
    if (entry.id == host && entry.is_judged) return entry.facts;
  return std::nullopt;
}

void BackendCommons::set_health(std::uint64_t host, bool is_healthy, const std::string& reason) {
  const std::lock_guard lock(guard_);
  Entry& judged = entry(host);
  judged.is_judged = true;
  judged.facts.is_healthy = is_healthy;
  judged.facts.reason = reason;
}

bool BackendCommons::eject(std::uint64_t host, const Outlier::Term& term, std::size_t most,
                           SteadyTime now) {
  const std::lock_guard lock(guard_);
  std::size_t ejected = 0;
  for (const Entry& entry : hosts_) {
    if (entry.facts.ejected.until <= now) continue;
    if (entry.id == host) return false;
    ++ejected;
  }
  if (ejected >= most) return false;
  Entry& judged = entry(host);
  judged.is_judged = true;
  judged.facts.ejected = term;
  return true;
}

void BackendCommons::forget(std::uint64_t host, std::size_t loop, SteadyTime now) {
  const std::lock_guard lock(guard_);
  Entry* known = find(host);
  if (!known) return;
  if (loop == home_) {  // Nobody checks it any more.
    known->facts.is_healthy = true;
    known->facts.reason.clear();
  }
  if (known->facts.ejected.until <= now) known->facts.ejected = {};
  known->is_judged = !known->facts.is_healthy || known->facts.ejected.times > 0;
  drop_if_empty(host);
}

std::shared_ptr<BackendCommons> SnapshotCommons::of(std::size_t index, const Backend& backend) {
  const std::lock_guard lock(guard_);
  std::shared_ptr<BackendCommons>& made = made_[index];
  // Checks are spread over the loops.
  if (!made) made = std::make_shared<BackendCommons>(backend.limits, loops_, index % loops_);
  return made;
}

}  // namespace gatehouse::proxy
