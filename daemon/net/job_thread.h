#pragma once
// A thread for what blocks (SQLite with its fsync, key generation): jobs run there in order, one at
// a time, and answer on the loop. Its owner stops it before the loop goes, and after the tasks that
// use it are joined. Includes Asio: for the control plane only.

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "daemon/base/clock.h"
#include "daemon/net/loop.h"

namespace gatehouse::net {

class JobThread {
 public:
  /// Starts the thread. `name` is what ps shows: 15 characters at most.
  JobThread(Loop& loop, const std::string& name);
  /// No thread: each job runs on the loop, in a later turn, as its own step. So a test that moves
  /// time by hand (TestLoop) sees jobs and their answers run to their end, in order.
  static JobThread inline_for_tests(Loop& loop);
  ~JobThread();
  JobThread(const JobThread&) = delete;
  JobThread& operator=(const JobThread&) = delete;

  /// Runs the job on the thread, and `done_on_loop` in a turn of the loop behind it (null:
  /// nothing). Neither may throw.
  void post(std::function<void()> job, std::function<void()> done_on_loop);

  /// The same for a coroutine: its answer is the job's. A job that has been given is always waited
  /// for, because it may refer to what the coroutine holds: cancelling does not shorten this.
  template <class F>
  boost::asio::awaitable<std::invoke_result_t<F&>> run(F job);

  /// Finishes the jobs that were given, and joins. Further jobs are a bug.
  void stop();

 private:
  explicit JobThread(Loop& loop);

  struct State;
  Loop& loop_;
  std::unique_ptr<State> state_;  // null: inline
};

template <class F>
boost::asio::awaitable<std::invoke_result_t<F&>> JobThread::run(F job) {
  using Answer = std::invoke_result_t<F&>;
  constexpr bool is_void = std::is_void_v<Answer>;
  std::optional<std::conditional_t<is_void, bool, Answer>> answer;
  bool is_done = false;
  boost::asio::steady_timer parked(loop_.context(), SteadyTime::max());  // done() ends the wait.
  std::function<void()> work = [&] {
    if constexpr (is_void) {
      job();
    } else {
      answer.emplace(job());
    }
  };
  std::function<void()> done = [&is_done, &parked] {
    is_done = true;
    parked.cancel();
  };
  post(std::move(work), std::move(done));
  // No slot: a cancelled group must not end this wait.
  auto token = boost::asio::bind_cancellation_slot(
      boost::asio::cancellation_slot(), boost::asio::as_tuple(boost::asio::use_awaitable));
  while (!is_done) co_await parked.async_wait(token);
  if constexpr (!is_void) co_return std::move(*answer);
}

}  // namespace gatehouse::net
