#pragma once
// Whether a host is healthy by active checks. A host is taken for healthy until its first check is
// over, so that nothing is lost at start; that first check decides alone, and from then on it takes
// several in a row, so that one slow answer changes nothing. Pure.

#include <cstdint>

#include "proxy/options.h"

namespace gatehouse::proxy {

class HostHealth {
 public:
  /// A check passed or failed. True: is_healthy() has changed.
  bool on_check(bool passed, const HealthCheck& rules) {
    const bool was_healthy = is_healthy_;
    if (passed == is_healthy_) {
      against_ = 0;
    } else if (++against_ >= (is_healthy_ ? rules.unhealthy_after : rules.healthy_after) ||
               is_first_) {
      is_healthy_ = passed;
      against_ = 0;
    }
    is_first_ = false;
    return is_healthy_ != was_healthy;
  }
  /// Somebody else has checked it.
  void take(bool is_healthy) {
    is_healthy_ = is_healthy;
    is_first_ = false;
    against_ = 0;
  }
  bool is_healthy() const { return is_healthy_; }

 private:
  std::uint32_t against_ = 0;  // checks in a row that say the opposite
  bool is_healthy_ = true;
  bool is_first_ = true;
};

}  // namespace gatehouse::proxy
