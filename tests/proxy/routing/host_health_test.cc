#include "proxy/routing/host_health.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

const HealthCheck kRules{};  // three failures, two passes

TEST(HostHealth, IsHealthyUntilItsFirstCheckWhichDecidesAlone) {
  HostHealth host;
  EXPECT_TRUE(host.is_healthy());
  EXPECT_TRUE(host.on_check(false, kRules));
  EXPECT_FALSE(host.is_healthy());
}

TEST(HostHealth, TakesSeveralFailuresInARow) {
  HostHealth host;
  EXPECT_FALSE(host.on_check(true, kRules));
  for (int round = 0; round < 3; ++round) {
    EXPECT_FALSE(host.on_check(false, kRules));
    EXPECT_FALSE(host.on_check(false, kRules));
    EXPECT_FALSE(host.on_check(true, kRules));
  }
  host.on_check(false, kRules);
  host.on_check(false, kRules);
  EXPECT_TRUE(host.on_check(false, kRules));
  EXPECT_FALSE(host.is_healthy());
}

TEST(HostHealth, ComesBackAfterSeveralPassesInARow) {
  HostHealth host;
  host.on_check(false, kRules);
  EXPECT_FALSE(host.on_check(true, kRules));
  EXPECT_FALSE(host.on_check(false, kRules));
  EXPECT_FALSE(host.on_check(true, kRules));
  EXPECT_TRUE(host.on_check(true, kRules));
  EXPECT_TRUE(host.is_healthy());
}

}  // namespace
}  // namespace gatehouse::proxy
