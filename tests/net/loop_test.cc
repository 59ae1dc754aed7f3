#include "daemon/net/loop.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <string>
#include <thread>

#include "tests/support/test_loop.h"

namespace gatehouse::net {

namespace asio = boost::asio;

TEST(Loop, RunsPostedFunctionsInALaterTurn) {
  TestLoop loop;
  std::string order;
  loop.loop().at_turn_end([&] { order += '|'; });
  loop.loop().post([&] {
    order += 'a';
    loop.loop().post([&] { order += 'b'; });
  });
  EXPECT_EQ(order, "");
  loop.run_ready();
  EXPECT_EQ(order.substr(0, 4), "a|b|");
}

TEST(Loop, RunsHooksInOrderAfterEveryBatchWhateverItsCause) {
  TestLoop loop;
  std::string order;
  loop.loop().at_turn_end([&] { order += '1'; });
  loop.loop().at_turn_end([&] { order += '2'; });
  Timer timer(loop.timers(), [&] { order += 't'; });
  timer.arm(1s);
  asio::post(loop.context(), [&] { order += 'h'; });
  loop.run_ready();
  EXPECT_EQ(order.substr(0, 3), "h12");
  order.clear();
  loop.advance(2s);
  const std::size_t fired = order.find('t');
  ASSERT_NE(fired, std::string::npos);
  EXPECT_EQ(order.substr(fired, 3), "t12");
}

TEST(Loop, RunsWhatAHookAsksFor) {
  TestLoop loop;
  int turns = 0;
  std::string order;
  loop.loop().at_turn_end([&] {
    if (++turns == 1) loop.loop().post([&] { order += 'p'; });
    if (turns == 2) asio::post(loop.context(), [&] { order += 'h'; });
  });
  loop.run_ready();
  EXPECT_EQ(order, "ph");
}

TEST(Loop, HandlersThatKeepEachOtherBusyDoNotHoldTheHooksUp) {
  TestLoop loop;
  int handled = 0, most_before_a_hook = 0;
  loop.loop().at_turn_end([&] {
    most_before_a_hook = std::max(most_before_a_hook, handled);
    handled = 0;
  });
  int left = 10000;
  std::function<void()> again = [&] {
    ++handled;
    if (--left > 0) asio::post(loop.context(), again);
  };
  asio::post(loop.context(), again);
  loop.run_ready();
  EXPECT_EQ(left, 0);
  EXPECT_LE(most_before_a_hook, 256);
}

TEST(Loop, ATurnHookGoesWithItsOwner) {
  TestLoop loop;
  int runs = 0;
  auto hook = std::make_unique<TurnHook>(loop, [&] { ++runs; });
  loop.run_ready();
  const int before = runs;
  EXPECT_GT(before, 0);
  hook.reset();
  loop.run_ready();
  EXPECT_EQ(runs, before);
}

TEST(Loop, ATurnHookMayGoInItsOwnCall) {
  TestLoop loop;
  int runs = 0;
  std::unique_ptr<TurnHook> hook;
  hook = std::make_unique<TurnHook>(loop, [&] {
    hook.reset();
    ++runs;
  });
  loop.run_ready();
  EXPECT_EQ(runs, 1);
}

TEST(Loop, ReadsTheClockOncePerTurn) {
  TestLoop loop;
  SteadyTime before{}, after{};
  loop.loop().post([&] {
    before = loop.timers().now();
    loop.clock().advance(1s);
    after = loop.timers().now();
  });
  loop.run_ready();
  EXPECT_EQ(before, after);
  EXPECT_EQ(loop.timers().now(), loop.clock().steady_now());
}

// The rest is the blocking run(), on the system's clock.

TEST(Loop, StopsFromAnotherThread) {
  const SystemClock clock;
  Loop loop(clock);
  std::thread other([&] { loop.stop(); });
  loop.run();
  other.join();
}

TEST(Loop, AStopBeforeRunIsKept) {
  const SystemClock clock;
  Loop loop(clock);
  loop.stop();
  loop.run();
}

TEST(Loop, RunsAgainAfterAStop) {
  const SystemClock clock;
  Loop loop(clock);
  int runs = 0;
  for (int i = 0; i < 3; ++i) {
    loop.post([&] {
      ++runs;
      loop.stop();
    });
    loop.run();
  }
  EXPECT_EQ(runs, 3);
}

TEST(Loop, PostsFromOtherThreadsAllArrive) {
  const SystemClock clock;
  Loop loop(clock);
  int arrived = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i)
        loop.post([&] {
          if (++arrived == 4000) loop.stop();
        });
    });
  loop.run();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(arrived, 4000);
}

TEST(Loop, FiresTimersOnTime) {
  const SystemClock clock;
  Loop loop(clock);
  const SteadyTime begin = clock.steady_now();
  SteadyTime fired{};
  Timer later(loop.timers(), [] {});
  later.arm(1h);
  Timer timer(loop.timers(), [&] {
    fired = clock.steady_now();
    loop.stop();
  });
  timer.arm(30ms);
  loop.run();
  EXPECT_GE(fired - begin, 30ms);
  EXPECT_LT(fired - begin, 2s);
}

TEST(Loop, ATimerArmedByTheFirstHandlerAfterASleepCountsFromThen) {
  const SystemClock clock;
  Loop loop(clock);
  SteadyTime armed{}, fired{};
  Timer timer(loop.timers(), [&] {
    fired = clock.steady_now();
    loop.stop();
  });
  std::thread other([&] {
    std::this_thread::sleep_for(150ms);  // The loop sleeps meanwhile: that is the point.
    asio::post(loop.context(), [&] {
      armed = clock.steady_now();
      timer.arm(60ms);
    });
  });
  loop.run();
  other.join();
  EXPECT_GE(fired - armed, 60ms - 1ms);
}

TEST(Loop, WakeFromAHookBringsAnotherTurnAndNoMore) {
  const SystemClock clock;
  Loop loop(clock);
  int turns = 0;
  loop.at_turn_end([&] {
    if (++turns < 5) loop.wake();
  });
  loop.wake();
  Timer timer(loop.timers(), [&] { loop.stop(); });
  timer.arm(50ms);
  loop.run();
  EXPECT_GE(turns, 5);
  EXPECT_LE(turns, 9);
}

TEST(Loop, TakesNoTimeAtRest) {
  const SystemClock clock;
  Loop loop(clock);
  int turns = 0;
  loop.at_turn_end([&] { ++turns; });
  Timer far(loop.timers(), [] {});
  far.arm(24h);
  Timer timer(loop.timers(), [&] { loop.stop(); });
  timer.arm(300ms);
  loop.run();
  EXPECT_LE(turns, 5);
}

}  // namespace gatehouse::net
