#pragma once
// What the keeper holds per certificate beside its facts. Private to keeper*.cc.

#include <boost/asio/steady_timer.hpp>

#include "acme/keeper.h"

namespace gatehouse::acme {

/// An operator's `renew` that waits. Lives in the waiting coroutine's frame.
struct Keeper::Waiter {
  boost::asio::steady_timer parked;
  std::optional<Result<void>> result;
};

struct Keeper::Entry {
  Entry(TimerQueue& timers, std::function<void()> on_due) : timer(timers, std::move(on_due)) {}

  KeptCertificate kept;
  Timer timer;
  Job next;
  bool is_queued = false;                           // due, but its CA has enough to do
  RunningJob* job = nullptr;                        // the one job of this name
  bool is_dropped = false;                          // goes when its job has ended
  std::optional<ManagedCertificate> changed;        // taken over when its job has ended
  std::optional<store::LoadedCertificate> offered;  // taken when its job has ended
  std::string step, step_ca;
  WallTime step_since{};
  std::optional<SteadyTime> issued_steady;  // the floor, whatever the wall clock says
  std::vector<Waiter*> waiters;
};

struct Keeper::RunningJob {
  RunningJob(net::Loop& loop, std::string given) : tasks(loop), ca(std::move(given)) {}
  net::TaskGroup tasks;
  std::string ca;
  bool is_begun = false, is_over = false;
};

}  // namespace gatehouse::acme
