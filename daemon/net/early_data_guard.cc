#include "daemon/net/early_data_guard.h"

#include <utility>

namespace gatehouse::net {

namespace {
constexpr auto kPeriod = 15s;
}

bool EarlyDataGuard::take(std::span<const std::uint8_t> client_random) {
  const std::lock_guard lock(mutex_);
  const SteadyTime now = clock_.steady_now();
  if (now - began_ >= kPeriod) {
    const bool is_long_ago = now - began_ >= 2 * kPeriod;
    known_[1] = is_long_ago ? std::unordered_set<std::string>() : std::move(known_[0]);
    known_[0] = {};
    began_ = now;
  }
  std::string random(reinterpret_cast<const char*>(client_random.data()), client_random.size());
  if (known_[0].size() >= kKnownMax || known_[1].contains(random)) return false;
  return known_[0].insert(std::move(random)).second;
}

}  // namespace gatehouse::net
