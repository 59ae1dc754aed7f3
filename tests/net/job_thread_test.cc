#include "daemon/net/job_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "daemon/net/task_group.h"
#include "tests/support/await.h"
#include "tests/support/test_loop.h"

namespace gatehouse::net {

namespace asio = boost::asio;
using testing::ElementsAre;

class JobThreadTest : public testing::Test {
 protected:
  SystemClock clock_;
  Loop loop_{clock_};
};

TEST_F(JobThreadTest, RunsJobsInOrderElsewhereAndAnswersOnTheLoop) {
  JobThread jobs(loop_, "test");
  std::vector<std::thread::id> worked, answered;
  std::string order;
  for (int i = 0; i < 3; ++i)
    jobs.post(
        [&, i] {
          worked.push_back(std::this_thread::get_id());
          order += std::to_string(i);
        },
        [&] {
          answered.push_back(std::this_thread::get_id());
          if (answered.size() == 3) loop_.stop();
        });
  loop_.run();
  EXPECT_EQ(order, "012");
  EXPECT_NE(worked[0], std::this_thread::get_id());
  EXPECT_EQ(worked[0], worked[2]);
  EXPECT_EQ(answered[2], std::this_thread::get_id());
}

TEST_F(JobThreadTest, StopFinishesWhatWasGiven) {
  JobThread jobs(loop_, "test");
  int done = 0;
  for (int i = 0; i < 100; ++i) jobs.post([&] { ++done; }, nullptr);
  jobs.stop();
  jobs.stop();
  EXPECT_EQ(done, 100);
}

TEST_F(JobThreadTest, AJobAfterStopIsABug) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        JobThread jobs(loop_, "test");
        jobs.stop();
        jobs.post([] {}, nullptr);
      },
      "was stopped");
}

TEST_F(JobThreadTest, BlocksSignalsInItsThreadAlone) {
  JobThread jobs(loop_, "test");
  bool is_blocked = false;
  jobs.post(
      [&] {
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        is_blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGHUP) == 1;
      },
      nullptr);
  jobs.stop();
  EXPECT_TRUE(is_blocked);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGTERM), 0);
}

TEST_F(JobThreadTest, HasAName) {
  JobThread jobs(loop_, "a-name-that-is-far-too-long");
  std::string name(32, '\0');
  jobs.post([&] { pthread_getname_np(pthread_self(), name.data(), name.size()); }, nullptr);
  jobs.stop();
  EXPECT_STREQ(name.c_str(), "a-name-that-is-");
}

TEST_F(JobThreadTest, ACoroutineGetsTheJobsAnswerOnTheLoop) {
  JobThread jobs(loop_, "test");
  std::thread::id resumed;
  std::unique_ptr<std::string> answer;  // Answers need not be copyable.
  TaskGroup tasks(loop_);
  struct Owner {
    JobThread& jobs;
    Loop& loop;
    std::unique_ptr<std::string>& answer;
    std::thread::id& resumed;
    asio::awaitable<void> ask() {
      auto job = [] { return std::make_unique<std::string>("forty-two"); };
      answer = co_await jobs.run(job);
      resumed = std::this_thread::get_id();
      loop.stop();
    }
  } owner{jobs, loop_, answer, resumed};
  tasks.start("ask", owner.ask());
  loop_.run();
  EXPECT_EQ(*answer, "forty-two");
  EXPECT_EQ(resumed, std::this_thread::get_id());
}

TEST(JobThreadInline, RunsJobsOnTheTestLoopInOrder) {
  TestLoop loop;
  JobThread jobs = JobThread::inline_for_tests(loop);
  std::string order;
  jobs.post([&] { order += 'a'; }, [&] { order += 'A'; });
  jobs.post([&] { order += 'b'; }, [&] { order += 'B'; });
  EXPECT_EQ(order, "");
  loop.run_ready();
  EXPECT_EQ(order, "abAB");
}

asio::awaitable<int> sum(JobThread& jobs) {
  auto one = [] { return 1; };
  auto two = [] { return 2; };
  auto nothing = [] {};
  const int first = co_await jobs.run(one);
  co_await jobs.run(nothing);
  co_return first + co_await jobs.run(two);
}

TEST(JobThreadInline, LetsACoroutineAskAgainAndAgain) {
  TestLoop loop;
  JobThread jobs = JobThread::inline_for_tests(loop);
  Awaited<int> answer(loop, sum(jobs));
  ASSERT_TRUE(answer.is_done());
  EXPECT_EQ(*answer, 3);
}

struct Stubborn {
  JobThread& jobs;
  std::string& order;
  asio::awaitable<void> work() {
    auto job = [this] { order += 'j'; };
    co_await jobs.run(job);
    order += 'd';
  }
};

TEST(JobThreadInline, AStoppedGroupStillWaitsForTheJob) {
  TestLoop loop;
  JobThread jobs = JobThread::inline_for_tests(loop);
  std::string order;
  Stubborn stubborn{jobs, order};
  TaskGroup tasks(loop);
  tasks.start("work", stubborn.work());
  bool is_stopped = false;
  TurnHook hook(loop, [&] {
    if (std::exchange(is_stopped, true)) return;
    tasks.stop();
  });
  loop.run_ready();
  EXPECT_EQ(order, "jd");
  EXPECT_TRUE(tasks.is_empty());
}

}  // namespace gatehouse::net
