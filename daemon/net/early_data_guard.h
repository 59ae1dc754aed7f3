#pragma once
// Remembers the ClientHellos whose early data was taken, so that none is taken twice (RFC 8446
// section 8.2). OpenSSL takes early data only within ten seconds of the ticket's age that the
// client tells, so that is how long they must be known. One for all loops of the process; other
// processes do not know them, which is why only routes that say so take early data.

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <unordered_set>

#include "daemon/base/clock.h"

namespace gatehouse::net {

class EarlyDataGuard {
 public:
  static constexpr std::size_t kKnownMax = 64 * 1024;  // of a period; beyond, none is taken

  explicit EarlyDataGuard(const Clock& clock) : clock_(clock) {}

  /// True, once, for the random bytes of a ClientHello. On any thread.
  bool take(std::span<const std::uint8_t> client_random);

 private:
  const Clock& clock_;
  std::mutex mutex_;
  std::array<std::unordered_set<std::string>, 2> known_;  // of this period, and the one before
  SteadyTime began_{};                                    // this period
};

}  // namespace gatehouse::net
