#include "proxy/connection_census.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace gatehouse::proxy {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ConnectionCensusTest : public testing::Test {
 protected:
  std::vector<std::size_t> woken_;
  ConnectionCensus census_{3, [this](std::size_t loop) { woken_.push_back(loop); }};

  void come(std::size_t loop) {
    ASSERT_TRUE(census_.reserve(loop, 0));
    census_.settle(loop);
  }
};

TEST_F(ConnectionCensusTest, GivesNoMorePlacesThanThereAre) {
  EXPECT_TRUE(census_.reserve(0, 2));
  EXPECT_TRUE(census_.reserve(1, 2));
  EXPECT_FALSE(census_.reserve(0, 2));
  EXPECT_FALSE(census_.reserve(2, 2));
  EXPECT_EQ(census_.connections(), 2u);
}

TEST_F(ConnectionCensusTest, HasNoBoundAtZero) {
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(census_.reserve(0, 0));
}

TEST_F(ConnectionCensusTest, WakesEachLoopThatWasRefusedOnce) {
  ASSERT_TRUE(census_.reserve(0, 1));
  EXPECT_FALSE(census_.reserve(0, 1));
  EXPECT_FALSE(census_.reserve(2, 1));
  EXPECT_FALSE(census_.reserve(2, 1));
  EXPECT_THAT(woken_, IsEmpty());
  census_.release();
  EXPECT_THAT(woken_, ElementsAre(0, 2));
  census_.reserve(0, 1);
  census_.release();
  EXPECT_THAT(woken_, ElementsAre(0, 2));
}

TEST_F(ConnectionCensusTest, AConnectionStaysWhereItWasAcceptedAmongEquals) {
  for (std::size_t loop = 0; loop < 3; ++loop) {
    ASSERT_TRUE(census_.reserve(loop, 0));
    EXPECT_EQ(census_.settle(loop), loop);
  }
}

TEST_F(ConnectionCensusTest, AConnectionGoesToTheLoopWithTheFewest) {
  for (int i = 0; i < 9; ++i) come(0);  // all accepted by one loop
  for (std::size_t loop = 0; loop < 3; ++loop) EXPECT_EQ(census_.connections(loop), 3u) << loop;
  census_.leave(1);
  census_.leave(1);
  census_.leave(2);
  ASSERT_TRUE(census_.reserve(2, 0));
  EXPECT_EQ(census_.settle(2), 1u);
}

TEST_F(ConnectionCensusTest, CountsASourceOverAllLoops) {
  EXPECT_TRUE(census_.enter_source("192.0.2.1", 2));
  EXPECT_TRUE(census_.enter_source("192.0.2.1", 2));
  EXPECT_FALSE(census_.enter_source("192.0.2.1", 2));
  EXPECT_TRUE(census_.enter_source("192.0.2.2", 2));
  census_.leave_source("192.0.2.1");
  EXPECT_TRUE(census_.enter_source("192.0.2.1", 2));
}

TEST_F(ConnectionCensusTest, ASourceWithoutABoundIsCountedForALaterOne) {
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(census_.enter_source("192.0.2.1", 0));
  EXPECT_FALSE(census_.enter_source("192.0.2.1", 5));
  for (int i = 0; i < 5; ++i) census_.leave_source("192.0.2.1");
  EXPECT_TRUE(census_.enter_source("192.0.2.1", 1));
}

/// Loops on threads of their own come and go at a bound that they all feel: it holds at every
/// moment, nobody is left asleep beside a free place, and in the end all is free.
TEST(ConnectionCensus, HoldsItsBoundFromManyThreads) {
  constexpr std::size_t kLoops = 4, kMost = 3;
  constexpr int kEach = 20'000;
  std::atomic<bool> may_try[kLoops]{true, true, true, true};
  std::atomic<std::size_t> inside{0}, most_seen{0};
  ConnectionCensus census(kLoops, [&](std::size_t loop) {
    may_try[loop] = true;
    may_try[loop].notify_one();
  });
  const auto run = [&](std::size_t loop) {
    for (int done = 0; done < kEach;) {
      may_try[loop].wait(false);
      may_try[loop] = false;
      if (!census.reserve(loop, kMost)) continue;  // Until woken.
      const std::size_t now = ++inside;
      for (std::size_t seen = most_seen; now > seen && !most_seen.compare_exchange_weak(seen, now);)
        continue;
      const std::size_t home = census.settle(loop);
      --inside;
      census.leave(home);
      may_try[loop] = true;
      ++done;
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t loop = 0; loop < kLoops; ++loop) threads.emplace_back(run, loop);
  for (auto& thread : threads) thread.join();
  EXPECT_LE(most_seen, kMost);
  EXPECT_GE(most_seen, 1u);
  EXPECT_EQ(census.connections(), 0u);
  for (std::size_t loop = 0; loop < kLoops; ++loop) EXPECT_EQ(census.connections(loop), 0u);
}

}  // namespace
}  // namespace gatehouse::proxy
