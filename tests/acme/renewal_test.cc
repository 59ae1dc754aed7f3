#include "acme/renewal.h"

#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"

namespace gatehouse::acme {
namespace {

const WallTime kNow = FakeClock().wall_now();

WallTime at(Duration from_now) {
  return kNow + std::chrono::duration_cast<WallTime::duration>(from_now);
}

TEST(Renewal, ComesAtTwoThirdsOfLifeAndAtHalfBelowTenDays) {
  struct Case {
    Duration life, renewal;
  };
  const Case cases[] = {{90 * 24h, 60 * 24h},
                        {45 * 24h, 30 * 24h},
                        {10 * 24h, 160h},
                        {160h, 80h},
                        {7 * 24h, 84h},
                        {0h, 0h},
                        {-5h, 0h}};
  for (const auto& one : cases)
    EXPECT_EQ(fallback_renewal({kNow, at(one.life)}), at(one.renewal)) << one.life / 1h;
}

TEST(Renewal, IsSpreadByAtMostTwoPercentOfLifeAndNeverLater) {
  SeededRandom random(1);
  WallTime first = WallTime::max(), last = WallTime::min();
  for (int i = 0; i < 1000; ++i) {
    const auto moment = spread_renewal({kNow, at(100 * 24h)}, random);
    first = std::min(first, moment);
    last = std::max(last, moment);
  }
  EXPECT_GE(first, fallback_renewal({kNow, at(100 * 24h)}) - 48h);
  EXPECT_LE(last, fallback_renewal({kNow, at(100 * 24h)}));
  EXPECT_GT(last - first, 40h);
}

TEST(Renewal, StandsAbsurdDates) {
  SeededRandom random(1);
  for (const auto from : {WallTime::min(), kNow, WallTime::max()})
    for (const auto to : {WallTime::min(), kNow, WallTime::max()}) {
      (void)spread_renewal({from, to}, random);
      (void)choose_moment(from, to, {from, to}, random);
      (void)within(from, to, 1h);
      (void)floor_until(from, to);
    }
}

// RFC 9773 section 4.2.
TEST(Ari, ChoosesUniformlyInsideTheWindow) {
  SeededRandom random(2);
  int early = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto moment = choose_moment(at(10h), at(20h), {kNow, at(1000h)}, random);
    ASSERT_GE(moment, at(10h));
    ASSERT_LE(moment, at(20h));
    early += moment < at(15h);
  }
  EXPECT_GT(early, 430);
  EXPECT_LT(early, 570);
}

TEST(Ari, ChoosesAMomentBeforeTheCertificateEnds) {
  SeededRandom random(2);
  for (int i = 0; i < 100; ++i)
    EXPECT_LE(choose_moment(at(10h), at(200h), {kNow, at(20h)}, random), at(20h));
}

TEST(Ari, TakesAWindowThatEndsBeforeItBeginsForNoAnswer) {
  const Validity validity{kNow, at(1000h)};
  EXPECT_TRUE(is_usable(at(1h), at(2h), validity));
  EXPECT_FALSE(is_usable(at(2h), at(1h), validity));
  EXPECT_FALSE(is_usable(at(1h), at(1h), validity));
  EXPECT_FALSE(is_usable(at(1001h), at(1002h), validity));
}

TEST(Ari, DropsTheOldWindowForAnUnusableAnswer) {
  SeededRandom random(3);
  store::AriFacts ari;
  const Validity validity{kNow, at(1000h)};
  apply_ari(ari, {at(1h), at(2h), "", {}}, validity, kNow, random);
  ASSERT_TRUE(ari.chosen);
  apply_ari(ari, {at(2h), at(1h), "", {}}, validity, kNow, random);
  EXPECT_FALSE(ari.chosen || ari.start || ari.end);
}

TEST(Ari, KeepsItsMomentWhileTheWindowIsTheSame) {
  SeededRandom random(3);
  store::AriFacts ari;
  const Validity validity{kNow, at(1000h)};
  apply_ari(ari, {at(1h), at(200h), "", {}}, validity, kNow, random);
  const auto chosen = ari.chosen;
  apply_ari(ari, {at(1h), at(200h), "", {}}, validity, at(5h), random);
  EXPECT_EQ(ari.chosen, chosen);
  apply_ari(ari, {at(300h), at(400h), "", {}}, validity, at(6h), random);
  EXPECT_GE(ari.chosen, at(300h));
}

TEST(Ari, ClampsRetryAfterToBetweenAMinuteAndADay) {
  struct Case {
    std::optional<Duration> given;
    Duration least, most;
  };
  const Case cases[] = {{0s, 1min, 1min},
                        {-5s, 1min, 1min},
                        {6h, 6h, 6h},
                        {1000h, 24h, 24h},
                        {{}, 5h, 12h}};  // twice a day without one
  for (const auto& one : cases) {
    SeededRandom random(4);
    store::AriFacts ari;
    apply_ari(ari, {at(1h), at(2h), "", one.given}, {kNow, at(1000h)}, kNow, random);
    EXPECT_GE(*ari.next_poll, at(one.least));
    EXPECT_LE(*ari.next_poll, at(one.most));
  }
}

TEST(Ari, BacksOffFromAMinuteToSixHoursOnTemporaryErrors) {
  SeededRandom random(5);
  store::AriFacts ari;
  Duration before{0};
  for (int i = 0; i < 20; ++i) {
    apply_ari_failure(ari, {Fault::kUnavailable, "503"}, kNow, random);
    const Duration wait = *ari.next_poll - kNow;
    EXPECT_GE(wait, 50s);
    EXPECT_LE(wait, 6h);
    if (i < 8) {
      EXPECT_GT(wait, before);
    }
    before = wait;
  }
  EXPECT_GT(before, 5h);
}

TEST(Ari, WaitsSixHoursAfterALongTermError) {
  SeededRandom random(5);
  store::AriFacts ari;
  apply_ari_failure(ari, {Fault::kNotFound, "404"}, kNow, random);
  EXPECT_GT(*ari.next_poll, at(5h));
  EXPECT_LE(*ari.next_poll, at(6h));
}

TEST(Ari, KeepsTheWindowOverAnError) {
  SeededRandom random(5);
  store::AriFacts ari;
  apply_ari(ari, {at(1h), at(2h), "", {}}, {kNow, at(1000h)}, kNow, random);
  apply_ari_failure(ari, {Fault::kTimeout, "late"}, kNow, random);
  EXPECT_TRUE(ari.chosen);
}

TEST(Retry, Waits1And10And100MinutesAndThenADay) {
  SeededRandom random(6);
  const Duration expected[] = {1min, 10min, 100min, 24h, 24h};
  for (int n = 1; n <= 5; ++n) {
    FailureContext context;
    context.attempts = context.ca_attempts = n;
    const auto wait = retry_delay(Reaction::kPersistent, context, random);
    EXPECT_GE(wait, expected[n - 1] * 9 / 10) << n;
    EXPECT_LE(wait, expected[n - 1] * 11 / 10) << n;
  }
}

TEST(Retry, IsHourlyForTransientProblemsOnlyWhileNothingValidIsServed) {
  SeededRandom random(6);
  FailureContext context;
  context.attempts = context.ca_attempts = 7;
  EXPECT_LE(retry_delay(Reaction::kTransient, context, random), 66min);
  context.has_valid_certificate = true;
  EXPECT_GE(retry_delay(Reaction::kTransient, context, random), 21h);
}

TEST(Retry, GivesEachCaItsTurnBeforeItWaitsForADay) {
  SeededRandom random(6);
  const Duration expected[] = {1min, 10min, 1min, 1min, 10min, 100min, 24h};
  for (int n = 1; n <= 7; ++n) {
    FailureContext context;
    context.ca_count = 2;
    context.attempts = n;
    context.ca_attempts = (n - 1) % 3 + 1;
    EXPECT_LE(retry_delay(Reaction::kPersistent, context, random), expected[n - 1] * 11 / 10) << n;
    EXPECT_GE(retry_delay(Reaction::kPersistent, context, random), expected[n - 1] * 9 / 10) << n;
  }
}

TEST(Retry, NeverComesBeforeTheCasRetryAfter) {
  SeededRandom random(7);
  for (const auto reaction : {Reaction::kRetrySoon, Reaction::kTransient, Reaction::kPersistent,
                              Reaction::kRateLimited, Reaction::kAccount}) {
    AttemptFailure failure;
    failure.reaction = reaction;
    failure.not_before = at(34h);
    EXPECT_GE(next_attempt(failure, {}, kNow, random), at(34h));
    EXPECT_LE(next_attempt(failure, {}, kNow, random), at(35h));
  }
}

TEST(Retry, KeepsTheScheduleWhenRetryAfterIsShort) {
  SeededRandom random(7);
  AttemptFailure failure;
  failure.reaction = Reaction::kRateLimited;
  failure.not_before = at(1s);
  FailureContext context;
  context.attempts = context.ca_attempts = 3;
  EXPECT_GE(next_attempt(failure, context, kNow, random), at(90min));
}

TEST(Floor, HoldsForAnHourAndNotAgainstAClockThatWasSetBack) {
  EXPECT_EQ(floor_until(at(-10min), kNow), at(50min));
  EXPECT_FALSE(floor_until(at(-2h), kNow));
  EXPECT_FALSE(floor_until(at(87600h), kNow));
  EXPECT_FALSE(floor_until(std::nullopt, kNow));
}

}  // namespace
}  // namespace gatehouse::acme
