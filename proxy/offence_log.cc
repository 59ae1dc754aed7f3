#include "proxy/offence_log.h"

#include <utility>

#include "daemon/base/log.h"

namespace gatehouse::proxy {

namespace {
constexpr double kLinesAtOnce = 20, kLinesPerSecond = 2;
}

OffenceLog::OffenceLog(Metrics& metrics, SteadyTime now)
    : lines_(kLinesAtOnce, kLinesPerSecond, now) {
  for (std::size_t i = 0; i < kOffences; ++i)
    counters_[i] =
        &metrics.counter("gatehouse_offences_total", "What clients did that was refused, by kind.",
                         {{"kind", std::string(to_string(static_cast<Offence>(i)))}});
}

void OffenceLog::note(Offence offence, std::string_view peer, SteadyTime now) {
  counters_[static_cast<std::size_t>(offence)]->add();
  if (!lines_.take(1, now)) {
    ++suppressed_;
    return;
  }
  log(Level::kInfo, "client.offence")
      .with("kind", to_string(offence))
      .with("peer", peer)
      .with("not_logged", std::exchange(suppressed_, 0));
}

}  // namespace gatehouse::proxy
