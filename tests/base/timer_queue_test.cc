#include "daemon/base/timer_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

#include "daemon/base/random.h"
#include "tests/support/fake_clock.h"

namespace gatehouse {

constexpr Duration kTick = 16ms;

class Timers : public testing::Test {
 protected:
  /// Goes to each wake-up on the way, as the loop does.
  void advance(Duration by) {
    const SteadyTime target = clock_.steady_now() + by;
    for (auto wake = queue_.next_wake(); wake && *wake <= target; wake = queue_.next_wake()) {
      if (*wake > clock_.steady_now()) clock_.advance(*wake - clock_.steady_now());
      turn();
    }
    clock_.advance(target - clock_.steady_now());
    turn();
  }
  void turn() {
    ++turns_;
    queue_.refresh();
    queue_.fire_due();
  }

  FakeClock clock_;
  TimerQueue queue_{clock_};
  int turns_ = 0;
};

TEST_F(Timers, FiresOnceAndNotEarly) {
  int fired = 0;
  Timer timer(queue_, [&] { ++fired; });
  timer.arm(100ms);
  EXPECT_TRUE(timer.is_armed());
  advance(99ms);
  EXPECT_EQ(fired, 0);
  advance(1ms + kTick);
  EXPECT_EQ(fired, 1);
  EXPECT_FALSE(timer.is_armed());
  advance(1h);
  EXPECT_EQ(fired, 1);
}

TEST_F(Timers, IsAtMostATickLateAtAnyDistance) {
  for (const Duration after :
       {Duration(1), Duration(16ms), Duration(17ms), Duration(1s), Duration(5min), Duration(26h),
        Duration(24h * 200), Duration(24h * 800)}) {
    SteadyTime fired_at{};
    Timer timer(queue_, [&] { fired_at = queue_.now(); });
    const SteadyTime due = queue_.now() + after;
    timer.arm(after);
    advance(after + kTick);
    EXPECT_GE(fired_at, due) << after.count();
    EXPECT_LE(fired_at, due + kTick) << after.count();
  }
}

TEST_F(Timers, CancelledOrDestroyedItDoesNotFire) {
  int fired = 0;
  Timer cancelled(queue_, [&] { ++fired; });
  cancelled.arm(50ms);
  auto destroyed = std::make_unique<Timer>(queue_, [&] { ++fired; });
  destroyed->arm(50ms);
  cancelled.cancel();
  destroyed.reset();
  EXPECT_FALSE(cancelled.is_armed());
  EXPECT_EQ(queue_.next_wake(), std::nullopt);
  advance(1s);
  EXPECT_EQ(fired, 0);
}

TEST_F(Timers, MovesLaterAndEarlier) {
  SteadyTime fired_at{};
  Timer timer(queue_, [&] { fired_at = queue_.now(); });
  const SteadyTime begin = queue_.now();
  timer.arm(50ms);
  timer.arm(10s);
  advance(5s);
  EXPECT_EQ(fired_at, SteadyTime());
  timer.arm(1h);
  timer.arm(1s);
  advance(2s);
  EXPECT_GE(fired_at, begin + 6s);
  EXPECT_LE(fired_at, begin + 6s + 2 * kTick);
}

TEST_F(Timers, WithoutTimersNothingWakesUp) {
  EXPECT_EQ(queue_.next_wake(), std::nullopt);
  Timer timer(queue_, [] {});
  EXPECT_EQ(queue_.next_wake(), std::nullopt);
}

TEST_F(Timers, ALongWaitNeedsFewWakeUps) {
  Timer timer(queue_, [] {});
  timer.arm(24h * 60);
  advance(24h * 60 + kTick);
  EXPECT_FALSE(timer.is_armed());
  EXPECT_LE(turns_, 8);
}

TEST_F(Timers, TellsWhenTheNextWakeBecomesEarlier) {
  int told = 0;
  queue_.on_earlier([&] { ++told; });
  Timer late(queue_, [] {}), early(queue_, [] {}), later(queue_, [] {});
  late.arm(1h);
  EXPECT_EQ(told, 1);
  early.arm(1s);
  EXPECT_EQ(told, 2);
  later.arm(2h);
  early.arm(10s);  // Lazily: the wake-up stays.
  EXPECT_EQ(told, 2);
}

TEST_F(Timers, ReArmsItselfInItsFunction) {
  int fired = 0;
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>(queue_, [&] {
    if (++fired < 5) timer->arm(1s);
  });
  timer->arm(1s);
  advance(1min);
  EXPECT_EQ(fired, 5);
}

TEST_F(Timers, ArmedWithoutDelayItFiresInALaterRound) {
  int fired = 0;
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>(queue_, [&] {
    ++fired;
    timer->arm(0s);
  });
  timer->arm(0s);
  advance(kTick);
  EXPECT_GE(fired, 1);
  EXPECT_LE(fired, 2);
}

TEST_F(Timers, DestroysItselfInItsFunction) {
  int fired = 0;
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>(queue_, [&] {
    ++fired;
    timer.reset();
    ++fired;  // What it captured lives on to its end.
  });
  timer->arm(1s);
  advance(2s);
  EXPECT_EQ(fired, 2);
}

TEST_F(Timers, DestroysOthersThatAreDueInTheSameTick) {
  int fired = 0;
  std::vector<std::unique_ptr<Timer>> timers(10);
  for (auto& timer : timers) {
    timer = std::make_unique<Timer>(queue_, [&] {
      ++fired;
      auto doomed = std::move(timers);
      timers.clear();
    });
  }
  for (auto& timer : timers) timer->arm(1s);
  advance(2s);
  EXPECT_EQ(fired, 1);
}

TEST_F(Timers, ALoopThatSleptReadsTheClockAtTheFirstNow) {
  const SteadyTime before = queue_.now();
  clock_.advance(10s);
  EXPECT_EQ(queue_.now(), before);
  queue_.forget_now();
  EXPECT_EQ(queue_.now(), before + 10s);
}

TEST_F(Timers, TheLongestDurationIsNever) {
  Timer timer(queue_, [] { FAIL(); });
  timer.arm(Duration::max());
  advance(24h * 365 * 5);
  EXPECT_TRUE(timer.is_armed());
}

TEST(TimerQueue, OutlivedByAnArmedTimerIsABug) {
  FakeClock clock;
  EXPECT_DEATH(
      {
        auto queue = std::make_unique<TimerQueue>(clock);
        Timer timer(*queue, [] {});
        timer.arm(1s);
        queue.reset();
      },
      "outlives its queue");
}

/// Thousands of timers over weeks against a list of deadlines: each fires exactly when a naive
/// model says so, to the tick, whatever its function does to others.
class Model : public Timers {
 protected:
  struct Entry {
    std::unique_ptr<Timer> timer;
    SteadyTime due{};
    bool is_armed = false;
  };

  Duration some_delay() {
    switch (random_.below(5)) {
      case 0: return Duration(static_cast<Duration::rep>(random_.below(100'000'000)));     // 0.1 s
      case 1: return Duration(static_cast<Duration::rep>(random_.below(20'000'000'000)));  // 20 s
      case 2: return std::chrono::seconds(random_.below(3600));
      case 3: return std::chrono::seconds(random_.below(86400));
      default: return std::chrono::minutes(random_.below(60 * 24 * 400));
    }
  }
  void make(std::uint64_t id) {
    entries_[id].timer = std::make_unique<Timer>(queue_, [this, id] { on_due(id); });
  }
  void arm(std::uint64_t id) {
    Entry& entry = entries_[id];
    const Duration after = some_delay();
    entry.timer->arm(after);
    entry.due = queue_.now() + after;
    entry.is_armed = true;
  }
  void do_something() {
    const std::uint64_t id = random_.below(entries_.size());
    Entry& entry = entries_[id];
    switch (random_.below(8)) {
      case 0:
        entry.timer->cancel();
        entry.is_armed = false;
        break;
      case 1:
        make(id);  // Destroys the old one.
        entry.is_armed = false;
        break;
      default: arm(id);
    }
  }
  void on_due(std::uint64_t id) {
    ++fired_;
    Entry& entry = entries_[id];
    ASSERT_TRUE(entry.is_armed);
    ASSERT_FALSE(entry.timer->is_armed());
    ASSERT_GE(queue_.now(), entry.due);
    ASSERT_LE(queue_.now(), entry.due + latest_);
    entry.is_armed = false;
    for (auto n = random_.below(3); n > 0; --n) do_something();
    if (random_.below(4) == 0) make(id);  // May destroy the one that fires.
    if (random_.below(4) != 0) arm(id);
    if (!entries_[id].timer->is_armed()) entries_[id].is_armed = false;
  }
  void expect_agreement() {
    std::optional<SteadyTime> first;
    for (const Entry& entry : entries_) {
      ASSERT_EQ(entry.timer->is_armed(), entry.is_armed);
      if (!entry.is_armed) continue;
      ASSERT_GT(entry.due + latest_, queue_.now());
      if (!first || entry.due < *first) first = entry.due;
    }
    const auto wake = queue_.next_wake();
    ASSERT_EQ(wake.has_value(), first.has_value());
    if (!first) return;
    ASSERT_LE(*wake, std::max(*first, queue_.now()) + kTick);
  }

  SeededRandom random_{2026};
  std::vector<Entry> entries_;
  Duration latest_ = kTick;
  std::uint64_t fired_ = 0;
};

TEST_F(Model, AgreesOverTenDaysOfExactWakeUps) {
  entries_.resize(3000);
  for (std::uint64_t id = 0; id < entries_.size(); ++id) make(id), arm(id);
  const SteadyTime end = queue_.now() + 24h * 10;
  for (int step = 0; clock_.steady_now() < end && fired_ < 300000; ++step) {
    const auto wake = queue_.next_wake();
    ASSERT_TRUE(wake);
    clock_.advance(std::max(*wake - clock_.steady_now(), Duration(0)));
    turn();
    if (HasFatalFailure()) return;
    if (step % 500 == 0) expect_agreement();
    if (HasFatalFailure()) return;
    if (random_.below(10) == 0) do_something();
  }
  EXPECT_GT(fired_, 10000u);
}

TEST_F(Model, AgreesWhenTheLoopComesLateByAnyAmount) {
  entries_.resize(2000);
  for (std::uint64_t id = 0; id < entries_.size(); ++id) make(id), arm(id);
  for (int step = 0; step < 1000; ++step) {
    const Duration jump = some_delay();
    latest_ = jump + kTick;
    clock_.advance(jump);
    turn();
    if (HasFatalFailure()) return;
    expect_agreement();
    if (HasFatalFailure()) return;
    do_something();
  }
  EXPECT_GT(fired_, 10000u);
}

}  // namespace gatehouse
