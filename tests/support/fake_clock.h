#pragma once
// A clock that stands still until a test moves it.

#include "daemon/base/clock.h"

namespace gatehouse {

class FakeClock final : public Clock {
 public:
  SteadyTime steady_now() const override { return steady_; }
  WallTime wall_now() const override { return wall_; }

  /// Both kinds of time pass.
  void advance(Duration by) {
    steady_ += by;
    wall_ += std::chrono::duration_cast<WallTime::duration>(by);
  }
  /// Somebody sets the wall clock: steady time does not notice.
  void set_wall(WallTime wall) { wall_ = wall; }

 private:
  SteadyTime steady_{std::chrono::hours(1000)};
  WallTime wall_{std::chrono::seconds(1785578400)};  // 2026-08-01T10:00:00Z
};

}  // namespace gatehouse
