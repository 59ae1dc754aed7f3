#include "proxy/connection_census.h"

#include <utility>

#include "daemon/base/error.h"

namespace gatehouse::proxy {

ConnectionCensus::ConnectionCensus(std::size_t loops, std::function<void(std::size_t)> wake)
    : loops_(loops), wake_(std::move(wake)), open_(std::make_unique<Count[]>(loops)) {
  check(loops >= 1 && loops <= kLoopsMax, "a census counts for 1 to 64 loops");
}

bool ConnectionCensus::reserve(std::size_t loop, std::size_t most) {
  std::size_t taken = places_.load();
  while (true) {
    if (most == 0 || taken < most) {
      if (places_.compare_exchange_weak(taken, taken + 1)) return true;
      continue;
    }
    // Whoever gives a place back looks for this bit afterwards, so we look for places after it.
    refused_.fetch_or(std::uint64_t{1} << loop);
    taken = places_.load();
    if (taken >= most) return false;
    refused_.fetch_and(~(std::uint64_t{1} << loop));
  }
}

void ConnectionCensus::release() {
  places_.fetch_sub(1);
  if (refused_.load() == 0) return;
  const std::uint64_t waiting = refused_.exchange(0);
  for (std::size_t loop = 0; loop < loops_; ++loop)
    if ((waiting >> loop & 1) != 0) wake_(loop);
}

std::size_t ConnectionCensus::settle(std::size_t accepted_by) {
  // Two loops may choose the same one at once: then the next connection finds another.
  std::size_t home = accepted_by, fewest = connections(home);
  for (std::size_t loop = 0; loop < loops_; ++loop) {
    const std::size_t there = connections(loop);
    if (there >= fewest) continue;
    home = loop;
    fewest = there;
  }
  open_[home].count.fetch_add(1, std::memory_order_relaxed);
  return home;
}

void ConnectionCensus::leave(std::size_t loop) {
  open_[loop].count.fetch_sub(1, std::memory_order_relaxed);
  release();
}

bool ConnectionCensus::enter_source(const std::string& address, std::size_t most) {
  const std::lock_guard lock(guard_);
  std::size_t& open = sources_[address];
  if (most != 0 && open >= most) return false;
  ++open;
  return true;
}

void ConnectionCensus::leave_source(const std::string& address) {
  const std::lock_guard lock(guard_);
  const auto found = sources_.find(address);
  if (found != sources_.end() && --found->second == 0) sources_.erase(found);
}

}  // namespace gatehouse::proxy
