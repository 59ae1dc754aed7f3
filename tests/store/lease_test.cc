#include "store/lease.h"

#include <gtest/gtest.h>

#include <memory>

#include "daemon/base/log.h"
#include "store/kube_client.h"
#include "tests/support/await.h"
#include "tests/support/fake_apiserver.h"
#include "tests/support/test_loop.h"

namespace gatehouse::store {
namespace {

constexpr const char* kPath = "/apis/coordination.k8s.io/v1/namespaces/edge/leases/gatehouse";

struct Holding : testing::Test {
  TestLoop loop;
  SeededRandom random{20261126};
  FakeKube kube;
  FakeApiserver server{kube};
  KubeClient client{loop, kube};
  int changes = 0;
  std::string log_lines;
  Lease lease{{loop, random, client}, {"edge", "gatehouse", "me"}, [this] { ++changes; }};

  Holding() { capture_log(&log_lines); }
  ~Holding() override {
    stop();
    capture_log(nullptr);
  }
  void stop() {
    if (std::exchange(is_stopped_, true)) return;
    bool is_done = false;
    boost::asio::co_spawn(loop.context(), lease.stop(),
                          [&is_done](const std::exception_ptr&) { is_done = true; });
    loop.run_ready();
    EXPECT_TRUE(is_done);
  }
  std::string holder() {
    const auto* spec = server.objects.at(kPath).if_contains("spec");
    return std::string(spec->as_object().at("holderIdentity").as_string());
  }

 private:
  bool is_stopped_ = false;
};

TEST_F(Holding, MakesTheLeaseAndKeepsIt) {
  lease.start();
  loop.run_ready();
  EXPECT_TRUE(lease.is_held());
  EXPECT_EQ(changes, 1);
  loop.advance(5min);
  EXPECT_TRUE(lease.is_held());
  EXPECT_EQ(changes, 1);
  EXPECT_EQ(lease.term(), 1u);
  EXPECT_EQ(lease.view().holder, "me");
}

TEST_F(Holding, TellsTheLossAtTheDeadlineThoughARequestMayHang) {
  lease.start();
  loop.run_ready();
  server.is_down = true;
  loop.advance(9s);
  EXPECT_TRUE(lease.is_held());
  loop.advance(2s);
  EXPECT_FALSE(lease.is_held());
  EXPECT_EQ(changes, 2);
  EXPECT_NE(log_lines.find("event=lease.lost"), std::string::npos);
  EXPECT_NE(lease.view().error, "");
  server.is_down = false;
  loop.advance(10s);
  EXPECT_TRUE(lease.is_held());
  EXPECT_EQ(lease.term(), 2u);
}

TEST_F(Holding, GivesItBackAtTheEnd) {
  lease.start();
  loop.run_ready();
  stop();
  EXPECT_FALSE(lease.is_held());
  EXPECT_EQ(holder(), "");
}

TEST_F(Holding, LeavesWhatIsNotOursInTheObject) {
  lease.start();
  loop.run_ready();
  auto object = server.objects.at(kPath);
  object["metadata"].as_object()["labels"] = {{"team", "edge"}};
  server.put(kPath, std::move(object));
  loop.advance(10s);
  EXPECT_TRUE(lease.is_held());
  const auto& about = server.objects.at(kPath).at("metadata").as_object();
  EXPECT_EQ(about.at("labels").as_object().at("team"), "edge");
}

TEST_F(Holding, WaitsForTheHolderThatGaveUp) {
  server.put(
      kPath,
      {{"metadata", {{"name", "gatehouse"}, {"namespace", "edge"}}},
       {"spec",
        {{"holderIdentity", "other"}, {"leaseDurationSeconds", 15}, {"leaseTransitions", 4}}}});
  lease.start();
  loop.advance(14s);
  EXPECT_FALSE(lease.is_held());
  EXPECT_EQ(lease.view().holder, "other");
  loop.advance(6s);
  EXPECT_TRUE(lease.is_held());
  const auto& spec = server.objects.at(kPath).at("spec").as_object();
  EXPECT_EQ(spec.at("leaseTransitions"), 5);
}

}  // namespace
}  // namespace gatehouse::store
