#include "acme/internal_ca.h"

#include <gtest/gtest.h>
#include <openssl/x509_vfy.h>

#include "daemon/net/job_thread.h"
#include "store/database.h"
#include "tests/support/await.h"
#include "tests/support/test_loop.h"

namespace gatehouse::acme {
namespace {

struct InternalCaTest : testing::Test {
  TestLoop loop;
  net::JobThread jobs = net::JobThread::inline_for_tests(loop);
  std::unique_ptr<store::Database> database = *store::Database::open_in_memory();
  store::CertificateStore certificates{*database, jobs};
  InternalCa ca{{loop.clock(), jobs, certificates}, "local", "edge-1"};

  template <class T>
  T wait(boost::asio::awaitable<T> coroutine) {
    Awaited<T> awaited(loop, std::move(coroutine));
    EXPECT_TRUE(awaited.is_done());
    return std::move(*awaited);
  }
  AttemptResult issue(InternalCa& by, std::vector<std::string> names) {
    IssueTask task;
    task.certificate.name = names.front();
    task.certificate.names = std::move(names);
    return wait(by.issue(std::move(task)));
  }
};

TEST_F(InternalCaTest, IssuesForNamesAndAddresses) {
  const auto issued = issue(ca, {"localhost", "127.0.0.1", "::1"});
  ASSERT_TRUE(issued) << issued.error().error.message;
  EXPECT_TRUE((*issued)->facts.covers("localhost"));
  EXPECT_TRUE((*issued)->facts.covers("127.0.0.1"));
  EXPECT_TRUE((*issued)->facts.covers("::1"));
}

TEST_F(InternalCaTest, IssuesForSevenDays) {
  const auto issued = issue(ca, {"localhost"});
  ASSERT_TRUE(issued);
  const auto left = (*issued)->facts.not_after - loop.clock().wall_now();
  EXPECT_EQ(std::chrono::round<std::chrono::hours>(left), std::chrono::hours(168));
}

TEST_F(InternalCaTest, SignsByTheRootThatItExports) {
  const auto issued = issue(ca, {"localhost"});
  const auto pem = wait(ca.root_pem());
  ASSERT_TRUE(issued && pem);
  EXPECT_EQ(pem->find("PRIVATE KEY"), std::string::npos);
  const auto root = net::CertificateChain::from_pem(*pem);
  ASSERT_TRUE(root);
  EXPECT_EQ(X509_verify((*issued)->chain.leaf(), X509_get0_pubkey(root->leaf())), 1);
  EXPECT_NE(root->facts()->issuer.find("Gatehouse internal CA edge-1"), std::string::npos);
}

TEST_F(InternalCaTest, KeepsItsRootOverARestart) {
  const auto before = wait(ca.root_pem());
  InternalCa restarted({loop.clock(), jobs, certificates}, "local", "renamed-host");
  const auto after = wait(restarted.root_pem());
  ASSERT_TRUE(before && after);
  EXPECT_EQ(*before, *after);
}

TEST_F(InternalCaTest, MakesAnotherRootForAnotherIssuer) {
  InternalCa other({loop.clock(), jobs, certificates}, "other", "edge-1");
  EXPECT_NE(*wait(ca.root_pem()), *wait(other.root_pem()));
}

TEST_F(InternalCaTest, StandsALongHostName) {
  InternalCa named({loop.clock(), jobs, certificates}, "long", std::string(300, 'x'));
  EXPECT_TRUE(wait(named.root_pem()));
}

TEST_F(InternalCaTest, NeverIssuesBeyondItsRoot) {
  ASSERT_TRUE(issue(ca, {"localhost"}));
  loop.clock().set_wall(loop.clock().wall_now() + std::chrono::hours(24 * 3650));
  const auto last = issue(ca, {"localhost"});
  ASSERT_TRUE(last);
  EXPECT_LT((*last)->facts.not_after - loop.clock().wall_now(), std::chrono::hours(24 * 3));
  loop.clock().set_wall(loop.clock().wall_now() + std::chrono::hours(24 * 10));
  const auto over = issue(ca, {"localhost"});
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().reaction, Reaction::kPersistent);
}

TEST_F(InternalCaTest, TellsThatANameCannotBeInACertificate) {
  const auto refused = issue(ca, {"no name at all"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reaction, Reaction::kPersistent);
}

TEST_F(InternalCaTest, HasNoRenewalInformation) {
  const auto info = wait(ca.renewal_info("x"));
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().fault, Fault::kUnsupported);
}

}  // namespace
}  // namespace gatehouse::acme
