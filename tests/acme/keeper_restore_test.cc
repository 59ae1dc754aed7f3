// No order before the place was looked at where a certificate may be found.
#include "tests/acme/keeper_world.h"

namespace gatehouse::acme {
namespace {

struct Restoring : KeeperWorld {
  void start_waiting() {
    keeper = std::make_unique<Keeper>(
        Keeper::Parts{loop, random, metrics, certificates, orders, nullptr},
        [this](net::CredentialPtr one) { served[one->name].push_back(std::move(one)); });
    EXPECT_TRUE(keeper->load());
    use({wanted("www.test"), wanted("other.test")});
    keeper->await_restore({"www.test"});
    keeper->start();
    loop.advance(1min);
  }
};

TEST_F(Restoring, OrdersNothingBeforeItIsLetGo) {
  start_waiting();
  EXPECT_EQ(ca.issued, 1) << "the other name waits for nobody";
  EXPECT_EQ(status().next_reason, "its Secrets are read first");
  keeper->let_go("www.test");
  loop.advance(1min);
  EXPECT_EQ(ca.issued, 2);
}

TEST_F(Restoring, TakesWhatIsFoundAndOrdersNothingAfterwards) {
  start_waiting();
  const auto other = current("other.test");
  ASSERT_TRUE(other);
  // As if it had been found: a certificate of the same CA for that name.
  ca.issued = 0;
  FakeAuthority elsewhere{loop, "ca"};
  Awaited<AttemptResult> made(loop, elsewhere.issue({wanted("www.test"), "", nullptr}));
  loop.advance(1min);
  ASSERT_TRUE(made.is_done() && *made);
  keeper->offer({**made, "ca", now()});
  keeper->let_go("www.test");
  loop.advance(24h);
  EXPECT_EQ(ca.issued, 0);
  EXPECT_EQ(count("certificates"), 2) << "written down, too";
  ASSERT_TRUE(current());
  EXPECT_EQ(current()->facts.serial_hex, (**made)->facts.serial_hex);
}

TEST_F(Restoring, TellsAnOperatorWhoIsInAHurryToWait) {
  start_waiting();
  Awaited<Result<void>> renewed(loop, keeper->renew("www.test"));
  ASSERT_TRUE(renewed.is_done());
  EXPECT_EQ((*renewed).error().fault, Fault::kConflict);
}

TEST_F(Restoring, RenewsWhatIsValidAsEver) {
  start_with_certificate(58 * 24h);
  keeper->await_restore({"www.test"});
  loop.advance(3 * 24h);
  EXPECT_EQ(ca.issued, 2);
}

}  // namespace
}  // namespace gatehouse::acme
