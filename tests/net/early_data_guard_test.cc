#include "daemon/net/early_data_guard.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/support/fake_clock.h"

namespace gatehouse::net {
namespace {

struct Guarded {
  FakeClock clock;
  EarlyDataGuard guard{clock};
  bool take(std::uint32_t hello) {
    std::array<std::uint8_t, 32> random{};
    for (std::size_t i = 0; i < 4; ++i) random[i] = static_cast<std::uint8_t>(hello >> 8 * i);
    return guard.take(random);
  }
};

TEST(EarlyDataGuard, TakesEachHelloOnce) {
  Guarded it;
  EXPECT_TRUE(it.take(1));
  EXPECT_FALSE(it.take(1));
  EXPECT_TRUE(it.take(2));
  EXPECT_FALSE(it.take(1));
}

TEST(EarlyDataGuard, KnowsAHelloForAsLongAsOpensslTakesIt) {
  for (const auto before : {0s, 7s, 14s}) {
    Guarded it;
    EXPECT_TRUE(it.take(0));
    it.clock.advance(before);
    EXPECT_TRUE(it.take(1));
    for (int second = 0; second < 15; ++second) {
      EXPECT_FALSE(it.take(1)) << second;
      it.clock.advance(1s);
    }
  }
}

TEST(EarlyDataGuard, ForgetsInTheEnd) {
  Guarded it;
  EXPECT_TRUE(it.take(1));
  it.clock.advance(31s);
  EXPECT_TRUE(it.take(1));
}

TEST(EarlyDataGuard, TakesNoMoreThanItCanRemember) {
  Guarded it;
  for (std::uint32_t i = 0; i < EarlyDataGuard::kKnownMax; ++i) ASSERT_TRUE(it.take(i));
  EXPECT_FALSE(it.take(EarlyDataGuard::kKnownMax));
  it.clock.advance(15s);
  EXPECT_TRUE(it.take(EarlyDataGuard::kKnownMax));
  EXPECT_FALSE(it.take(0));
}

}  // namespace
}  // namespace gatehouse::net
