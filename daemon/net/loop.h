#pragma once
// The event loop of one thread: Asio's io_context, the timer queue, and the turn. A turn is one
// wake-up: handlers run, then the turn-end hooks, in order of registration (flush dirty
// connections, reap the retired). Hooks run after every batch of handlers, whatever caused it.

#include <functional>
#include <memory>

#include "daemon/base/clock.h"
#include "daemon/base/timer_queue.h"

namespace boost::asio {
class io_context;
}

namespace gatehouse::net {

class Loop {
 public:
  explicit Loop(const Clock& clock);
  ~Loop();

  boost::asio::io_context& context();
  TimerQueue& timers();
  const Clock& clock() const;

  /// Runs until stop(). Any thread may call post() and stop(); the rest is the loop's own thread's.
  void run();
  void stop();
  /// Runs the function on the loop, in a later turn.
  void post(std::function<void()> function);
  /// Registers a hook for the end of each turn. Cheap to call with nothing to do. For what lives as
  /// long as the loop; what goes earlier owns a TurnHook.
  void at_turn_end(std::function<void()> hook);
  /// Asks for a turn end soon, from a handler that Poller did not start (an Asio completion, a
  /// job's answer): posts an empty handler when none is due.
  void wake();

  /// Runs turns while anything is ready, without ever blocking: for tests, which move the clock by
  /// hand (tests/support/test_loop.h), instead of run().
  void run_ready();

 private:
  friend class TurnHook;
  struct Hook;
  struct State;
  std::unique_ptr<State> state_;
};

/// A hook for the end of each turn that goes with its owner.
class TurnHook {
 public:
  TurnHook(Loop& loop, std::function<void()> hook);
  ~TurnHook();
  TurnHook(const TurnHook&) = delete;
  TurnHook& operator=(const TurnHook&) = delete;

 private:
  Loop::Hook& hook_;  // of the loop, which outlives us
};

}  // namespace gatehouse::net
