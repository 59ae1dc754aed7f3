#pragma once
// The coroutines of one owner: started, stopped and joined together. A member of the object whose
// coroutines it runs; the owner calls stop() and awaits join() before it goes. Includes Asio: for
// the control plane only.
//
// Rules for tasks (STYLE.md section 5): parameters by value; members of an object that outlives the
// group; no exception leaves. Once the group is stopped, every wait of a task ends early with
// operation_aborted (Asio) or false (sleep_for), those begun later too: a task needs no check of
// its own beyond handling these errors. Exceptions for cancelling are switched off in tasks.

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <memory>
#include <string>

#include "daemon/base/clock.h"

namespace gatehouse::net {

class Loop;

class TaskGroup {
 public:
  /// The loop outlives the group.
  explicit TaskGroup(Loop& loop);
  /// The group is empty by now.
  ~TaskGroup();

  /// Runs the task on the loop, from a later handler on. The name is for people. In a group that
  /// was stopped it never begins.
  void start(std::string name, boost::asio::awaitable<void> task);
  /// Tells every task to end. May be called more than once.
  void stop();
  /// Returns when no task is left. Not ended early by cancelling.
  boost::asio::awaitable<void> join();

  bool is_empty() const;
  bool is_stopped() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Waits on the loop's TimerQueue (so that tests can move time by hand). False: cancelled.
boost::asio::awaitable<bool> sleep_for(Loop& loop, Duration duration);

}  // namespace gatehouse::net
