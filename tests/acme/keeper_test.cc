#include "acme/keeper.h"

#include <algorithm>

#include "tests/acme/keeper_world.h"

namespace gatehouse::acme {
namespace {

using Keeping = KeeperWorld;

TEST_F(Keeping, AsksNobodyBeforeTheLoopRuns) {
  start({wanted("www.test")});
  EXPECT_TRUE(ca.attempts.empty());
  EXPECT_EQ(status().state, CertificateStatus::State::kNone);
  loop.run_ready();
}

// ACME.md section 6, item 24: a missing row means obtain, also where a window is left over.
TEST_F(Keeping, ObtainsWhatIsMissingWhateverWindowIsLeftOver) {
  ASSERT_TRUE(database->run("INSERT INTO ari VALUES('www.test', 'old', ?, ?, ?, ?, 0, '')",
                            at(1000h), at(2000h), at(1500h), at(1000h)));
  start({wanted("www.test")});
  loop.advance(1min);
  EXPECT_EQ(ca.issued, 1);
  ASSERT_TRUE(current());
  EXPECT_EQ(count("certificates"), 1);
}

TEST_F(Keeping, ServesWhatTheStoreHasAndAsksNobody) {
  start_with_certificate();
  served.clear();
  start({wanted("www.test")});
  ASSERT_TRUE(current());
  loop.advance(24h);
  EXPECT_EQ(ca.attempts.size(), 1u);
}

TEST_F(Keeping, RenewsAtTwoThirdsOfLife) {
  start_with_certificate(58 * 24h);
  EXPECT_EQ(ca.issued, 1);
  loop.advance(3 * 24h);
  EXPECT_EQ(ca.issued, 2);
  EXPECT_EQ(served["www.test"].size(), 2u);
  EXPECT_NE(log_lines.find("event=certificate.renewed name=www.test"), std::string::npos);
}

TEST_F(Keeping, RenewsShortLivedCertificatesAtHalf) {
  ca.lifetime = 160h;
  start_with_certificate(75h);
  EXPECT_EQ(ca.issued, 1);
  loop.advance(6h);
  EXPECT_EQ(ca.issued, 2);
}

TEST_F(Keeping, RenewsInsideTheWindowThatTheCaSuggests) {
  ca.window = AriAnswer{at(20 * 24h), at(21 * 24h), "https://ca.test/why", 6h};
  start_with_certificate(19 * 24h);
  EXPECT_EQ(ca.issued, 1);
  EXPECT_EQ(status().explanation_url, "https://ca.test/why");
  ca.window = Error{Fault::kUnavailable, "503"};
  loop.advance(2 * 24h + 1h);
  EXPECT_EQ(ca.issued, 2);
}

TEST_F(Keeping, KeepsItsMomentInTheWindowOverARestart) {
  ca.window = AriAnswer{at(20 * 24h), at(40 * 24h), "", 6h};
  start_with_certificate();
  const auto before = status().next_time;
  start({wanted("www.test")});
  loop.advance(7h);
  EXPECT_EQ(status().next_time, before);
}

TEST_F(Keeping, RenewsAtOnceWhenTheWindowMovesIntoThePast) {
  ca.window = AriAnswer{at(20 * 24h), at(21 * 24h), "", 6h};
  start_with_certificate(24h);
  ca.window = AriAnswer{at(-4h), at(-3h), "revoked", 6h};
  loop.advance(7h);
  EXPECT_EQ(ca.issued, 2);
}

// ACME.md section 6, item 25: five certificates in ten seconds.
TEST_F(Keeping, NeverIssuesTwiceWithinAnHourWhateverTheWindowSays) {
  ca.window = AriAnswer{at(-10000h), at(20h), "", 1min};
  start({wanted("www.test")});
  loop.advance(59min);
  EXPECT_EQ(ca.issued, 1);
  loop.advance(5h);
  EXPECT_GE(ca.issued, 2);
  EXPECT_LE(ca.issued, 6);
}

TEST_F(Keeping, TakesAWindowThatWasOverBeforeTheLeafWasIssuedForNoAnswer) {
  ca.window = AriAnswer{at(-4h), at(-3h), "", 1min};
  start_with_certificate(48h);
}

// Item 25 again: the window belongs to the leaf.
TEST_F(Keeping, ForgetsTheWindowOfTheLeafThatWasReplaced) {
  ca.window = AriAnswer{at(2h), at(3h), "", 6h};
  start_with_certificate(1h);
  const auto old_id = current()->facts.ari_id;
  ca.window = Error{Fault::kUnavailable, "503"};
  loop.advance(48h);
  EXPECT_EQ(ca.issued, 2);
  ASSERT_NE(current()->facts.ari_id, old_id);
  EXPECT_EQ(ca.polled_ids.back(), current()->facts.ari_id);
  EXPECT_EQ(count("ari WHERE ari_id = '" + old_id + "'"), 0);
}

TEST_F(Keeping, AsksForTheWindowAtLeastTwiceADayButNotOfAnExpiredLeaf) {
  ca.window = AriAnswer{at(2000h), at(2001h), "", {}};
  start_with_certificate(1h);
  ca.failure = failure_of(Reaction::kPersistent, "caa");
  const int before = ca.polls;
  loop.advance(10 * 24h);
  EXPECT_GE(ca.polls - before, 20);
  EXPECT_LE(ca.polls - before, 60);
  loop.advance(81 * 24h);
  ASSERT_EQ(status().state, CertificateStatus::State::kExpired);
  const int at_end = ca.polls;
  loop.advance(5 * 24h);
  EXPECT_EQ(ca.polls, at_end);
}

TEST_F(Keeping, SpreadsTheRenewalsOfManyNames) {
  std::vector<ManagedCertificate> all;
  for (int i = 0; i < 40; ++i) all.push_back(wanted("n" + std::to_string(i) + ".test"));
  start(all);
  loop.advance(1h);
  ASSERT_EQ(ca.issued, 40);
  ca.attempts.clear();
  loop.advance(61 * 24h);
  ASSERT_EQ(ca.issued, 80);
  std::map<std::int64_t, int> per_hour;
  for (const auto& one : ca.attempts) ++per_hour[one.at.time_since_epoch() / std::chrono::hours(1)];
  for (const auto& [hour, renewals] : per_hour) EXPECT_LE(renewals, 8);
}

TEST_F(Keeping, TriesAtMostTwentyTimesInTenDaysAndGoesOnServing) {
  start_with_certificate();
  ca.failure = failure_of(Reaction::kTransient);
  loop.advance(58 * 24h);
  ca.attempts.clear();
  const auto before = current();
  loop.advance(12 * 24h);
  EXPECT_GE(ca.attempts.size(), 10u);
  EXPECT_LE(ca.attempts.size(), 20u);
  EXPECT_EQ(keeper->find("www.test"), before);
  ca.failure.reset();
  loop.advance(27h);
  EXPECT_EQ(ca.issued, 2);
}

TEST_F(Keeping, TriesHourlyWhileNothingValidIsServed) {
  ca.failure = failure_of(Reaction::kTransient, "dns");
  start({wanted("www.test")});
  loop.advance(48h);
  EXPECT_GE(ca.attempts.size(), 35u);
  EXPECT_LE(ca.attempts.size(), 60u);
}

TEST_F(Keeping, TriesDailyWhenAPersonMustActFirst) {
  ca.failure = failure_of(Reaction::kPersistent, "caa");
  start({wanted("www.test")});
  loop.advance(10 * 24h);
  EXPECT_LE(ca.attempts.size(), 16u);
  EXPECT_NE(log_lines.find("level=error event=certificate.failed name=www.test"),
            std::string::npos);
}

TEST_F(Keeping, KeepsTheScheduleOverRestarts) {
  ca.failure = failure_of(Reaction::kTransient, "dns");
  start({wanted("www.test")});
  loop.advance(3h);
  const auto tried = ca.attempts.size();
  const auto next = status().next_time;
  for (int i = 0; i < 20; ++i) {
    start({wanted("www.test")});
    loop.advance(1s);
  }
  EXPECT_EQ(ca.attempts.size(), tried);
  EXPECT_EQ(status().next_time, next);
  ASSERT_TRUE(status().last_error);
  EXPECT_EQ(status().last_error->problem_type, "dns");
}

TEST_F(Keeping, StandsAClockThatJumpsTenYears) {
  for (const auto years : {10, -10}) {
    ca.attempts.clear();
    start({wanted("www.test" + std::to_string(years))});
    loop.advance(2h);
    ca.real_now = now();
    loop.clock().set_wall(now() + std::chrono::hours(years * 8766));
    loop.advance(10 * 24h);
    EXPECT_LE(ca.attempts.size(), 14u) << years;
    ca.real_now.reset();
  }
}

TEST_F(Keeping, ComesBackToItsScheduleWhenAClockThatWasAheadIsSetRight) {
  loop.clock().set_wall(now() + std::chrono::hours(10 * 8766));
  ca.failure = failure_of(Reaction::kTransient);
  start({wanted("www.test")});
  loop.advance(3h);
  loop.clock().set_wall(now() - std::chrono::hours(10 * 8766));
  ca.failure.reset();
  loop.advance(30h);
  EXPECT_EQ(ca.issued, 1);
}

// ACME.md section 6, item 23: 409 alreadyReplaced for ever, and the certificate expired.
TEST_F(Keeping, DropsReplacesOnceAndGoesOn) {
  start_with_certificate();
  auto replaced = failure_of(Reaction::kRetrySoon, "alreadyReplaced");
  replaced.is_replaced_already = true;
  ca.next_failures.push_back(replaced);
  ca.attempts.clear();
  loop.advance(61 * 24h);
  EXPECT_EQ(ca.issued, 2);
  ASSERT_EQ(ca.attempts.size(), 2u);
  EXPECT_FALSE(ca.attempts[0].replaces.empty());
  EXPECT_TRUE(ca.attempts[1].replaces.empty());
}

TEST_F(Keeping, RemembersOverARestartThatReplacesWasRefused) {
  start_with_certificate();
  auto replaced = failure_of(Reaction::kTransient, "alreadyReplaced");
  replaced.is_replaced_already = true;
  ca.next_failures.push_back(replaced);
  ca.failure = failure_of(Reaction::kTransient);
  loop.advance(60 * 24h + 1h);
  ca.attempts.clear();
  start({wanted("www.test")});
  loop.advance(2 * 24h);
  ASSERT_FALSE(ca.attempts.empty());
  for (const auto& one : ca.attempts) EXPECT_TRUE(one.replaces.empty());
}

TEST_F(Keeping, RetriesAtOnceOnlyAFewTimes) {
  ca.failure = failure_of(Reaction::kRetrySoon, "badNonce");
  start({wanted("www.test")});
  loop.advance(30s);
  EXPECT_EQ(ca.attempts.size(), 3u);
}

// ACME.md section 6, item 26: failover is per name, visible, and nothing is asked that is not
// configured.
TEST_F(Keeping, AsksTheNextCaAfterThreeFailuresAndTheFirstOneLater) {
  ca.failure = failure_of(Reaction::kTransient);
  start({wanted("www.test", {"ca", "second"}), wanted("b.test", {"ca"})});
  loop.advance(20min);
  EXPECT_EQ(ca.attempts_for("www.test"), 3);
  EXPECT_EQ(second.issued, 1);
  EXPECT_EQ(second.attempts_for("b.test"), 0);
  EXPECT_EQ(status().ca, "second");
  EXPECT_NE(log_lines.find("event=certificate.failover name=www.test from=ca ca=second"),
            std::string::npos);
  ca.failure.reset();
  ca.attempts.clear();
  loop.advance(61 * 24h);
  EXPECT_EQ(ca.attempts_for("www.test"), 1);
  EXPECT_TRUE(ca.attempts.back().replaces.empty() || ca.attempts.back().certificate == "b.test");
}

TEST_F(Keeping, AsksAnotherCaWhileOneHoldsItBack) {
  auto limited = failure_of(Reaction::kRateLimited, "rateLimited");
  limited.not_before = at(34h);
  ca.failure = limited;
  start({wanted("www.test", {"ca", "second"})});
  loop.advance(5min);
  EXPECT_EQ(ca.attempts.size(), 1u);
  EXPECT_EQ(second.issued, 1);
}

TEST_F(Keeping, NeverAsksBeforeTheRetryAfterOfTheCa) {
  auto limited = failure_of(Reaction::kRateLimited, "rateLimited");
  limited.not_before = at(34h);
  ca.failure = limited;
  start({wanted("www.test")});
  loop.advance(33h);
  EXPECT_EQ(ca.attempts.size(), 1u);
  start({wanted("www.test")});
  Awaited<Result<void>> renewal(loop, keeper->renew("www.test"));
  ASSERT_TRUE(renewal.is_done());
  ASSERT_FALSE(*renewal);
  EXPECT_EQ(renewal->error().fault, Fault::kRateLimited);
  EXPECT_EQ(ca.attempts.size(), 1u);
  ca.failure.reset();
  loop.advance(2h);
  EXPECT_EQ(ca.issued, 1);
}

TEST_F(Keeping, HoldsAllNamesBackOnlyWhenTheCaMeansAll) {
  for (const bool is_wide : {false, true}) {
    ca.attempts.clear();
    auto limited = failure_of(Reaction::kRateLimited, "rateLimited");
    limited.not_before = at(10h);
    limited.is_ca_wide = is_wide;
    ca.next_failures.assign(1, limited);
    start({wanted(is_wide ? "c.test" : "a.test")});
    loop.advance(1min);
    use({wanted(is_wide ? "c.test" : "a.test"), wanted(is_wide ? "d.test" : "b.test")});
    loop.advance(1h);
    EXPECT_EQ(ca.attempts_for(is_wide ? "d.test" : "b.test"), is_wide ? 0 : 1);
    loop.advance(11h);
  }
}

}  // namespace
}  // namespace gatehouse::acme
