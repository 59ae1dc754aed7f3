// The keeper and the issuer in a cluster: the holder issues, the others take what it shares, and
// what a holder leaves behind is finished by the next one.

#include "tests/acme/keeper_world.h"
#include "tests/support/issuer_world.h"
#include "tests/support/test_certificates.h"

namespace gatehouse::acme {
namespace {

struct Sharing : KeeperWorld {
  FakeFleet nodes;

  Sharing() { fleet = &nodes; }
  void hold(bool is_holder, const std::vector<std::string>& left = {}) {
    nodes.is_holder = is_holder;
    keeper->on_fleet_changed(left);
    loop.run_ready();
  }
  store::LoadedCertificate shared(const std::string& name = "www.test", Duration age = 1h) {
    return {make_test_certificate(name, {name}, at(-age), at(90 * 24h - age)), "ca", at(-age)};
  }
  void offer(store::LoadedCertificate one) {
    keeper->offer(std::move(one));
    loop.run_ready();
  }
};

TEST_F(Sharing, OnlyTheHolderIssues) {
  nodes.is_holder = false;
  start({wanted("www.test")});
  loop.advance(48h);
  EXPECT_TRUE(ca.attempts.empty());
  EXPECT_EQ(status().next_reason, "other issues certificates for this cluster");
  hold(true);
  loop.advance(1s);
  EXPECT_EQ(ca.issued, 1);
}

TEST_F(Sharing, OnlyTheHolderPollsForTheWindow) {
  ca.window = AriAnswer{at(2000h), at(2001h), "", {}};
  nodes.is_holder = false;
  start({wanted("www.test")});
  offer(shared());
  loop.advance(72h);
  EXPECT_EQ(ca.polls, 0);
  hold(true);
  loop.advance(72h);
  EXPECT_GT(ca.polls, 0);
}

TEST_F(Sharing, TheBuiltInCaIssuesOnEachNode) {
  ca.is_built_in = true;
  nodes.is_holder = false;
  start({wanted("www.test")});
  loop.advance(1s);
  EXPECT_EQ(ca.issued, 1);
  EXPECT_TRUE(keeper->shareable().empty());
}

TEST_F(Sharing, AHolderNoMoreEndsItsOrderWhereItIs) {
  ca.takes = 10s;
  start({wanted("www.test")});
  loop.advance(5s);
  EXPECT_EQ(ca.running, 1);
  hold(false);
  EXPECT_EQ(ca.running, 0);
  EXPECT_EQ(status().failures, 0) << "nothing failed";
  loop.advance(2h);
  EXPECT_EQ(ca.attempts.size(), 1u);
  hold(true);
  loop.advance(1s);
  loop.advance(10s);
  EXPECT_EQ(ca.issued, 1);
}

TEST_F(Sharing, GoesOnAtOnceWithWhatAnotherHolderLeft) {
  nodes.is_holder = false;
  start({wanted("www.test")});
  offer(shared());
  loop.advance(1h);
  hold(true);  // Nothing is due.
  loop.advance(1h);
  EXPECT_EQ(ca.issued, 0);
  hold(true, {"www.test", "gone.test"});
  loop.advance(1s);
  EXPECT_EQ(ca.issued, 1);
}

TEST_F(Sharing, ServesAndKeepsWhatIsOffered) {
  nodes.is_holder = false;
  start({wanted("www.test")});
  const auto given = shared();
  offer(given);
  EXPECT_EQ(current(), given.credential);
  EXPECT_EQ(count("certificates"), 1);
  EXPECT_EQ(status().state, CertificateStatus::State::kValid);
  EXPECT_EQ(status().last_issued, given.issued_at);
  EXPECT_NE(log_lines.find("event=certificate.received name=www.test ca=ca"), std::string::npos);
  served.clear();
  start({wanted("www.test")});  // Without anybody to ask.
  ASSERT_TRUE(current());
  EXPECT_EQ(current()->facts.serial_hex, given.credential->facts.serial_hex);
}

TEST_F(Sharing, AnOfferEndsAnOrderThatWasLeftInOurStore) {
  nodes.is_holder = false;
  store::Order order;
  order.certificate = "www.test";
  order.ca = "ca";
  order.names = {"www.test"};
  order.key_pem = "key";
  order.created_at = order.updated_at = now();
  Awaited kept(loop, orders.save_order(order));
  start({wanted("www.test")});
  EXPECT_EQ(status().next_action, "resume");
  offer(shared());
  loop.advance(1s);
  EXPECT_EQ(count("orders"), 0);
  EXPECT_EQ(status().next_action, "renew");
}

TEST_F(Sharing, AnOfferEndsTheOrderInFlight) {
  ca.takes = 10s;
  start({wanted("www.test")});
  loop.advance(5s);
  const auto given = shared();
  offer(given);
  EXPECT_EQ(current(), given.credential);
  EXPECT_EQ(ca.running, 0);
  loop.advance(2h);
  EXPECT_EQ(ca.issued, 0);
  EXPECT_EQ(count("certificates"), 1);
}

TEST_F(Sharing, TakesNothingThatIsOlderOrExpiredOrForOtherNames) {
  nodes.is_holder = false;
  start({wanted("www.test"), wanted("other.test")});
  const auto given = shared();
  offer(given);
  offer(given);
  offer(shared("www.test", 2h));
  offer(shared("www.test", 91 * 24h));
  auto wrong = shared("other.test");
  auto renamed = std::make_shared<net::Credential>(*wrong.credential);
  renamed->name = "www.test";
  wrong.credential = renamed;
  offer(wrong);
  EXPECT_EQ(served["www.test"].size(), 1u);
  offer(shared("unknown.test"));
  EXPECT_TRUE(served["unknown.test"].empty());
  const auto newer = shared("www.test", 1min);
  offer(newer);
  EXPECT_EQ(current(), newer.credential);
}

TEST_F(Sharing, SharesWhatItServes) {
  start({wanted("www.test")});
  loop.advance(1s);
  const auto all = keeper->shareable();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].credential, current());
  EXPECT_EQ(all[0].ca, "ca");
}

TEST_F(Sharing, SaysWhyItDoesNotRenew) {
  nodes.is_holder = false;
  start({wanted("www.test")});
  Awaited asked(loop, keeper->renew("www.test"));
  ASSERT_TRUE(asked.is_done());
  ASSERT_FALSE(*asked);
  EXPECT_EQ(asked->error().message, "other issues certificates for this cluster");
}

struct Left : testing::Test {
  FakeFleet nodes;
  IssuerWorld world{fake_ca_options(), &nodes};
};

TEST_F(Left, TheAccountIsSharedBeforeTheCaHearsOfIt) {
  world.ca->keep_silent_at(3, false);  // directory, nonce, newAccount
  world.begin(task_for({"a.example"}));
  world.run_until_silent();
  EXPECT_EQ(world.ca->accounts_made, 0);
  ASSERT_EQ(nodes.accounts.size(), 1u);
  EXPECT_FALSE(nodes.account_key().empty());
}

TEST_F(Left, NothingIsAskedOfTheCaByWhoIsNotTheHolder) {
  nodes.is_holder = false;
  auto result = world.issue(task_for({"a.example"}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().error.fault, Fault::kCancelled);
  EXPECT_EQ(world.ca->accounts_made, 0);
  for (const auto& line : world.ca->log) EXPECT_FALSE(line.starts_with("POST")) << line;
}

TEST_F(Left, NothingIsValidatedThatCouldNotBeShared) {
  ASSERT_TRUE(world.issue(task_for({"first.example"})));
  nodes.is_broken = true;
  world.ca->challenges.clear();
  EXPECT_FALSE(world.issue(task_for({"a.example"})));
  EXPECT_TRUE(world.ca->challenges.empty());
}

TEST_F(Left, AHolderThatWasPausedTakesNoFurtherStep) {
  int steps = 1;
  for (bool is_cut = true; is_cut; ++steps) {
    FakeFleet fleet;
    IssuerWorld cut(fake_ca_options(), &fleet);
    cut.begin(task_for({"a.example"}));
    while (!cut.is_done() && cut.ca->requests < steps) cut.process->step();
    is_cut = !cut.is_done();
    fleet.is_holder = false;
    const auto before = cut.ca->log.size();
    if (is_cut) (void)cut.finish();
    for (auto i = before; i < cut.ca->log.size(); ++i)
      EXPECT_FALSE(cut.ca->log[i].starts_with("POST")) << steps << ": " << cut.ca->log[i];
  }
  EXPECT_GT(steps, 6) << "the sweep is shorter than an order";
}

// kill -9 of the holder around each of its requests; another node has only what was shared.
class KilledHolder : public testing::TestWithParam<bool> {};

TEST_P(KilledHolder, AnotherNodeEndsTheSameOrder) {
  int killed = 1;
  for (bool is_killed = true; is_killed; ++killed) {
    FakeFleet nodes;
    IssuerWorld world(fake_ca_options(), &nodes);
    world.ca->polls_until_issued = 2;
    world.ca->keep_silent_at(killed, GetParam());
    world.begin(task_for({"a.example"}));
    world.run_until_silent();
    is_killed = world.ca->is_silent();
    const std::string where = "killed at request " + std::to_string(killed);
    world.restart_elsewhere();
    auto result = world.issue(task_for({"a.example"}));
    ASSERT_TRUE(result) << where << ": " << result.error().error.message;
    EXPECT_EQ(world.ca->certificates_issued, 1) << where;
    EXPECT_EQ(world.ca->accounts_made, 1) << where;
    EXPECT_LE(world.ca->orders_placed, 2) << where;
    EXPECT_EQ(world.ca->complaints, std::vector<std::string>()) << where;
  }
  EXPECT_GT(killed, 12) << "the sweep is shorter than an order";
}

INSTANTIATE_TEST_SUITE_P(BeforeAndAfterTheCaActed, KilledHolder, testing::Bool());

}  // namespace
}  // namespace gatehouse::acme
