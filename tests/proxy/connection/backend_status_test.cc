#include "proxy/connection/backend_status.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

using State = Balancer::State;

TEST(BackendStatus, AddsUpWhatLoopsSayOfTheSameHost) {
  const auto sum = sum_of({{{"b", {{"h:1", State::kUnhealthy, "timeout", 1, 2}}, 0, false}},
                           {{"b", {{"h:1", State::kUnhealthy, "", 3, 4}}, 0, true}}});
  ASSERT_EQ(sum.size(), 1u);
  ASSERT_EQ(sum[0].hosts.size(), 1u);
  EXPECT_EQ(sum[0].hosts[0].requests, 4u);
  EXPECT_EQ(sum[0].hosts[0].connections, 6u);
  EXPECT_EQ(sum[0].hosts[0].reason, "timeout");
  EXPECT_EQ(sum[0].usable, 0u);
  EXPECT_TRUE(sum[0].is_panicking);
}

TEST(BackendStatus, KeepsWhatOnlyOneLoopKnows) {
  const auto sum = sum_of({{},
                           {{"b", {{"h:1", State::kHealthy, "", 1, 1}}, 1, false}},
                           {{"b", {{"h:2", State::kHealthy, "", 2, 2}}, 1, false},
                            {"c", {{"h:1", State::kHealthy, "", 3, 3}}, 1, false}}});
  ASSERT_EQ(sum.size(), 2u);
  EXPECT_EQ(sum[0].hosts.size(), 2u);
  EXPECT_EQ(sum[0].usable, 2u);
  EXPECT_EQ(sum[1].hosts[0].requests, 3u);
}

TEST(BackendStatus, AHostThatLeavesIsNotTheOneThatCameBack) {
  const auto sum =
      sum_of({{{"b", {{"h:1", State::kHealthy, "", 1, 1}}, 1, false}},
              {{"b",
                {{"h:1", State::kLeaving, "", 5, 1}, {"h:1", State::kHealthy, "", 2, 1}},
                1,
                false}}});
  ASSERT_EQ(sum[0].hosts.size(), 2u);
  EXPECT_EQ(sum[0].hosts[0].requests, 3u);
  EXPECT_EQ(sum[0].hosts[1].requests, 5u);
  EXPECT_EQ(sum[0].usable, 1u);
}

}  // namespace
}  // namespace gatehouse::proxy
