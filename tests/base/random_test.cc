#include "daemon/base/random.h"

#include <gtest/gtest.h>

#include <array>

namespace gatehouse {

TEST(Random, OneSeedGivesOneSequence) {
  SeededRandom a(42), b(42), other(43);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t value = a.next();
    EXPECT_EQ(value, b.next());
    differs |= value != other.next();
  }
  EXPECT_TRUE(differs);
}

TEST(Random, TheSystemSeedsDifferently) {
  SeededRandom a, b;
  EXPECT_NE(a.next(), b.next());
}

TEST(Random, BelowStaysBelow) {
  SeededRandom random(1);
  EXPECT_EQ(random.below(0), 0u);
  EXPECT_EQ(random.below(1), 0u);
  for (int i = 0; i < 1000; ++i) EXPECT_LT(random.below(7), 7u);
}

TEST(Random, BelowIsEven) {
  SeededRandom random(1);
  std::array<int, 10> counts{};
  for (int i = 0; i < 100000; ++i) ++counts[random.below(10)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
}

TEST(Random, FractionsFillTheUnitInterval) {
  SeededRandom random(1);
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    const double fraction = random.fraction();
    ASSERT_GE(fraction, 0);
    ASSERT_LT(fraction, 1);
    sum += fraction;
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.01);
}

}  // namespace gatehouse
