#pragma once
// Counts what clients do to us, by name, and writes some of it down: an attack must not become one
// on the log. Owned by the data plane.

#include <array>
#include <string_view>

#include "daemon/base/clock.h"
#include "daemon/base/metrics.h"
#include "proxy/protocol/http2_limits.h"

namespace gatehouse::proxy {

class OffenceLog {
 public:
  OffenceLog(Metrics& metrics, SteadyTime now);

  void note(Offence offence, std::string_view peer, SteadyTime now);

 private:
  std::array<Counter*, kOffences> counters_;
  TokenBucket lines_;
  std::uint64_t suppressed_ = 0;
};

}  // namespace gatehouse::proxy
