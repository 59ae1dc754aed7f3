#include "proxy/routing/retry_policy.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

using namespace std::chrono_literals;

FailedAttempt answered(int status, int grpc_status = -1) {
  return {AttemptEnd::kAnswered, status, grpc_status, true};
}
FailedAttempt failed(AttemptEnd end, int status, bool may_have_effects) {
  return {end, status, -1, may_have_effects};
}

TEST(RetryPolicy, RepeatsAnythingThatWasAnsweredWithAListedStatus) {
  Retries retries;
  retries.on_status = {503, 500};
  EXPECT_EQ(reason_to_retry(retries, answered(503)), RetryReason::kStatus);
  EXPECT_EQ(reason_to_retry(retries, answered(500)), RetryReason::kStatus);
  EXPECT_EQ(reason_to_retry(retries, answered(502)), RetryReason::kNone);
  EXPECT_EQ(reason_to_retry(retries, answered(200)), RetryReason::kNone);
}

TEST(RetryPolicy, KnowsTheWholeClassOfServerErrors) {
  Retries retries;
  retries.on_5xx = true;
  EXPECT_EQ(reason_to_retry(retries, answered(500)), RetryReason::kStatus);
  EXPECT_EQ(reason_to_retry(retries, answered(599)), RetryReason::kStatus);
  EXPECT_EQ(reason_to_retry(retries, answered(499)), RetryReason::kNone);
}

TEST(RetryPolicy, RepeatsByTheGrpcStatusOfAResponse) {
  Retries retries;
  retries.on_grpc_status = {14};
  EXPECT_EQ(reason_to_retry(retries, answered(200, 14)), RetryReason::kGrpcStatus);
  EXPECT_EQ(reason_to_retry(retries, answered(200, 0)), RetryReason::kNone);
  EXPECT_EQ(reason_to_retry(retries, answered(200)), RetryReason::kNone);
}

TEST(RetryPolicy, DoesNotRepeatOnAGuessWhatMayHaveHadEffects) {
  Retries retries;
  retries.on_connect = retries.on_reset = retries.on_5xx = true;
  for (const AttemptEnd end :
       {AttemptEnd::kReset, AttemptEnd::kLost, AttemptEnd::kMalformed, AttemptEnd::kTimeout}) {
    EXPECT_EQ(reason_to_retry(retries, failed(end, 502, true)), RetryReason::kNone);
    EXPECT_NE(reason_to_retry(retries, failed(end, 502, false)), RetryReason::kNone);
  }
}

TEST(RetryPolicy, CountsAStatusThatWeWouldAnswerWith) {
  Retries retries;
  retries.on_status = {504};
  EXPECT_EQ(reason_to_retry(retries, failed(AttemptEnd::kTimeout, 504, false)),
            RetryReason::kTimeout);
  EXPECT_EQ(reason_to_retry(retries, failed(AttemptEnd::kReset, 502, false)), RetryReason::kNone);
  retries.on_status = {503};
  EXPECT_EQ(reason_to_retry(retries, failed(AttemptEnd::kConnectFailed, 503, false)),
            RetryReason::kConnect);
}

TEST(RetryPolicy, DoesNothingThatWasNotAskedFor) {
  const Retries none;
  EXPECT_EQ(reason_to_retry(none, failed(AttemptEnd::kConnectFailed, 503, false)),
            RetryReason::kNone);
  EXPECT_EQ(reason_to_retry(none, answered(503, 14)), RetryReason::kNone);
}

/// Chance that always says the same.
class FixedRandom final : public Random {
 public:
  explicit FixedRandom(std::uint64_t word) : word_(word) {}
  std::uint64_t next() override { return word_; }

 private:
  std::uint64_t word_;
};

TEST(RetryDelay, DoublesUpTo250Milliseconds) {
  FixedRandom most(~std::uint64_t{0}), least(0);
  const auto near = [](Duration delay, Duration bound) {
    return delay < bound && delay > bound - 1us;
  };
  EXPECT_TRUE(near(retry_delay(1, most), 25ms));
  EXPECT_TRUE(near(retry_delay(2, most), 50ms));
  EXPECT_TRUE(near(retry_delay(4, most), 200ms));
  EXPECT_TRUE(near(retry_delay(5, most), 250ms));
  EXPECT_TRUE(near(retry_delay(100, most), 250ms));
  EXPECT_EQ(retry_delay(5, least), 0ms);
}

TEST(RetryBudget, IsThreeAtLeastAndAShareBeyond) {
  RetryReserve reserve;
  RetryBudget budget;
  budget.begin_request();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(budget.begin_retry(20, reserve));
  EXPECT_FALSE(budget.begin_retry(20, reserve));
  for (int i = 0; i < 19; ++i) budget.begin_request();
  EXPECT_TRUE(budget.begin_retry(20, reserve));
  EXPECT_FALSE(budget.begin_retry(20, reserve)) << "four of twenty";
  budget.end_retry(reserve);
  EXPECT_TRUE(budget.begin_retry(20, reserve));
  for (int i = 0; i < 10; ++i) budget.end_request();
  EXPECT_FALSE(budget.begin_retry(20, reserve));
}

TEST(RetryBudget, HasItsThreeOncePerProcess) {
  RetryReserve reserve;
  RetryBudget one, other;  // of two loops
  one.begin_request();
  other.begin_request();
  EXPECT_TRUE(one.begin_retry(20, reserve));
  EXPECT_TRUE(other.begin_retry(20, reserve));
  EXPECT_TRUE(one.begin_retry(20, reserve));
  EXPECT_FALSE(one.begin_retry(20, reserve));
  EXPECT_FALSE(other.begin_retry(20, reserve));
  for (int i = 0; i < 9; ++i) other.begin_request();
  EXPECT_TRUE(other.begin_retry(20, reserve)) << "its own share: two of ten";
  EXPECT_FALSE(one.begin_retry(20, reserve));
  for (int i = 0; i < 2; ++i) other.end_retry(reserve);
  EXPECT_TRUE(one.begin_retry(20, reserve));
}

}  // namespace
}  // namespace gatehouse::proxy
