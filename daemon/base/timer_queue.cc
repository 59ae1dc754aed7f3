#include "daemon/base/timer_queue.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "daemon/base/error.h"

// The wheel. Time is counted in ticks since start_. Level 0 has a slot per tick, a slot of level n
// spans 64^n ticks. A timer is linked on the lowest level whose slot for it lies in the same round
// as tick_, so all of level n is due before any other slot of level n + 1 begins; when tick_
// reaches a slot of a higher level, its timers are linked anew, further down. The top level is a
// ring: it reaches 63 slots ahead, half a year; what is due later waits in the farthest slot and is
// linked anew when that comes up.

namespace gatehouse {

namespace {

constexpr Duration kTick = std::chrono::milliseconds(16);
constexpr int kBits = 6;
constexpr std::uint64_t kMask = 63;
constexpr std::uint16_t kNowhere = 0xffff, kFiring = 0xfffe;

/// Rounded up: a timer is never early.
std::uint64_t tick_of_deadline(SteadyTime start, SteadyTime deadline) {
  if (deadline <= start) return 0;
  const auto since = static_cast<std::uint64_t>((deadline - start).count());
  const auto tick = static_cast<std::uint64_t>(kTick.count());
  return since / tick + (since % tick != 0);
}

std::uint64_t tick_of_now(SteadyTime start, SteadyTime now) {
  return now <= start ? 0 : static_cast<std::uint64_t>((now - start) / kTick);
}

}  // namespace

Timer::Timer(TimerQueue& queue, std::function<void()> on_due)
    : queue_(queue), on_due_(std::move(on_due)) {}

Timer::~Timer() {
  cancel();
  if (queue_.fired_ == this) queue_.fired_ = nullptr;
}

bool Timer::is_armed() const { return is_armed_; }

void Timer::arm(Duration after) {
  const SteadyTime now = queue_.now();
  after = std::max(after, Duration::zero());
  const SteadyTime deadline = after < SteadyTime::max() - now ? now + after : SteadyTime::max();
  const bool is_later = is_armed_ && deadline >= deadline_;
  deadline_ = deadline;
  if (is_later) return;  // The wheel finds out when the old slot comes up.
  if (is_armed_) queue_.unlink(*this);
  queue_.link_and_tell(*this);
}

void Timer::cancel() {
  if (is_armed_) queue_.unlink(*this);
}

TimerQueue::TimerQueue(const Clock& clock)
    : clock_(clock), now_(clock.steady_now()), start_(now_) {}

TimerQueue::~TimerQueue() {
  const bool is_empty = std::all_of(occupied_.begin(), occupied_.end(), [](auto b) { return !b; });
  check(is_empty && !firing_, "an armed timer outlives its queue");
}

void TimerQueue::read_clock() const {
  now_ = std::max(now_, clock_.steady_now());
  is_stale_ = false;
}

TimerQueue::Place TimerQueue::place_of(SteadyTime deadline) const {
  constexpr int kTop = kLevels - 1;
  std::uint64_t tick = std::max(tick_of_deadline(start_, deadline), tick_);
  for (int level = 0; level < kTop; ++level) {
    const int above = kBits * (level + 1);
    if (tick >> above == tick_ >> above)
      return {level, static_cast<int>(tick >> (above - kBits) & kMask)};
  }
  const std::uint64_t here = tick_ >> (kBits * kTop);
  const std::uint64_t wanted = std::min(tick >> (kBits * kTop), here + kSlots - 1);
  return {kTop, static_cast<int>(wanted & kMask)};
}

void TimerQueue::link(Timer& timer) {
  const Place place = place_of(timer.deadline_);
  timer.slot_ = static_cast<std::uint16_t>(place.level * kSlots + place.index);
  timer.is_armed_ = true;
  Timer*& head = slots_[timer.slot_];
  timer.previous_ = nullptr;
  timer.next_ = head;
  if (head) head->previous_ = &timer;
  head = &timer;
  occupied_[static_cast<std::size_t>(place.level)] |= std::uint64_t{1} << place.index;
}

void TimerQueue::link_and_tell(Timer& timer) {
  const auto before = next_slot();
  link(timer);
  if (!tell_earlier_) return;
  const auto after = next_slot();
  if (!before || after->tick < before->tick) tell_earlier_();
}

void TimerQueue::unlink(Timer& timer) {
  Timer*& head = timer.slot_ == kFiring ? firing_ : slots_[timer.slot_];
  (timer.previous_ ? timer.previous_->next_ : head) = timer.next_;
  if (timer.next_) timer.next_->previous_ = timer.previous_;
  if (!head && timer.slot_ != kFiring)
    occupied_[timer.slot_ / kSlots] &= ~(std::uint64_t{1} << timer.slot_ % kSlots);
  timer.previous_ = timer.next_ = nullptr;
  timer.slot_ = kNowhere;
  timer.is_armed_ = false;
}

std::optional<TimerQueue::NextSlot> TimerQueue::next_slot() const {
  std::optional<NextSlot> next;
  for (int level = 0; level < kLevels; ++level) {
    const std::uint64_t bits = occupied_[static_cast<std::size_t>(level)];
    if (!bits) continue;
    const int shift = kBits * level;
    const std::uint64_t here = tick_ >> shift;
    // Only the top level is a ring; below it nothing lies behind `here`.
    const int ahead = std::countr_zero(std::rotr(bits, static_cast<int>(here & kMask)));
    const std::uint64_t tick = std::max(tick_, (here + static_cast<std::uint64_t>(ahead)) << shift);
    // On a tie the higher level goes first: it has to be spread before its ticks are due.
    if (!next || tick <= next->tick) next = NextSlot{tick, level};
  }
  return next;
}

void TimerQueue::spread(int level) {
  const std::uint64_t index = tick_ >> (kBits * level) & kMask;
  Timer* timer = std::exchange(slots_[static_cast<std::size_t>(level) * kSlots + index], nullptr);
  occupied_[static_cast<std::size_t>(level)] &= ~(std::uint64_t{1} << index);
  while (timer) {
    Timer* next = timer->next_;
    link(*timer);
    timer = next;
  }
}

void TimerQueue::fire_slot() {
  const std::uint64_t due = tick_++;
  const std::size_t index = due & kMask;
  firing_ = std::exchange(slots_[index], nullptr);
  occupied_[0] &= ~(std::uint64_t{1} << index);
  for (Timer* timer = firing_; timer; timer = timer->next_) timer->slot_ = kFiring;
  while (Timer* timer = firing_) {
    unlink(*timer);
    if (tick_of_deadline(start_, timer->deadline_) > due) {
      link(*timer);  // It was moved meanwhile.
      continue;
    }
    // The function leaves the timer while it runs, because it may destroy the timer with itself.
    fired_ = timer;
    auto on_due = std::move(timer->on_due_);
    on_due();
    if (fired_ == timer) timer->on_due_ = std::move(on_due);
    fired_ = nullptr;
  }
}

void TimerQueue::fire_due() {
  check(!is_firing_, "fire_due() inside fire_due()");
  is_firing_ = true;
  const std::uint64_t now = tick_of_now(start_, this->now());
  while (const auto next = next_slot()) {
    if (next->tick > now) break;
    tick_ = next->tick;
    if (next->level > 0) {
      spread(next->level);
    } else {
      fire_slot();
    }
  }
  tick_ = std::max(tick_, now + 1);
  is_firing_ = false;
}

std::optional<SteadyTime> TimerQueue::next_wake() const {
  const auto next = next_slot();
  if (!next) return std::nullopt;
  if (next->tick >= static_cast<std::uint64_t>((SteadyTime::max() - start_) / kTick))
    return SteadyTime::max();
  return start_ + static_cast<Duration::rep>(next->tick) * kTick;
}

}  // namespace gatehouse
