// What the process takes of the machine: loops and descriptors.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "daemon/base/log.h"
#include "daemon/gatehouse.h"

namespace gatehouse::daemon {

namespace {
constexpr rlim_t kDescriptorsBeside = 1024;  // for the store, the CA, logs and listeners
constexpr rlim_t kDescriptorsEach = 64;      // of a further loop: its own listeners, polls and DNS
}  // namespace

std::size_t loops_of(const Config& config) {
  const std::size_t loops =
      config.proxy.workers != 0 ? config.proxy.workers : std::thread::hardware_concurrency();
  return std::clamp<std::size_t>(loops, 1, proxy::ConnectionCensus::kLoopsMax);
}

/// Connections of both sides and what else is open; a hard limit below that is said.
void Gatehouse::raise_descriptor_limit() const {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = 2 * config_->proxy.limits.connections + kDescriptorsBeside +
                        (loops_of(*config_) - 1) * kDescriptorsEach;
  if (limit.rlim_cur >= wanted) return;
  if (limit.rlim_max < wanted && ::geteuid() == 0) limit.rlim_max = wanted;
  limit.rlim_cur = std::min(limit.rlim_max, wanted);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
    (void)::getrlimit(RLIMIT_NOFILE, &limit);
    log(Level::kWarn, "limits.descriptors_low")
        .with("wanted", std::uint64_t{wanted})
        .with("limit", std::uint64_t{limit.rlim_cur})
        .with("hint", "raise LimitNOFILE, or lower limits.connections");
  }
}

}  // namespace gatehouse::daemon
