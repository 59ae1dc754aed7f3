#include "daemon/net/loop.h"

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/base/error.h"

namespace gatehouse::net {

namespace asio = boost::asio;

struct Loop::Hook {
  std::function<void()> run;
  bool is_gone = false;  // its owner is; it is dropped once no hook runs
};

struct Loop::State {
  /// Handlers of one turn. What is ready beyond them waits for the next turn, so that handlers
  /// which keep each other busy cannot keep the hooks from running.
  static constexpr int kHandlersPerTurn = 256;

  explicit State(const Clock& given) : clock(given), timers(given) {}

  const Clock& clock;
  TimerQueue timers;  // Outlives the context: handlers that die with it may own timers.
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  asio::steady_timer alarm{context};
  std::optional<SteadyTime> alarm_at;  // when `alarm` wakes us
  std::atomic<bool> is_stopping = false;

  std::vector<std::unique_ptr<Hook>> hooks;
  bool is_turn_end_due = false;  // handlers run, and the hooks will

  std::mutex posting;
  std::vector<std::function<void()>> posted;  // guarded by `posting`
  bool is_woken = false;                      // guarded by `posting`: an empty handler is due

  void nudge();
  void set_alarm();
  int run_posted();
  int turn();
  void run_hooks();
};

/// Makes a blocked loop begin a turn. With `posting` held.
void Loop::State::nudge() {
  if (std::exchange(is_woken, true)) return;
  asio::post(context, [this] {
    const std::lock_guard lock(posting);
    is_woken = false;
  });
}

void Loop::State::set_alarm() {
  const auto wake_at = timers.next_wake();
  // An alarm that comes too early costs one empty turn, less than moving it each time.
  if (!wake_at || (alarm_at && *alarm_at <= *wake_at)) return;
  alarm_at = wake_at;
  alarm.expires_at(*wake_at);
  alarm.async_wait([this](boost::system::error_code error) {
    if (!error) alarm_at.reset();
  });
}

int Loop::State::run_posted() {
  std::vector<std::function<void()>> due;
  {
    const std::lock_guard lock(posting);
    due.swap(posted);
  }
  for (auto& function : due) function();
  return static_cast<int>(due.size());
}

/// What is ready, and then the hooks. Returns how many handlers there were.
int Loop::State::turn() {
  is_turn_end_due = true;
  timers.fire_due();
  int handled = run_posted();
  while (handled < kHandlersPerTurn && context.poll_one() > 0) ++handled;
  run_hooks();
  // A thread may have posted after run_posted(), and its nudge have come up in this very turn.
  const std::lock_guard lock(posting);
  if (!posted.empty()) nudge();
  return handled;
}

void Loop::State::run_hooks() {
  is_turn_end_due = false;
  bool is_any_gone = false;
  for (std::size_t i = 0; i < hooks.size(); ++i) {  // A hook may add hooks.
    if (!hooks[i]->is_gone) hooks[i]->run();
    is_any_gone |= hooks[i]->is_gone;
  }
  if (is_any_gone) std::erase_if(hooks, [](const auto& hook) { return hook->is_gone; });
}

Loop::Loop(const Clock& clock) : state_(std::make_unique<State>(clock)) {}
Loop::~Loop() = default;

asio::io_context& Loop::context() { return state_->context; }
TimerQueue& Loop::timers() { return state_->timers; }
const Clock& Loop::clock() const { return state_->clock; }

void Loop::run() {
  while (!state_->is_stopping.exchange(false)) {
    state_->set_alarm();
    state_->timers.forget_now();
    state_->is_turn_end_due = true;
    state_->context.run_one();
    state_->turn();
  }
}

void Loop::stop() {
  state_->is_stopping = true;
  const std::lock_guard lock(state_->posting);
  state_->nudge();
}

void Loop::post(std::function<void()> function) {
  const std::lock_guard lock(state_->posting);
  state_->posted.push_back(std::move(function));
  state_->nudge();
}

void Loop::at_turn_end(std::function<void()> hook) {
  state_->hooks.push_back(std::make_unique<Hook>(Hook{std::move(hook)}));
}

void Loop::wake() {
  if (state_->is_turn_end_due) return;
  const std::lock_guard lock(state_->posting);
  state_->nudge();
}

void Loop::run_ready() {
  // A turn without handlers may still leave work: a timer's or a hook's doing. Two are the end.
  for (int idle = 0; idle < 2;) {
    state_->timers.refresh();
    idle = state_->turn() > 0 ? 0 : idle + 1;
  }
}

TurnHook::TurnHook(Loop& loop, std::function<void()> hook)
    : hook_(*loop.state_->hooks.emplace_back(
          std::make_unique<Loop::Hook>(Loop::Hook{std::move(hook)}))) {}

TurnHook::~TurnHook() { hook_.is_gone = true; }

}  // namespace gatehouse::net
