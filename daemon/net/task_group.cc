#include "daemon/net/task_group.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <list>
#include <utility>

#include "daemon/base/error.h"
#include "daemon/base/timer_queue.h"
#include "daemon/net/loop.h"

namespace gatehouse::net {

namespace asio = boost::asio;

namespace {

struct Task {
  std::string name;
  asio::cancellation_signal cancel;
  bool is_done = false;
};

std::string text_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& exception) {
    return exception.what();
  } catch (...) {
    return "not a std::exception";
  }
}

asio::awaitable<bool> is_cancelled() {
  const auto state = co_await asio::this_coro::cancellation_state;
  co_return state.cancelled() != asio::cancellation_type::none;
}

}  // namespace

// A signal ends the wait of the moment, and only that: a task that goes on to another wait needs
// another signal. So a stopped group repeats it, at the end of some turns at first, then more and
// more rarely: some waits are not to be ended (a job, another group), and the loop must not spin
// for them.
struct TaskGroup::State {
  static constexpr int kSignalsAtOnce = 16;
  static constexpr Duration kFirstPause = std::chrono::milliseconds(50);
  static constexpr Duration kLongestPause = std::chrono::seconds(10);

  explicit State(Loop& given)
      : loop(given),
        joined(given.context(), SteadyTime::max()),
        pause(given.timers(), [this] { post_signal(); }),
        at_turn_end(given, [this] { end_turn(); }) {}

  Loop& loop;
  std::list<Task> tasks;  // A task keeps its place: its frame refers to its signal.
  bool is_any_done = false, is_stopped = false;
  asio::steady_timer joined;  // Parks join(); cancelled when the group is empty.

  int signals_at_once_left = 0;
  bool is_signal_posted = false;
  Timer pause;
  Duration pause_next = kFirstPause;
  std::shared_ptr<const bool> alive = std::make_shared<const bool>(true);
  TurnHook at_turn_end;

  asio::awaitable<void> run(asio::awaitable<void> task) {
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await asio::post(asio::use_awaitable);
    if (is_stopped) co_return;
    co_await std::move(task);
  }

  void end_turn() {
    if (std::exchange(is_any_done, false)) {
      tasks.remove_if([](const Task& task) { return task.is_done; });
      if (tasks.empty()) {
        joined.cancel();
        pause.cancel();
      }
    }
    if (!is_stopped || tasks.empty() || is_signal_posted || pause.is_armed()) return;
    if (signals_at_once_left > 0) {
      --signals_at_once_left;
      post_signal();
    } else {
      pause.arm(pause_next);
      pause_next = std::min(pause_next * 2, kLongestPause);
    }
  }

  /// Emits from a handler of the context: Asio then passes the signal on at once, and does not keep
  /// a reference to it for later.
  void post_signal() {
    if (std::exchange(is_signal_posted, true)) return;
    asio::post(loop.context(), [this, still = std::weak_ptr<const bool>(alive)] {
      if (still.expired()) return;
      is_signal_posted = false;
      for (Task& task : tasks)
        if (!task.is_done) task.cancel.emit(asio::cancellation_type::terminal);
    });
  }
};

TaskGroup::TaskGroup(Loop& loop) : state_(std::make_unique<State>(loop)) {}

TaskGroup::~TaskGroup() {
  for (const Task& task : state_->tasks)
    check(task.is_done, "a task group goes before its task " + task.name);
}

void TaskGroup::start(std::string name, asio::awaitable<void> task) {
  if (state_->is_stopped) return;
  Task& entry = state_->tasks.emplace_back();
  entry.name = std::move(name);
  auto on_done = [state = state_.get(), &entry](const std::exception_ptr& thrown) {
    if (thrown) check_failed("task " + entry.name + " leaks an exception: " + text_of(thrown));
    // Asio may still hold on to the signal in this call: the entry goes at the end of the turn.
    entry.is_done = state->is_any_done = true;
  };
  asio::co_spawn(state_->loop.context(), state_->run(std::move(task)),
                 asio::bind_cancellation_slot(entry.cancel.slot(), std::move(on_done)));
}

void TaskGroup::stop() {
  state_->is_stopped = true;
  state_->signals_at_once_left = State::kSignalsAtOnce;
  state_->post_signal();
}

asio::awaitable<void> TaskGroup::join() {
  auto token =
      asio::bind_cancellation_slot(asio::cancellation_slot(), asio::as_tuple(asio::use_awaitable));
  while (!is_empty()) co_await state_->joined.async_wait(token);
}

bool TaskGroup::is_empty() const { return state_->tasks.empty(); }
bool TaskGroup::is_stopped() const { return state_->is_stopped; }

asio::awaitable<bool> sleep_for(Loop& loop, Duration duration) {
  const bool is_too_late = co_await is_cancelled();
  if (is_too_late) co_return false;
  asio::steady_timer parked(loop.context(), SteadyTime::max());
  bool is_due = false;
  Timer timer(loop.timers(), [&is_due, &parked] {
    is_due = true;
    parked.cancel();
  });
  timer.arm(duration);
  co_await parked.async_wait(asio::as_tuple(asio::use_awaitable));
  co_return is_due;
}

}  // namespace gatehouse::net
