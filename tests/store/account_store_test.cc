#include "store/account_store.h"

#include <gtest/gtest.h>

#include "daemon/net/job_thread.h"
#include "store/database.h"
#include "tests/support/await.h"
#include "tests/support/test_loop.h"

namespace gatehouse::store {
namespace {

struct AccountStoreTest : testing::Test {
  TestLoop loop;
  net::JobThread jobs = net::JobThread::inline_for_tests(loop);
  std::unique_ptr<Database> database = *Database::open_in_memory();
  AccountStore store{*database, jobs};

  template <class T>
  T wait(boost::asio::awaitable<T> coroutine) {
    Awaited<T> awaited(loop, std::move(coroutine));
    EXPECT_TRUE(awaited.is_done());
    return std::move(*awaited);
  }
  Account account(const std::string& key = "key") {
    Account made;
    made.directory = "https://ca.test/dir";
    made.email = "me@test";
    made.key_pem = key;
    made.created_at = loop.clock().wall_now();
    return made;
  }
  Order order(const std::string& name = "www.test") {
    Order made;
    made.certificate = name;
    made.ca = "ca";
    made.directory = "https://ca.test/dir";
    made.names = {name, "b.test"};
    made.key_pem = "key";
    made.created_at = made.updated_at = loop.clock().wall_now();
    return made;
  }
};

TEST_F(AccountStoreTest, FindsNoAccountAtFirst) {
  const auto found = wait(store.find_account("https://ca.test/dir", ""));
  ASSERT_TRUE(found);
  EXPECT_FALSE(*found);
}

TEST_F(AccountStoreTest, KeepsTheKeyBeforeTheUrlIsKnown) {
  ASSERT_TRUE(wait(store.save_account(account())));
  auto known = account();
  known.url = "https://ca.test/acct/1";
  known.status = "valid";
  known.terms_agreed = "https://ca.test/terms";
  ASSERT_TRUE(wait(store.save_account(known)));
  const auto found = wait(store.find_account(known.directory, known.email));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->key_pem, "key");
  EXPECT_EQ((*found)->url, known.url);
  EXPECT_EQ((*found)->status, "valid");
  EXPECT_EQ((*found)->terms_agreed, known.terms_agreed);
  EXPECT_EQ((*found)->created_at, known.created_at);
}

TEST_F(AccountStoreTest, TakesAccountsFromElsewhereAllOrNone) {
  auto known = account("first");
  known.url = "https://ca.test/acct/1";
  ASSERT_TRUE(wait(store.save_account(known)));
  auto other = account("other");
  other.email = "";
  auto refused = add_accounts(*database, std::vector{other, account("second")});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().fault, Fault::kConflict);
  EXPECT_EQ(refused.error().message, "another account key is kept for https://ca.test/dir");
  EXPECT_EQ(store.load_accounts()->size(), 1u);

  ASSERT_TRUE(add_accounts(*database, std::vector{other, account("first")}));
  const auto all = store.load_accounts();
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ((*all)[0].key_pem, "other");
  EXPECT_EQ((*all)[0].url, "");
  EXPECT_EQ((*all)[1].url, known.url);
}

TEST_F(AccountStoreTest, NeverOverwritesAnAccountKey) {
  ASSERT_TRUE(wait(store.save_account(account("first"))));
  const auto saved = wait(store.save_account(account("second")));
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().fault, Fault::kConflict);
  EXPECT_EQ((*wait(store.find_account("https://ca.test/dir", "me@test")))->key_pem, "first");
}

TEST_F(AccountStoreTest, KeepsAccountsApartByContact) {
  ASSERT_TRUE(wait(store.save_account(account())));
  auto other = account("other");
  other.email = "";
  ASSERT_TRUE(wait(store.save_account(other)));
  EXPECT_EQ(store.load_accounts()->size(), 2u);
  ASSERT_TRUE(wait(store.delete_account(other.directory, "")));
  EXPECT_EQ(store.load_accounts()->size(), 1u);
}

TEST_F(AccountStoreTest, GivesAnOrderBackAsItWas) {
  auto saved = order();
  saved.step = OrderStep::kFinalized;
  saved.order_url = "o";
  saved.finalize_url = "f";
  saved.certificate_url = "c";
  saved.replaces = "ari";
  saved.expires_at = loop.clock().wall_now() + 24h;
  ASSERT_TRUE(wait(store.save_order(saved)));
  const auto found = wait(store.find_order("www.test"));
  ASSERT_TRUE(found && *found);
  const Order& read = **found;
  EXPECT_EQ(read.names, saved.names);
  EXPECT_EQ(read.step, OrderStep::kFinalized);
  EXPECT_EQ(read.key_pem + read.order_url + read.finalize_url + read.certificate_url, "keyofc");
  EXPECT_EQ(read.replaces, "ari");
  EXPECT_EQ(read.expires_at, saved.expires_at);
  EXPECT_EQ(read.updated_at, saved.updated_at);
}

TEST_F(AccountStoreTest, HasOneOrderPerCertificate) {
  ASSERT_TRUE(wait(store.save_order(order())));
  auto later = order();
  later.step = OrderStep::kOrdered;
  ASSERT_TRUE(wait(store.save_order(later)));
  const auto orders = store.load_orders();
  ASSERT_TRUE(orders);
  ASSERT_EQ(orders->size(), 1u);
  EXPECT_EQ(orders->front().step, OrderStep::kOrdered);
  ASSERT_TRUE(wait(store.delete_order("www.test")));
  EXPECT_TRUE(store.load_orders()->empty());
}

TEST_F(AccountStoreTest, SkipsAnUnusableOrderAndKeepsTheOthers) {
  ASSERT_TRUE(wait(store.save_order(order("a.test"))));
  ASSERT_TRUE(wait(store.save_order(order("b.test"))));
  ASSERT_TRUE(database->run("UPDATE orders SET step = 77 WHERE certificate = 'a.test'"));
  const auto orders = store.load_orders();
  ASSERT_TRUE(orders);
  ASSERT_EQ(orders->size(), 1u);
  EXPECT_EQ(orders->front().certificate, "b.test");
  const auto unusable = wait(store.find_order("a.test"));
  EXPECT_TRUE(unusable && !*unusable);
}

TEST(OrderStep, KeepsTheNumbersThatAreStored) {
  EXPECT_EQ(static_cast<int>(OrderStep::kKeyKept), 1);
  EXPECT_EQ(static_cast<int>(OrderStep::kAuthorized), 5);
  EXPECT_EQ(static_cast<int>(OrderStep::kIssued), 7);
}

}  // namespace
}  // namespace gatehouse::store
