#include "proxy/connection/backend_commons.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "tests/support/fake_clock.h"

namespace gatehouse::proxy {
namespace {

using Answer = BackendCommons::Answer;
using Claim = BackendCommons::Claim;

constexpr std::uint64_t kHost = 7, kOther = 8;

class BackendCommonsTest : public testing::Test {
 protected:
  BackendCommons make(std::size_t connections, std::size_t loops = 4) {
    return BackendCommons({.connections = connections, .pending = 3, .requests = 2}, loops, 0);
  }
  SteadyTime now() const { return clock_.steady_now(); }
  FakeClock clock_;
};

TEST_F(BackendCommonsTest, BoundsWhatIsOpenAndWhatWaits) {
  BackendCommons commons = make(1);
  EXPECT_TRUE(commons.enter_request());
  EXPECT_TRUE(commons.enter_request());
  EXPECT_FALSE(commons.enter_request());
  commons.leave_request();
  EXPECT_TRUE(commons.enter_request());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(commons.enter_queue());
  EXPECT_FALSE(commons.enter_queue());
  commons.leave_queue(2);
  EXPECT_EQ(commons.waiting(), 1u);
  EXPECT_TRUE(commons.enter_queue());
}

TEST_F(BackendCommonsTest, PassesThePlaceOfAConnectionToALoopThatWaits) {
  BackendCommons commons = make(2);
  EXPECT_EQ(commons.take_place(0, kHost, Claim::kFirst), Answer::kTaken);
  EXPECT_EQ(commons.take_place(1, kHost, Claim::kFirst), Answer::kTaken);
  EXPECT_EQ(commons.take_place(2, kHost, Claim::kFirst), Answer::kRefusedAnew);
  EXPECT_EQ(commons.take_place(2, kHost, Claim::kMore), Answer::kRefused);
  EXPECT_TRUE(commons.is_starving_elsewhere(0));
  EXPECT_FALSE(commons.is_starving_elsewhere(2));
  EXPECT_EQ(commons.close(kHost), 2u);
  EXPECT_FALSE(commons.is_needed());
  EXPECT_EQ(commons.connections(), 2u) << "nobody takes it in between";
  EXPECT_EQ(commons.take_place(0, kHost, Claim::kMore), Answer::kRefusedAnew);
  commons.use_place(kHost);
  EXPECT_EQ(commons.close(kHost), 0u);
  EXPECT_EQ(commons.return_place(), std::nullopt);
  EXPECT_EQ(commons.close(kHost), std::nullopt);
  EXPECT_EQ(commons.connections(), 0u);
}

TEST_F(BackendCommonsTest, WhoHasNothingComesFirstAndTheOthersInTurn) {
  BackendCommons commons = make(4);
  for (int i = 0; i < 4; ++i) commons.take_place(0, kHost, Claim::kMore);
  for (const std::size_t loop : {0u, 1u, 3u}) commons.take_place(loop, kHost, Claim::kMore);
  commons.take_place(2, kHost, Claim::kFirst);
  EXPECT_EQ(commons.close(kHost), 2u);
  EXPECT_EQ(commons.close(kHost), 3u) << "behind the one before";
  EXPECT_EQ(commons.close(kHost), 0u);
  commons.take_place(0, kHost, Claim::kMore);
  EXPECT_EQ(commons.close(kHost), 1u) << "it comes before one that had its turn";
  EXPECT_EQ(commons.return_place(), 0u);
  EXPECT_EQ(commons.return_place(), std::nullopt);
}

TEST_F(BackendCommonsTest, AHostAlwaysMayHaveOneConnectionOfTheProcess) {
  BackendCommons commons = make(1);
  EXPECT_EQ(commons.take_place(0, kHost, Claim::kFirst), Answer::kTaken);
  EXPECT_EQ(commons.take_place(1, kOther, Claim::kFirst), Answer::kTaken);
  EXPECT_EQ(commons.take_place(2, kOther, Claim::kFirst), Answer::kRefusedAnew);
  EXPECT_EQ(commons.take_place(3, kOther, Claim::kAlone), Answer::kTaken);
  EXPECT_EQ(commons.connections(), 3u);
  // Beyond the cap nothing is passed on.
  EXPECT_EQ(commons.close(kHost), std::nullopt);
  EXPECT_EQ(commons.close(kOther), std::nullopt);
  EXPECT_EQ(commons.close(kOther), 2u);
}

TEST_F(BackendCommonsTest, APlaceOnItsWayIsNotAHostWithoutConnections) {
  BackendCommons commons = make(1);
  commons.take_place(0, kHost, Claim::kFirst);
  commons.take_place(1, kHost, Claim::kFirst);
  EXPECT_EQ(commons.close(kHost), 1u);
  EXPECT_EQ(commons.take_place(2, kHost, Claim::kFirst), Answer::kRefusedAnew);
  EXPECT_EQ(commons.return_place(), 2u);
  commons.use_place(kHost);
  EXPECT_EQ(commons.connections(), 1u);
}

TEST_F(BackendCommonsTest, ALoopThatNeedsNoneAnyMoreIsPassedNone) {
  BackendCommons commons = make(1);
  commons.take_place(0, kHost, Claim::kFirst);
  commons.take_place(1, kHost, Claim::kFirst);
  EXPECT_TRUE(commons.is_waiting(1));
  commons.stop_waiting(1);
  EXPECT_FALSE(commons.is_needed());
  EXPECT_EQ(commons.close(kHost), std::nullopt);
}

TEST_F(BackendCommonsTest, TellsWhatWasFoundOutAboutAHost) {
  BackendCommons commons = make(1);
  EXPECT_FALSE(commons.facts(kHost));
  commons.set_health(kHost, false, "status 503");
  EXPECT_FALSE(commons.facts(kHost)->is_healthy);
  EXPECT_EQ(commons.facts(kHost)->reason, "status 503");
  EXPECT_FALSE(commons.facts(kOther));
  commons.forget(kHost, 2, now());
  EXPECT_TRUE(commons.facts(kHost)) << "loop 0 still checks it";
  commons.forget(kHost, 0, now());
  EXPECT_FALSE(commons.facts(kHost));
}

TEST_F(BackendCommonsTest, EjectsAsManyAsMayOverAllLoops) {
  BackendCommons commons = make(1);
  EXPECT_TRUE(commons.eject(kHost, {1, now() + 30s}, 1, now()));
  EXPECT_FALSE(commons.eject(kHost, {1, now() + 30s}, 2, now())) << "another loop was faster";
  EXPECT_FALSE(commons.eject(kOther, {1, now() + 30s}, 1, now()));
  EXPECT_EQ(commons.facts(kHost)->ejected.until, now() + 30s);
  commons.forget(kHost, 1, now());
  EXPECT_TRUE(commons.facts(kHost)) << "it is ejected still";
  clock_.advance(30s);
  EXPECT_TRUE(commons.eject(kOther, {1, now() + 30s}, 1, now()));
  commons.forget(kHost, 1, now());
  EXPECT_FALSE(commons.facts(kHost));
}

TEST_F(BackendCommonsTest, HoldsTheCapUnderManyThreads) {
  BackendCommons commons = make(3);
  std::atomic<int> open{0}, most{0};
  const auto work = [&](std::size_t loop) {
    for (int i = 0; i < 20000; ++i) {
      if (commons.take_place(loop, kHost, Claim::kMore) != Answer::kTaken) continue;
      const int now_open = ++open;
      int seen = most.load();
      while (seen < now_open && !most.compare_exchange_weak(seen, now_open)) {
      }
      --open;
      for (auto to = commons.close(kHost); to; to = commons.return_place()) {
      }
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t loop = 0; loop < 4; ++loop) threads.emplace_back(work, loop);
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most.load(), 3);
  EXPECT_EQ(open.load(), 0);
}

}  // namespace
}  // namespace gatehouse::proxy
