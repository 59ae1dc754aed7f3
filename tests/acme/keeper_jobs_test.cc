// What the keeper does on demand, at a reload, with a bad store, and what it tells of itself.

#include "tests/acme/keeper_world.h"

namespace gatehouse::acme {
namespace {

using KeeperJobs = KeeperWorld;

TEST_F(KeeperJobs, RenewsOnDemandPastScheduleAndFloor) {
  start_with_certificate(1min);
  Awaited<Result<void>> renewal(loop, keeper->renew("www.test"));
  loop.run_ready();
  ASSERT_TRUE(renewal.is_done());
  EXPECT_TRUE(*renewal);
  EXPECT_EQ(ca.issued, 2);
}

TEST_F(KeeperJobs, AnswersAFailedRenewalWithItsReason) {
  start_with_certificate();
  ca.failure = failure_of(Reaction::kPersistent, "caa");
  Awaited<Result<void>> renewal(loop, keeper->renew("www.test"));
  loop.run_ready();
  ASSERT_TRUE(renewal.is_done());
  ASSERT_FALSE(*renewal);
  EXPECT_NE(renewal->error().message.find("caa"), std::string::npos);
  Awaited<Result<void>> unknown(loop, keeper->renew("nobody.test"));
  EXPECT_EQ(unknown->error().fault, Fault::kNotFound);
}

TEST_F(KeeperJobs, HasOneJobPerName) {
  ca.takes = 10min;
  start({wanted("www.test")});
  loop.advance(1min);
  Awaited<Result<void>> renewal(loop, keeper->renew("www.test"));
  EXPECT_FALSE(renewal.is_done());
  loop.advance(10min);
  EXPECT_TRUE(renewal.is_done());
  EXPECT_EQ(ca.attempts.size(), 1u);
}

TEST_F(KeeperJobs, RunsFourOrdersAtOnceAndComesToAll) {
  ca.takes = 1min;
  std::vector<ManagedCertificate> all;
  for (int i = 0; i < 30; ++i) all.push_back(wanted("n" + std::to_string(i) + ".test"));
  start(all);
  loop.advance(1h);
  EXPECT_EQ(ca.running_most, 4);
  EXPECT_EQ(ca.issued, 30);
}

TEST_F(KeeperJobs, CancelsTheOrderOfANameThatIsDroppedAndDisturbsNoOther) {
  ca.takes = 10min;
  start({wanted("a.test"), wanted("b.test")});
  loop.advance(1min);
  use({wanted("b.test")});
  loop.advance(1h);
  EXPECT_EQ(ca.issued, 1);
  EXPECT_EQ(ca.attempts_for("b.test"), 1);
  EXPECT_EQ(keeper->status().size(), 1u);
}

TEST_F(KeeperJobs, StandsANameThatIsDroppedAndTakenBackAtOnce) {
  ca.takes = 10min;
  start({wanted("a.test")});
  use({});
  use({wanted("a.test")});
  loop.advance(1min);
  use({});
  use({wanted("a.test")});
  loop.advance(30min);
  EXPECT_EQ(ca.issued, 1);
  EXPECT_EQ(ca.running_most, 1);
}

TEST_F(KeeperJobs, StopsRenewingWhatIsNoLongerConfigured) {
  start_with_certificate();
  use({});
  loop.advance(90 * 24h);
  EXPECT_EQ(ca.attempts.size(), 1u);
  EXPECT_EQ(count("certificates"), 1);
}

TEST_F(KeeperJobs, IssuesAnewWhenNamesAreAdded) {
  start_with_certificate();
  auto more = wanted("www.test");
  more.names.push_back("b.test");
  use({more});
  loop.advance(1min);
  EXPECT_EQ(ca.issued, 2);
  EXPECT_TRUE(current()->facts.covers("b.test"));
}

TEST_F(KeeperJobs, KeepsTheOldCertificateWhenTheNewOneIsForOtherNames) {
  start_with_certificate();
  const auto before = current();
  ca.issued_names = {"evil.test"};
  loop.advance(61 * 24h);
  EXPECT_GE(ca.issued, 2);
  EXPECT_EQ(current(), before);
  EXPECT_EQ(count("certificates"), 1);
}

TEST_F(KeeperJobs, ServesWhatTheStoreCannotKeepAndSavesItLater) {
  ASSERT_TRUE(
      database->run("CREATE TRIGGER full BEFORE INSERT ON certificates BEGIN SELECT "
                    "RAISE(ABORT, 'no space'); END"));
  start({wanted("www.test")});
  loop.advance(30min);
  ASSERT_TRUE(current());
  EXPECT_EQ(ca.issued, 1);
  EXPECT_NE(status().not_saved.find("no space"), std::string::npos);
  ASSERT_TRUE(database->run("DROP TRIGGER full"));
  loop.advance(2min);
  EXPECT_EQ(status().not_saved, "");
  EXPECT_EQ(count("certificates"), 1);
  EXPECT_EQ(ca.issued, 1);
}

TEST_F(KeeperJobs, ResumesAnOrderInFlightAtOnceAndEndsItsRow) {
  start_with_certificate();
  stop();
  store::Order order;
  order.certificate = "www.test";
  order.ca = "ca";
  order.names = {"www.test"};
  order.key_pem = "key";
  order.updated_at = now();
  Awaited<Result<void>> saved(loop, orders.save_order(order));
  start({wanted("www.test")});
  EXPECT_EQ(status().next_action, "resume");
  loop.advance(1min);
  EXPECT_EQ(ca.issued, 2);
  EXPECT_EQ(count("orders"), 0);
}

TEST_F(KeeperJobs, KeepsTheScheduleOfAnOrderThatFailedBeforeTheRestart) {
  ca.failure = failure_of(Reaction::kTransient);
  start({wanted("www.test")});
  loop.advance(3h);
  store::Order order;
  order.certificate = "www.test";
  order.ca = "ca";
  order.names = {"www.test"};
  order.key_pem = "key";
  order.updated_at = now() - 3h;
  Awaited<Result<void>> saved(loop, orders.save_order(order));
  const auto tried = ca.attempts.size();
  start({wanted("www.test")});
  loop.advance(1s);
  EXPECT_EQ(ca.attempts.size(), tried);
}

TEST_F(KeeperJobs, TellsTheStepOfAnOrderInProgress) {
  ca.takes = 10min;
  start({wanted("www.test")});
  loop.advance(5min);
  const auto seen = status();
  EXPECT_TRUE(seen.is_in_progress);
  EXPECT_EQ(seen.step, "ordering");
  EXPECT_EQ(seen.step_ca, "ca");
  EXPECT_EQ(std::chrono::round<std::chrono::minutes>(now() - seen.step_since).count(), 5);
}

TEST_F(KeeperJobs, TurnsLateWhenHalfOfTheTimeForRenewingIsUsedUp) {
  start_with_certificate();
  ca.failure = failure_of(Reaction::kPersistent, "caa");
  loop.advance(70 * 24h);
  EXPECT_EQ(status().state, CertificateStatus::State::kValid);
  loop.advance(6 * 24h);
  EXPECT_EQ(status().state, CertificateStatus::State::kLate);
  loop.advance(20 * 24h);
  EXPECT_EQ(status().state, CertificateStatus::State::kExpired);
}

TEST_F(KeeperJobs, HasOneSeriesPerCertificateAndNoneWhenItGoes) {
  start_with_certificate();
  loop.advance(61 * 24h);
  ASSERT_EQ(ca.issued, 2);
  const auto occurs = [this] {
    const std::string text = metrics.to_text(), series = "not_after_seconds{certificate=";
    int found = 0;
    for (auto at = text.find(series); at != std::string::npos; at = text.find(series, at + 1))
      ++found;
    return found;
  };
  EXPECT_EQ(occurs(), 1);
  use({});
  EXPECT_EQ(occurs(), 0);
}

TEST_F(KeeperJobs, WaitsWithoutAnIssuerAndSaysSo) {
  start({wanted("www.test", {"gone"})});
  loop.advance(24h);
  EXPECT_TRUE(ca.attempts.empty());
  EXPECT_EQ(status().next_reason, "no issuer is configured for it");
}

}  // namespace
}  // namespace gatehouse::acme
