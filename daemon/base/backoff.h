#pragma once
// How long to wait before trying again. Pure functions of the number of failures so far, so that
// the count can live wherever it has to survive (a database row, a member). Jitter keeps a fleet
// from coming back in step.

#include <algorithm>
#include <cstdint>
#include <span>

#include "daemon/base/clock.h"
#include "daemon/base/random.h"

namespace gatehouse {

/// Uniform in [delay * (1 - share), delay * (1 + share)]; share within [0, 1].
inline Duration with_jitter(Duration delay, double share, Random& random) {
  const double factor = 1 - share + 2 * share * random.fraction();
  return Duration(static_cast<Duration::rep>(static_cast<double>(delay.count()) * factor));
}

/// A delay that doubles with each failure until it is capped.
struct ExponentialBackoff {
  Duration first = std::chrono::seconds(1);
  Duration most = std::chrono::minutes(5);

  /// Uniform between half and all of first * 2^(failures - 1), which is capped at `most`. No
  /// failure: no delay.
  Duration delay(std::uint64_t failures, Random& random) const {
    if (failures == 0) return Duration::zero();
    Duration capped = std::min(first, most);
    for (std::uint64_t i = 1; i < failures && capped < most; ++i)
      capped = capped > most / 2 ? most : capped * 2;
    return capped / 2 + Duration(static_cast<Duration::rep>(
                            static_cast<double>((capped / 2).count()) * random.fraction()));
  }
};

/// The delay from a list: its n-th entry after the n-th failure, its last one from then on, give or
/// take a tenth. No failure: no delay.
inline Duration scheduled_delay(std::span<const Duration> schedule, std::uint64_t failures,
                                Random& random) {
  if (failures == 0 || schedule.empty()) return Duration::zero();
  const std::uint64_t index = std::min<std::uint64_t>(failures, schedule.size()) - 1;
  return with_jitter(schedule[index], 0.1, random);
}

}  // namespace gatehouse
