#include "proxy/routing/balancer.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "tests/support/fake_clock.h"

namespace gatehouse::proxy {
namespace {

using Policy = Balance::Policy;
using Choices = std::vector<std::uint32_t>;

/// The first draw says where a round begins: with the first host.
class FirstHostFirst final : public Random {
 public:
  std::uint64_t next() override { return std::exchange(is_first_, false) ? 0 : rest_.next(); }

 private:
  bool is_first_ = true;
  SeededRandom rest_{42};
};

class BalancerTest : public testing::Test {
 protected:
  Balancer make(std::uint32_t hosts, const Balancer::Rules& rules = {}) {
    Balancer balancer(rules, random_);
    for (std::uint32_t i = 0; i < hosts; ++i) balancer.add({100 + i}, now(), false);
    return balancer;
  }
  SteadyTime now() const { return clock_.steady_now(); }
  std::uint32_t choose(Balancer& balancer, const Balancer::Wish& wish = {}) {
    return balancer.choose(wish, now()).value_or(99);
  }
  Choices choices(Balancer& balancer, int count) {
    Choices chosen;
    for (int i = 0; i < count; ++i) chosen.push_back(choose(balancer));
    return chosen;
  }
  /// One whole request. True: the host was ejected.
  bool finish(Balancer& balancer, std::uint32_t slot, HostOutcome outcome) {
    balancer.begin(slot);
    return balancer.end(slot, outcome, now()) &&
           balancer.eject(slot, balancer.next_term(slot, now()));
  }
  std::map<std::uint32_t, int> counts(Balancer& balancer, int requests) {
    std::map<std::uint32_t, int> all;
    for (int i = 0; i < requests; ++i) ++all[choose(balancer)];
    return all;
  }

  FakeClock clock_;
  FirstHostFirst random_;
};

TEST_F(BalancerTest, GoesRound) {
  Balancer balancer = make(3);
  EXPECT_EQ(choices(balancer, 7), (Choices{0, 1, 2, 0, 1, 2, 0}));
}

TEST_F(BalancerTest, BeginsWithAnyHost) {
  SeededRandom random(42);
  std::map<std::uint32_t, int> first;
  for (int loop = 0; loop < 3000; ++loop) {
    Balancer balancer({}, random);
    for (std::uint32_t i = 0; i < 3; ++i) balancer.add({100 + i}, now(), false);
    ++first[choose(balancer)];
  }
  for (std::uint32_t slot = 0; slot < 3; ++slot) EXPECT_NEAR(first[slot], 1000, 100);
}

TEST_F(BalancerTest, BeginsWithAnyOfTheHostsThatComeAfterNone) {
  SeededRandom random(42);
  std::map<std::uint32_t, int> first;
  for (int loop = 0; loop < 3000; ++loop) {
    Balancer balancer({}, random);
    EXPECT_EQ(balancer.choose({}, now()), std::nullopt);
    for (std::uint32_t i = 0; i < 3; ++i) balancer.add({100 + i}, now(), false);
    ++first[choose(balancer)];
  }
  for (std::uint32_t slot = 0; slot < 3; ++slot) EXPECT_NEAR(first[slot], 1000, 100);
}

TEST_F(BalancerTest, GoesOnWhereItWasWhenAHostJoins) {
  Balancer balancer = make(3);
  EXPECT_EQ(choices(balancer, 2), (Choices{0, 1}));
  balancer.add({200}, now(), false);
  EXPECT_EQ(choices(balancer, 4), (Choices{2, 3, 0, 1}));
}

TEST_F(BalancerTest, HasNoChoiceWithoutHosts) {
  EXPECT_EQ(make(0).choose({}, now()), std::nullopt);
}

TEST_F(BalancerTest, AvoidsAHostThatDidNotAcceptForASecond) {
  Balancer balancer = make(3);
  finish(balancer, 1, HostOutcome::kNoConnection);
  EXPECT_EQ(choices(balancer, 4), (Choices{0, 2, 0, 2}));
  clock_.advance(999ms);
  EXPECT_TRUE(balancer.is_avoided(1, now()));
  clock_.advance(1ms);
  EXPECT_FALSE(balancer.is_avoided(1, now()));
  EXPECT_EQ(choices(balancer, 3), (Choices{0, 1, 2}));
}

TEST_F(BalancerTest, AvoidsAHostLongerEachTimeUpToEightSeconds) {
  Balancer balancer = make(2);
  for (const Duration expected : {1s, 2s, 4s, 8s, 8s}) {
    finish(balancer, 1, HostOutcome::kNoConnection);
    clock_.advance(expected - 1ms);
    EXPECT_TRUE(balancer.is_avoided(1, now()));
    clock_.advance(1ms);
    EXPECT_FALSE(balancer.is_avoided(1, now()));
  }
  finish(balancer, 1, HostOutcome::kGood);
  finish(balancer, 1, HostOutcome::kNoConnection);
  clock_.advance(1s);
  EXPECT_FALSE(balancer.is_avoided(1, now()));
}

TEST_F(BalancerTest, TriesTheOneThatIsAvoidedShortestWhenAllAre) {
  Balancer balancer = make(3);
  for (const std::uint32_t slot : {2u, 0u, 1u}) {
    finish(balancer, slot, HostOutcome::kNoConnection);
    clock_.advance(10ms);
  }
  EXPECT_EQ(choose(balancer), 2u);
  finish(balancer, 2, HostOutcome::kNoConnection);
  EXPECT_EQ(choose(balancer), 0u);
}

TEST_F(BalancerTest, ASingleHostIsAlwaysTried) {
  Balancer balancer = make(1);
  finish(balancer, 0, HostOutcome::kNoConnection);
  EXPECT_EQ(choices(balancer, 2), (Choices{0, 0}));
}

TEST_F(BalancerTest, AnAnswerEndsTheAvoidance) {
  Balancer balancer = make(2);
  finish(balancer, 1, HostOutcome::kNoConnection);
  finish(balancer, 1, HostOutcome::kGood);
  EXPECT_EQ(choices(balancer, 2), (Choices{0, 1}));
}

TEST_F(BalancerTest, ARetryPrefersAHostThatWasNotTried) {
  Balancer balancer = make(3);
  const std::uint32_t tried[] = {0, 1};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(choose(balancer, {{}, 0, tried}), 2u);
  const std::uint32_t all[] = {0, 1, 2};
  EXPECT_LT(choose(balancer, {{}, 0, all}), 3u);
}

TEST_F(BalancerTest, WeightsAreExactAndWellMixed) {
  Balancer balancer({}, random_);
  balancer.add({1, 5}, now(), false);
  balancer.add({2, 1}, now(), false);
  balancer.add({3, 1}, now(), false);
  auto seen = counts(balancer, 7000);
  EXPECT_EQ(seen[0], 5000);
  EXPECT_EQ(seen[1], 1000);
  EXPECT_EQ(seen[2], 1000);
  int longest = 0, run = 0;
  for (int i = 0; i < 70; ++i)
    longest = std::max(longest, run = choose(balancer) == 0 ? run + 1 : 0);
  EXPECT_LE(longest, 4);
}

TEST_F(BalancerTest, LargeWeightsKeepTheirRatio) {
  Balancer balancer({}, random_);
  balancer.add({1, 60001}, now(), false);
  balancer.add({2, 20003}, now(), false);
  auto seen = counts(balancer, 10000);
  EXPECT_NEAR(seen[0], 7500, 30);
}

TEST_F(BalancerTest, HostsThatLeaveGetNothingAndTheirSlotsAreFreedBehindTheirLastRequest) {
  Balancer balancer = make(2);
  balancer.begin(0);
  balancer.remove(0);
  EXPECT_EQ(balancer.size(), 1u);
  EXPECT_EQ(choices(balancer, 3), (Choices{1, 1, 1}));
  EXPECT_EQ(balancer.add({7}, now(), false), 2u) << "slot 0 is still in use";
  balancer.end(0, HostOutcome::kGood, now());
  EXPECT_EQ(balancer.add({8}, now(), false), 0u);
}

// ---- least requests -------------------------------------------------------------------------

TEST_F(BalancerTest, LeastRequestsEvensOutUnequalHosts) {
  Balancer balancer = make(4, {.policy = Policy::kLeastRequests});
  // Host 0 never ends a request, the others do at once: it must not collect more and more of them.
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t slot = choose(balancer);
    balancer.begin(slot);
    if (slot != 0) balancer.end(slot, HostOutcome::kGood, now());
  }
  EXPECT_LE(balancer.active(0), 2u);
}

TEST_F(BalancerTest, LeastRequestsSpreadsAsTwoChoicesDo) {
  Balancer balancer = make(10, {.policy = Policy::kLeastRequests});
  for (int i = 0; i < 10000; ++i) balancer.begin(choose(balancer));
  for (std::uint32_t slot = 0; slot < 10; ++slot) EXPECT_NEAR(balancer.active(slot), 1000, 5);
}

TEST_F(BalancerTest, LeastRequestsFindsTheOneThatIsLeft) {
  Balancer balancer = make(8, {.policy = Policy::kLeastRequests});
  for (std::uint32_t slot = 0; slot < 7; ++slot) finish(balancer, slot, HostOutcome::kNoConnection);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(choose(balancer), 7u);
}

// ---- hash -----------------------------------------------------------------------------------

TEST_F(BalancerTest, AHashGoesToTheSameHostEachTime) {
  Balancer balancer = make(5, {.policy = Policy::kHash});
  for (std::uint64_t key = 0; key < 200; ++key) {
    const std::uint64_t hash = stable_hash(std::to_string(key));
    const auto first = choose(balancer, {hash});
    EXPECT_EQ(choose(balancer, {hash}), first);
  }
}

TEST_F(BalancerTest, WithoutTheKeyAHashGoesRound) {
  Balancer balancer = make(3, {.policy = Policy::kHash});
  EXPECT_EQ(choices(balancer, 4), (Choices{0, 1, 2, 0}));
}

TEST_F(BalancerTest, OnlyTheKeysOfALostHostMoveAndTheyComeBackWithIt) {
  Balancer balancer = make(5, {.policy = Policy::kHash, .health = HealthCheck{}});
  std::vector<std::uint32_t> before;
  for (std::uint64_t key = 0; key < 1000; ++key)
    before.push_back(choose(balancer, {stable_hash(std::to_string(key))}));
  balancer.on_check(3, false, now());
  std::map<std::uint32_t, int> heirs;
  for (std::uint64_t key = 0; key < 1000; ++key) {
    const auto at = choose(balancer, {stable_hash(std::to_string(key))});
    if (before[key] != 3)
      EXPECT_EQ(at, before[key]);
    else
      ++heirs[at];
  }
  EXPECT_EQ(heirs.count(3), 0u);
  EXPECT_EQ(heirs.size(), 4u) << "the lost host's keys are spread over all others";
  for (int i = 0; i < 2; ++i) balancer.on_check(3, true, now());
  for (std::uint64_t key = 0; key < 1000; ++key)
    EXPECT_EQ(choose(balancer, {stable_hash(std::to_string(key))}), before[key]);
}

TEST_F(BalancerTest, AHotKeySpillsOverWhenItsHostHasAQuarterMoreThanItsShare) {
  Balancer balancer = make(4, {.policy = Policy::kHash});
  const std::uint64_t hot = stable_hash("hot");
  for (int i = 0; i < 400; ++i) balancer.begin(choose(balancer, {hot}));
  for (std::uint32_t slot = 0; slot < 4; ++slot) EXPECT_LE(balancer.active(slot), 127u);
}

TEST_F(BalancerTest, AFewRequestsOfOneKeyStayTogether) {
  Balancer balancer = make(4, {.policy = Policy::kHash});
  const std::uint64_t hot = stable_hash("hot");
  const auto first = choose(balancer, {hot});
  for (int i = 0; i < 8; ++i) {
    const auto slot = choose(balancer, {hot});
    EXPECT_EQ(slot, first);
    balancer.begin(slot);
  }
}

// ---- sticky ---------------------------------------------------------------------------------

TEST_F(BalancerTest, ACookieFindsItsHostAndElsewhereWhenThatIsGone) {
  Balancer balancer = make(3, {.health = HealthCheck{}});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(choose(balancer, {{}, 102}), 2u);
  balancer.on_check(2, false, now());
  for (int i = 0; i < 5; ++i) EXPECT_NE(choose(balancer, {{}, 102}), 2u);
  balancer.on_check(2, true, now());
  balancer.on_check(2, true, now());
  EXPECT_EQ(choose(balancer, {{}, 102}), 2u);
  balancer.remove(2);
  EXPECT_NE(choose(balancer, {{}, 102}), 2u);
  EXPECT_NE(choose(balancer, {{}, 12345}), 2u);
}

// ---- health, panic, priorities --------------------------------------------------------------

TEST_F(BalancerTest, UnhealthyHostsGetNothingAndWithoutAnyThereIsNoChoice) {
  Balancer balancer = make(2, {.health = HealthCheck{}});
  balancer.on_check(0, false, now());
  EXPECT_EQ(choices(balancer, 3), (Choices{1, 1, 1}));
  balancer.on_check(1, false, now());
  EXPECT_EQ(balancer.choose({}, now()), std::nullopt);
  EXPECT_EQ(balancer.usable(), 0u);
}

TEST_F(BalancerTest, BelowThePanicThresholdHealthIsIgnored) {
  Balancer balancer = make(4, {.health = HealthCheck{}, .panic_percent = 50});
  balancer.on_check(0, false, now());
  balancer.on_check(1, false, now());
  EXPECT_EQ(choices(balancer, 4), (Choices{2, 3, 2, 3}));
  EXPECT_FALSE(balancer.is_panicking()) << "half of them is not below 50%";
  balancer.on_check(2, false, now());
  EXPECT_EQ(counts(balancer, 400).size(), 4u);
  EXPECT_TRUE(balancer.is_panicking());
}

TEST_F(BalancerTest, TheSecondPriorityIsUsedWhenTheFirstHasNoneLeft) {
  Balancer balancer({.health = HealthCheck{}}, random_);
  balancer.add({1, 1, 10}, now(), false);
  balancer.add({2, 1, 10}, now(), false);
  balancer.add({3, 1, 20}, now(), false);
  EXPECT_EQ(choices(balancer, 4), (Choices{0, 1, 0, 1}));
  balancer.on_check(0, false, now());
  EXPECT_EQ(choices(balancer, 2), (Choices{1, 1}));
  balancer.on_check(1, false, now());
  EXPECT_EQ(choices(balancer, 2), (Choices{2, 2}));
}

// ---- ejection -------------------------------------------------------------------------------

Balancer::Rules ejecting(unsigned at_most) {
  return {.eject = Ejection{.consecutive_errors = 3, .time = 30s, .at_most_percent = at_most}};
}

TEST_F(BalancerTest, EjectsAfterErrorsInARowAndTakesBackWhenItsTimeIsOver) {
  Balancer balancer = make(3, ejecting(50));
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(finish(balancer, 1, HostOutcome::kBad));
  finish(balancer, 1, HostOutcome::kGood);
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(finish(balancer, 1, HostOutcome::kBad));
  EXPECT_TRUE(finish(balancer, 1, HostOutcome::kBad));
  EXPECT_EQ(balancer.state(1), Balancer::State::kEjected);
  EXPECT_EQ(counts(balancer, 10).count(1), 0u);
  EXPECT_EQ(balancer.next_return_time(), now() + 30s);
  clock_.advance(30s);
  EXPECT_EQ(balancer.next_return(now()), 1u);
  EXPECT_EQ(balancer.next_return(now()), std::nullopt);
  EXPECT_EQ(counts(balancer, 9)[1], 3);
}

TEST_F(BalancerTest, EachEjectionIsLongerAndQuietTimeForgives) {
  Balancer balancer = make(2, ejecting(50));
  const auto eject = [&] {
    while (!finish(balancer, 0, HostOutcome::kBad)) {
    }
    const Duration time = *balancer.next_return_time() - now();
    clock_.advance(time);
    EXPECT_EQ(balancer.next_return(now()), 0u);
    return time;
  };
  EXPECT_EQ(eject(), 30s);
  EXPECT_EQ(eject(), 60s);
  EXPECT_EQ(eject(), 90s);
  clock_.advance(60s);
  EXPECT_EQ(eject(), 60s);
  for (int i = 0; i < 20; ++i) eject();
  EXPECT_EQ(eject(), Outlier::kLongest);
}

TEST_F(BalancerTest, NeverEjectsMoreThanItsShare) {
  Balancer balancer = make(10, ejecting(30));
  for (std::uint32_t slot = 0; slot < 10; ++slot)
    for (int i = 0; i < 5; ++i) finish(balancer, slot, HostOutcome::kBad);
  EXPECT_EQ(balancer.usable(), 7u);
}

TEST_F(BalancerTest, AnEjectionThatIsNotMadeIsAskedForAgain) {
  Balancer balancer = make(3, ejecting(50));
  balancer.begin(1);
  for (int i = 0; i < 4; ++i) balancer.begin(1);
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(balancer.end(1, HostOutcome::kBad, now()));
  EXPECT_TRUE(balancer.end(1, HostOutcome::kBad, now()));
  EXPECT_EQ(balancer.state(1), Balancer::State::kHealthy);
  EXPECT_TRUE(balancer.end(1, HostOutcome::kBad, now()));
  EXPECT_FALSE(balancer.end(1, HostOutcome::kGood, now()));
}

TEST_F(BalancerTest, TakesAnEjectionThatWasDecidedElsewhere) {
  Balancer balancer = make(3, ejecting(50));
  EXPECT_TRUE(balancer.eject(1, {2, now() + 60s}));
  EXPECT_FALSE(balancer.eject(1, {2, now() + 60s})) << "it is ejected";
  EXPECT_EQ(balancer.usable(), 2u);
  EXPECT_EQ(counts(balancer, 10).count(1), 0u);
  clock_.advance(60s);
  EXPECT_EQ(balancer.next_return(now()), 1u);
  EXPECT_EQ(balancer.next_term(1, now()).times, 3u) << "the next one counts on";
}

TEST_F(BalancerTest, TakesHealthThatWasDecidedElsewhere) {
  Balancer balancer = make(2, {.health = HealthCheck{}, .slow_start = 10s});
  EXPECT_FALSE(balancer.set_health(0, true, now()));
  EXPECT_TRUE(balancer.set_health(0, false, now()));
  EXPECT_FALSE(balancer.set_health(0, false, now()));
  EXPECT_EQ(choices(balancer, 3), (Choices{1, 1, 1}));
  EXPECT_EQ(balancer.usable(), 1u);
  EXPECT_TRUE(balancer.set_health(0, true, now()));
  EXPECT_EQ(balancer.usable(), 2u);
  EXPECT_LT(counts(balancer, 1000)[0], 300) << "it warms up here, too";
}

TEST_F(BalancerTest, ASmallShareStillEjectsOneOfSeveralButNeverTheOnlyOne) {
  EXPECT_EQ(ejections_allowed(3, 10), 1u);
  EXPECT_EQ(ejections_allowed(1, 50), 0u);
  EXPECT_EQ(ejections_allowed(1, 100), 1u);
  EXPECT_EQ(ejections_allowed(5, 0), 0u);
  EXPECT_EQ(ejections_allowed(2, 50), 1u);
}

// ---- slow start -----------------------------------------------------------------------------

TEST_F(BalancerTest, AHostThatJoinsGetsMoreAndMoreUntilItsShareIsFull) {
  Balancer balancer = make(3, {.slow_start = 30s});
  const auto fresh = balancer.add({500}, now(), true);
  EXPECT_NEAR(counts(balancer, 10000)[fresh], 320, 100) << "a tenth of a share";
  clock_.advance(15s);
  EXPECT_NEAR(counts(balancer, 10000)[fresh], 1430, 150) << "half of a share";
  clock_.advance(15s);
  EXPECT_EQ(counts(balancer, 10000)[fresh], 2500);
}

TEST_F(BalancerTest, SlowStartHoldsForLeastRequestsAndForHostsThatRecover) {
  Balancer balancer =
      make(2, {.policy = Policy::kLeastRequests, .health = HealthCheck{}, .slow_start = 30s});
  balancer.on_check(1, false, now());
  balancer.on_check(1, true, now());
  balancer.on_check(1, true, now());
  std::map<std::uint32_t, int> seen;
  for (int i = 0; i < 1000; ++i) ++seen[choose(balancer)];
  EXPECT_GT(seen[1], 20);
  EXPECT_LT(seen[1], 400);
}

TEST_F(BalancerTest, AloneAHostIsNotHeldBack) {
  Balancer balancer({.slow_start = 30s}, random_);
  balancer.add({1}, now(), true);
  EXPECT_EQ(choices(balancer, 3), (Choices{0, 0, 0}));
}

}  // namespace
}  // namespace gatehouse::proxy
