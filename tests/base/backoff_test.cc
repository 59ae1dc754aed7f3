#include "daemon/base/backoff.h"

#include <gtest/gtest.h>

#include <array>

namespace gatehouse {

/// Chance that always says the same.
class FixedRandom final : public Random {
 public:
  explicit FixedRandom(std::uint64_t value) : value_(value) {}
  std::uint64_t next() override { return value_; }

 private:
  std::uint64_t value_;
};
constexpr std::uint64_t kLowest = 0, kHighest = ~std::uint64_t{0};

TEST(ExponentialBackoff, DoesNotDelayWithoutAFailure) {
  FixedRandom random(kHighest);
  EXPECT_EQ(ExponentialBackoff().delay(0, random), Duration::zero());
}

TEST(ExponentialBackoff, DoublesUntilItIsCapped) {
  const ExponentialBackoff backoff{1s, 10s};
  FixedRandom low(kLowest), high(kHighest);
  const std::array<std::chrono::seconds, 6> expected{1s, 2s, 4s, 8s, 10s, 10s};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(backoff.delay(i + 1, low), expected[i] / 2.0) << i;
    EXPECT_NEAR(static_cast<double>(backoff.delay(i + 1, high).count()),
                static_cast<double>(Duration(expected[i]).count()), 1000)
        << i;
  }
}

TEST(ExponentialBackoff, DoesNotOverflowAfterManyFailures) {
  FixedRandom low(kLowest);
  EXPECT_EQ((ExponentialBackoff{1s, Duration::max()}.delay(1000000, low)), Duration::max() / 2);
}

TEST(ScheduledDelay, FollowsTheListAndStaysAtItsEnd) {
  const std::array<Duration, 3> schedule{1min, 10min, 100min};
  SeededRandom random(5);
  EXPECT_EQ(scheduled_delay(schedule, 0, random), Duration::zero());
  for (std::uint64_t failures = 1; failures < 10; ++failures) {
    const Duration planned = schedule[std::min<std::size_t>(failures, 3) - 1];
    const Duration delay = scheduled_delay(schedule, failures, random);
    EXPECT_GE(delay, planned * 9 / 10 - 1ms);
    EXPECT_LE(delay, planned * 11 / 10 + 1ms);
  }
}

TEST(ScheduledDelay, AnEmptyListNeverDelays) {
  SeededRandom random(5);
  EXPECT_EQ(scheduled_delay({}, 3, random), Duration::zero());
}

TEST(WithJitter, SpreadsOverTheWholeShare) {
  FixedRandom low(kLowest), high(kHighest);
  EXPECT_EQ(with_jitter(10s, 0.5, low), 5s);
  EXPECT_NEAR(static_cast<double>(with_jitter(10s, 0.5, high).count()), 15e9, 1e4);
}

}  // namespace gatehouse
