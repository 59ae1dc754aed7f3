#pragma once
// Deadlines, from milliseconds to years, for thousands of connections: a hierarchical timing wheel.
// Arming, re-arming and cancelling are O(1) without allocation; nothing wakes up while no timer is
// due. Precision is one tick (16 ms), never early. No I/O: the loop asks next_wake() and calls
// fire_due(). One queue per loop, not thread-safe.

#include <array>
#include <cstdint>
#include <functional>
#include <optional>

#include "daemon/base/clock.h"

namespace gatehouse {

class TimerQueue;

/// One deadline. Owned by whoever waits; destroyed means cancelled. Not movable: it is linked.
class Timer {
 public:
  /// `on_due` runs from TimerQueue::fire_due(); it may re-arm or destroy this timer.
  Timer(TimerQueue& queue, std::function<void()> on_due);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  /// (Re-)arms: due once, `after` from now (the queue's cached now()). Moving a deadline later
  /// costs a store; the wheel finds out when the old slot comes up.
  void arm(Duration after);
  void cancel();
  bool is_armed() const;

 private:
  friend class TimerQueue;
  TimerQueue& queue_;
  std::function<void()> on_due_;
  SteadyTime deadline_{};
  Timer* previous_ = nullptr;
  Timer* next_ = nullptr;
  bool is_armed_ = false;
  std::uint16_t slot_ = 0xffff;  // where it is linked: level * 64 + index; 0xffff: nowhere
};

class TimerQueue {
 public:
  explicit TimerQueue(const Clock& clock);
  ~TimerQueue();

  /// The time of the current turn. One clock reading per turn: refresh() at its start.
  SteadyTime now() const {
    if (is_stale_) [[unlikely]]
      read_clock();
    return now_;
  }
  void refresh() { read_clock(); }
  /// The loop is about to sleep: the first now() behind it reads the clock.
  void forget_now() { is_stale_ = true; }

  /// Runs what is due at now(). Safe against timers that are armed or destroyed meanwhile.
  void fire_due();
  /// When fire_due() should be called next; nothing when no timer is armed. May be early (a slot
  /// of a coarser level has to be spread), never late.
  std::optional<SteadyTime> next_wake() const;
  /// Called when next_wake() became earlier than it was: the loop re-arms its own timer.
  void on_earlier(std::function<void()> tell) { tell_earlier_ = std::move(tell); }

 private:
  friend class Timer;
  static constexpr int kLevels = 5, kSlots = 64;
  struct Place {
    int level, index;
  };
  struct NextSlot {
    std::uint64_t tick;
    int level;
  };

  void read_clock() const;
  Place place_of(SteadyTime deadline) const;
  void link(Timer& timer);
  void link_and_tell(Timer& timer);
  void unlink(Timer& timer);
  std::optional<NextSlot> next_slot() const;
  void spread(int level);  // links the timers of the slot that tick_ has reached further down
  void fire_slot();        // fires the slot of tick_ on level 0, and steps over it

  const Clock& clock_;
  mutable SteadyTime now_{};
  mutable bool is_stale_ = false;
  SteadyTime start_{};
  std::function<void()> tell_earlier_;
  std::uint64_t tick_ = 0;   // all slots before it are done
  Timer* firing_ = nullptr;  // taken from their slot, about to fire
  Timer* fired_ = nullptr;   // whose function runs; null when it was destroyed by that
  bool is_firing_ = false;
  std::array<Timer*, kLevels * kSlots> slots_{};
  std::array<std::uint64_t, kLevels> occupied_{};  // a bit per slot
};

}  // namespace gatehouse
