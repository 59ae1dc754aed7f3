#pragma once
// A loop whose time is moved by hand. Nothing here blocks or sleeps: run_ready() runs what is ready
// now, advance() lets time pass from timer to timer. Use JobThread::inline_for_tests() with it.

#include "daemon/net/loop.h"
#include "tests/support/fake_clock.h"

namespace gatehouse {

class TestLoop {
 public:
  operator net::Loop&() { return loop_; }
  net::Loop& loop() { return loop_; }
  FakeClock& clock() { return clock_; }
  TimerQueue& timers() { return loop_.timers(); }
  boost::asio::io_context& context() { return loop_.context(); }

  void run_ready() { loop_.run_ready(); }

  /// Time passes: stops at each wake-up of the timer queue on the way, and runs what becomes ready.
  void advance(Duration by) {
    run_ready();
    const SteadyTime target = clock_.steady_now() + by;
    while (const auto wake = timers().next_wake()) {
      if (*wake > target) break;
      if (*wake > clock_.steady_now()) clock_.advance(*wake - clock_.steady_now());
      run_ready();
    }
    clock_.advance(target - clock_.steady_now());
    run_ready();
  }

 private:
  FakeClock clock_;
  net::Loop loop_{clock_};
};

}  // namespace gatehouse
