// An order that is cut off: by kill -9 around each request, by a lost request or answer, by a store
// that refuses each of its writes. What must hold: the next process gets exactly one certificate,
// the account's key is never lost, and at most one order is too many.

#include <gtest/gtest.h>

#include "tests/support/issuer_world.h"

namespace gatehouse::acme {
namespace {

using Strings = std::vector<std::string>;

void expect_issued_once(IssuerWorld& world, const std::optional<store::Account>& before,
                        const std::string& where) {
  auto result = world.issue(task_for({"a.example", "b.example"}));
  ASSERT_TRUE(result) << where << ": " << result.error().error.message;
  EXPECT_EQ(world.ca->certificates_issued, 1) << where;
  EXPECT_EQ(world.ca->accounts_made, 1) << where;
  EXPECT_LE(world.ca->orders_placed, 2) << where;
  EXPECT_EQ(world.ca->complaints, Strings()) << where;
  EXPECT_TRUE(world.process->sink.is_empty()) << where;
  if (before) {
    EXPECT_EQ(world.account()->key_pem, before->key_pem) << where;
  }
}

class KilledAtRequest : public testing::TestWithParam<bool> {};

TEST_P(KilledAtRequest, EachTimeItEndsInOneCertificate) {
  int killed = 1;
  for (bool is_killed = true; is_killed; ++killed) {
    IssuerWorld world;
    world.ca->polls_until_issued = 2;
    world.ca->keep_silent_at(killed, GetParam());
    world.begin(task_for({"a.example", "b.example"}));
    world.run_until_silent();
    is_killed = world.ca->is_silent();
    world.restart();
    const auto before = world.account();
    expect_issued_once(world, before, "killed at request " + std::to_string(killed));
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(killed, 15) << "the sweep is shorter than an order";
}

INSTANTIATE_TEST_SUITE_P(BeforeAndAfterTheCaActed, KilledAtRequest, testing::Bool());

/// A binding that is good once: an account whose URL was lost is looked up, and the binding is not
/// spent again.
TEST_P(KilledAtRequest, EachTimeTheBindingIsSpentOnce) {
  for (int killed = 1; killed < 8; ++killed) {
    IssuerWorld world(customer_options());
    world.ca->customer = customer_options().external_account;
    world.ca->keep_silent_at(killed, GetParam());
    world.begin(task_for({"a.example", "b.example"}));
    world.run_until_silent();
    ASSERT_TRUE(world.ca->is_silent());
    world.restart();
    expect_issued_once(world, world.account(), "killed at request " + std::to_string(killed));
    EXPECT_EQ(world.ca->bindings_spent, 1);
    if (HasFatalFailure()) return;
  }
}

class LostRequest : public testing::TestWithParam<bool> {};

TEST_P(LostRequest, EachOneEndsInOneCertificate) {
  int lost = 1;
  for (bool is_failed = true; is_failed; ++lost) {
    IssuerWorld world;
    world.ca->polls_until_issued = 2;
    world.ca->lose_request(lost, GetParam());
    auto first = world.issue(task_for({"a.example", "b.example"}));
    is_failed = world.ca->requests >= lost;
    const std::string where = "request " + std::to_string(lost);
    // A POST-as-GET is repeated within the attempt, so that it may have succeeded.
    if (!first) {
      EXPECT_EQ(first.error().reaction, Reaction::kTransient) << where;
    }
    EXPECT_TRUE(world.process->sink.is_empty()) << where;
    const auto before = world.account();
    world.restart();
    expect_issued_once(world, before, where);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(lost, 15) << "the sweep is shorter than an order";
}

INSTANTIATE_TEST_SUITE_P(BeforeAndAfterTheCaActed, LostRequest, testing::Bool());

/// From the n-th write on, the table refuses all, as a full disk does.
void refuse_writes(store::Database& database, const std::string& table, int n) {
  const std::string count = "CREATE TABLE IF NOT EXISTS writes_left(n INTEGER)";
  ASSERT_TRUE(database.run(count));
  ASSERT_TRUE(database.run("INSERT INTO writes_left VALUES(?)", n));
  for (const std::string verb : {"INSERT", "UPDATE"}) {
    auto made = database.run("CREATE TRIGGER refuse_" + verb + " BEFORE " + verb + " ON " + table +
                             " BEGIN SELECT RAISE(ABORT, 'disk full') WHERE (SELECT n FROM "
                             "writes_left) <= 1; UPDATE writes_left SET n = n - 1; END");
    ASSERT_TRUE(made) << made.error().message;
  }
}

void accept_writes(store::Database& database) {
  ASSERT_TRUE(database.run("DROP TRIGGER refuse_INSERT"));
  ASSERT_TRUE(database.run("DROP TRIGGER refuse_UPDATE"));
}

class RefusedWrite : public testing::TestWithParam<const char*> {};

TEST_P(RefusedWrite, EachOneEndsInOneCertificate) {
  int n = 1;
  for (bool is_failed = true; is_failed; ++n) {
    IssuerWorld world;
    refuse_writes(*world.database, GetParam(), n);
    auto first = world.issue(task_for({"a.example", "b.example"}));
    is_failed = !first;
    const std::string where = std::string(GetParam()) + " write " + std::to_string(n);
    if (!first) {
      EXPECT_EQ(first.error().reaction, Reaction::kTransient) << where;
    }
    EXPECT_TRUE(world.process->sink.is_empty()) << where;
    accept_writes(*world.database);
    const auto before = world.account();
    world.restart();
    expect_issued_once(world, before, where);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(n, 2);
}

INSTANTIATE_TEST_SUITE_P(Tables, RefusedWrite, testing::Values("orders", "accounts"));

TEST(Resume, OrderForOtherNamesIsDropped) {
  IssuerWorld world;
  world.ca->polls_until_issued = 1'000'000;
  EXPECT_FALSE(world.issue(task_for({"a.example"})));
  world.ca->polls_until_issued = 0;
  auto task = task_for({"a.example", "c.example"});
  auto result = world.issue(std::move(task));
  ASSERT_TRUE(result) << result.error().error.message;
  EXPECT_TRUE((*result)->facts.covers("c.example"));
  EXPECT_EQ(world.ca->orders_placed, 2);
}

}  // namespace
}  // namespace gatehouse::acme
