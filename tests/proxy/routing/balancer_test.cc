#include "proxy/routing/balancer.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/fake_clock.h"

namespace gatehouse::proxy {
namespace {

std::vector<std::size_t> choices(Balancer& balancer, SteadyTime now, int count) {
  std::vector<std::size_t> chosen;
  for (int i = 0; i < count; ++i) chosen.push_back(balancer.choose(now).value_or(99));
  return chosen;
}
using Choices = std::vector<std::size_t>;

TEST(Balancer, GoesRound) {
  FakeClock clock;
  Balancer balancer(3);
  EXPECT_EQ(choices(balancer, clock.steady_now(), 7), (Choices{0, 1, 2, 0, 1, 2, 0}));
}

TEST(Balancer, HasNoChoiceOnlyWithoutEndpoints) {
  FakeClock clock;
  EXPECT_EQ(Balancer(0).choose(clock.steady_now()), std::nullopt);
}

TEST(Balancer, AvoidsAnEndpointThatDidNotAcceptForASecond) {
  FakeClock clock;
  Balancer balancer(3);
  balancer.on_connect_failed(1, clock.steady_now());
  EXPECT_EQ(choices(balancer, clock.steady_now(), 4), (Choices{0, 2, 0, 2}));
  clock.advance(999ms);
  EXPECT_TRUE(balancer.is_avoided(1, clock.steady_now()));
  clock.advance(1ms);
  EXPECT_FALSE(balancer.is_avoided(1, clock.steady_now()));
  EXPECT_EQ(choices(balancer, clock.steady_now(), 3), (Choices{0, 1, 2}));
}

TEST(Balancer, TriesTheOneThatFailedLongestAgoWhenAllAreAvoided) {
  FakeClock clock;
  Balancer balancer(3);
  balancer.on_connect_failed(2, clock.steady_now());
  clock.advance(10ms);
  balancer.on_connect_failed(0, clock.steady_now());
  clock.advance(10ms);
  balancer.on_connect_failed(1, clock.steady_now());
  EXPECT_EQ(balancer.choose(clock.steady_now()), 2u);
  balancer.on_connect_failed(2, clock.steady_now());
  clock.advance(10ms);
  EXPECT_EQ(balancer.choose(clock.steady_now()), 0u);
}

TEST(Balancer, ASingleEndpointIsAlwaysTried) {
  FakeClock clock;
  Balancer balancer(1);
  balancer.on_connect_failed(0, clock.steady_now());
  EXPECT_EQ(choices(balancer, clock.steady_now(), 2), (Choices{0, 0}));
}

TEST(Balancer, AConnectionEndsTheAvoidance) {
  FakeClock clock;
  Balancer balancer(2);
  balancer.on_connect_failed(1, clock.steady_now());
  balancer.on_connected(1);
  EXPECT_EQ(choices(balancer, clock.steady_now(), 2), (Choices{0, 1}));
}

TEST(Balancer, ForgetsWhenTheEndpointsChange) {
  FakeClock clock;
  Balancer balancer(2);
  balancer.on_connect_failed(0, clock.steady_now());
  balancer.reset(4);
  EXPECT_EQ(choices(balancer, clock.steady_now(), 4), (Choices{0, 1, 2, 3}));
}

}  // namespace
}  // namespace gatehouse::proxy
