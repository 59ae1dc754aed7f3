#include "daemon/net/task_group.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <stdexcept>
#include <string>

#include "tests/support/await.h"
#include "tests/support/test_loop.h"

namespace gatehouse::net {

namespace asio = boost::asio;

class TaskGroupTest : public testing::Test {
 protected:
  ~TaskGroupTest() override {
    tasks_.stop();
    loop_.run_ready();
    EXPECT_TRUE(tasks_.is_empty());
  }

  asio::awaitable<void> note(char c) {
    said_ += c;
    co_return;
  }
  asio::awaitable<void> sleep_then_note(Duration duration) {
    said_ += co_await sleep_for(loop_, duration) ? 'd' : 'c';
  }
  asio::awaitable<void> join_then_note() {
    co_await tasks_.join();
    said_ += 'J';
  }

  TestLoop loop_;
  std::string said_;
  TaskGroup tasks_{loop_};
};

TEST_F(TaskGroupTest, RunsTasksFromALaterHandlerOn) {
  tasks_.start("a", note('a'));
  tasks_.start("b", note('b'));
  EXPECT_EQ(said_, "");
  EXPECT_FALSE(tasks_.is_empty());
  loop_.run_ready();
  EXPECT_EQ(said_, "ab");
  EXPECT_TRUE(tasks_.is_empty());
}

TEST_F(TaskGroupTest, StartedOnTheLoopATaskStillBeginsLater) {
  loop_.loop().post([&] {
    tasks_.start("a", note('a'));
    said_ += '1';
  });
  loop_.run_ready();
  EXPECT_EQ(said_, "1a");
}

TEST_F(TaskGroupTest, SleepsUntilTimeHasPassed) {
  tasks_.start("sleep", sleep_then_note(48h));
  loop_.advance(47h);
  EXPECT_EQ(said_, "");
  loop_.advance(1h + 1s);
  EXPECT_EQ(said_, "d");
  EXPECT_TRUE(tasks_.is_empty());
}

TEST_F(TaskGroupTest, StopEndsASleep) {
  tasks_.start("sleep", sleep_then_note(48h));
  loop_.run_ready();
  tasks_.stop();
  loop_.run_ready();
  EXPECT_EQ(said_, "c");
  EXPECT_TRUE(tasks_.is_empty());
  EXPECT_EQ(loop_.timers().next_wake(), std::nullopt);
}

TEST_F(TaskGroupTest, StopBeforeATaskBeganKeepsItFromBeginning) {
  tasks_.start("a", note('a'));
  tasks_.stop();
  tasks_.start("b", note('b'));
  loop_.run_ready();
  EXPECT_EQ(said_, "");
  EXPECT_TRUE(tasks_.is_empty());
}

TEST_F(TaskGroupTest, ATaskMayStopItsGroup) {
  struct Owner {
    TaskGroup& tasks;
    asio::awaitable<void> stop() {
      tasks.stop();
      co_return;
    }
  } owner{tasks_};
  tasks_.start("sleep", sleep_then_note(1h));
  tasks_.start("stop", owner.stop());
  loop_.run_ready();
  EXPECT_EQ(said_, "c");
}

struct Waiter {
  TestLoop& loop;
  std::string& said;
  int waits = 3;

  /// One wait after the other, as a task does that does not ask whether it should end.
  asio::awaitable<void> many_waits() {
    for (int i = 0; i < waits; ++i) {
      asio::steady_timer timer(loop.context(), SteadyTime::max());
      const auto [error] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
      said += error == asio::error::operation_aborted ? 'x' : '?';
      said += co_await sleep_for(loop, 1h) ? '?' : 's';
    }
  }
  asio::awaitable<void> read(int descriptor) {
    asio::local::stream_protocol::socket socket(loop.context(), asio::local::stream_protocol(),
                                                descriptor);
    char byte = 0;
    const auto [error, size] = co_await socket.async_read_some(asio::buffer(&byte, 1),
                                                               asio::as_tuple(asio::use_awaitable));
    said += error == asio::error::operation_aborted && size == 0 ? 'x' : '?';
  }
  /// Cancelled, its nested awaits go on without an exception.
  asio::awaitable<int> nested() { co_return 7; }
  asio::awaitable<void> clean_up() {
    co_await sleep_for(loop, 1h);
    const int answer = co_await nested();
    said += std::to_string(answer);
  }
  asio::awaitable<void> leak() {
    co_await sleep_for(loop, 1s);
    throw std::runtime_error("whoops");
  }
};

TEST_F(TaskGroupTest, StopEndsWaitsThatBeginLaterToo) {
  Waiter waiter{loop_, said_};
  tasks_.start("waits", waiter.many_waits());
  loop_.run_ready();
  tasks_.stop();
  loop_.run_ready();
  EXPECT_EQ(said_, "xsxsxs");
  EXPECT_TRUE(tasks_.is_empty());
}

TEST_F(TaskGroupTest, StopEndsHoweverManyWaitsFollow) {
  Waiter waiter{loop_, said_, 100};
  tasks_.start("waits", waiter.many_waits());
  loop_.run_ready();
  tasks_.stop();
  loop_.advance(1h);
  EXPECT_EQ(said_.size(), 200u);
  EXPECT_TRUE(tasks_.is_empty());
}

TEST_F(TaskGroupTest, StopEndsReadingFromASocket) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Waiter waiter{loop_, said_};
  tasks_.start("read", waiter.read(ends[0]));
  loop_.run_ready();
  tasks_.stop();
  loop_.run_ready();
  EXPECT_EQ(said_, "x");
  close(ends[1]);
}

TEST_F(TaskGroupTest, AStoppedTaskCleansUpWithoutExceptions) {
  Waiter waiter{loop_, said_};
  tasks_.start("clean", waiter.clean_up());
  loop_.run_ready();
  tasks_.stop();
  loop_.run_ready();
  EXPECT_EQ(said_, "7");
}

TEST_F(TaskGroupTest, JoinReturnsWhenTheLastTaskHasEnded) {
  TaskGroup others(loop_);
  tasks_.start("long", sleep_then_note(2h));
  tasks_.start("short", sleep_then_note(1h));
  others.start("join", join_then_note());
  others.start("join", join_then_note());
  loop_.advance(90min);
  EXPECT_EQ(said_, "d");
  loop_.advance(1h);
  EXPECT_EQ(said_, "ddJJ");
  EXPECT_TRUE(others.is_empty());
}

TEST_F(TaskGroupTest, JoinOfAnEmptyGroupReturnsAtOnce) {
  TaskGroup others(loop_);
  others.start("join", join_then_note());
  loop_.run_ready();
  EXPECT_EQ(said_, "J");
}

TEST_F(TaskGroupTest, JoinIsNotCutShortByStoppingTheJoiner) {
  TaskGroup others(loop_);
  tasks_.start("long", sleep_then_note(1h));
  others.start("join", join_then_note());
  loop_.run_ready();
  others.stop();
  loop_.run_ready();
  EXPECT_EQ(said_, "");
  loop_.advance(2h);
  EXPECT_EQ(said_, "dJ");
  EXPECT_TRUE(others.is_empty());
}

TEST_F(TaskGroupTest, AnExceptionThatLeaksIsABugWithTheTasksName) {
  Waiter waiter{loop_, said_};
  EXPECT_DEATH(
      {
        tasks_.start("renew shop.example", waiter.leak());
        loop_.advance(2s);
      },
      "task renew shop.example leaks an exception: whoops");
}

TEST_F(TaskGroupTest, GoingBeforeItsTasksIsABug) {
  EXPECT_DEATH(
      {
        TaskGroup group(loop_);
        group.start("sleep", sleep_then_note(1h));
        loop_.run_ready();
      },
      "goes before its task sleep");
}

TEST_F(TaskGroupTest, AStoppedGroupDoesNotKeepTheLoopBusy) {
  // Its task waits for another group that goes on: nothing to do until then.
  TaskGroup others(loop_);
  tasks_.start("long", sleep_then_note(1h));
  others.start("join", join_then_note());
  loop_.run_ready();
  others.stop();
  int turns = 0;
  TurnHook hook(loop_, [&] { ++turns; });
  loop_.run_ready();
  EXPECT_LE(turns, 25);
  turns = 0;
  loop_.advance(59min);
  EXPECT_LE(turns, 2000);
  loop_.advance(2h);
  EXPECT_TRUE(others.is_empty());
}

}  // namespace gatehouse::net
