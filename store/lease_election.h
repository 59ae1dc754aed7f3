#pragma once
// Who leads, decided as client-go decides it (tools/leaderelection): the pure part of Lease.
// Answers and times in, the next action out; no I/O.
//
// Wall time is only written for people. What decides is steady time: how long ago we ourselves saw
// the record change, and when the request that renewed it was begun. So a clock that is wrong or
// jumps does not matter, and a process that was paused finds that it does not lead any more before
// it does anything. Not fencing by itself: each write under the lease is conditional, too.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/base/random.h"

namespace gatehouse::store {

/// The spec of a coordination.k8s.io/v1 Lease, its times as they are written there.
struct LeaseRecord {
  std::string holder;  // holderIdentity; empty: nobody's
  std::int64_t duration_seconds = 0;
  std::string acquire_time, renew_time;  // MicroTime
  std::int64_t transitions = 0;

  bool operator==(const LeaseRecord&) const = default;
};

/// The record as it was read or written, and the version that the next write must name.
struct LeaseObject {
  LeaseRecord record;
  std::string resource_version;
};

struct LeaseTiming {
  Duration lease = 15s;     // how long others leave us alone after they saw a renewal
  Duration deadline = 10s;  // how long we lead after the last renewal that we began
  Duration retry = 2s;      // between tries
};

/// The next request of a try.
struct LeaseAction {
  enum class Kind : std::uint8_t { kRead, kWrite };
  Kind kind = Kind::kRead;
  LeaseRecord record;            // to be written
  std::string resource_version;  // of the object to be replaced; empty: it is created
};

class LeaseElection {
 public:
  LeaseElection(const Clock& clock, std::string identity, LeaseTiming timing = {});

  /// A try begins: writes optimistically while we lead, else reads.
  LeaseAction begin();
  // The answers. No action: the try is over.
  std::optional<LeaseAction> on_read(const LeaseObject& object);
  std::optional<LeaseAction> on_absent();
  void on_written(const LeaseObject& object);
  /// Read or written in vain. After an optimistic write the try goes on with a read.
  std::optional<LeaseAction> on_failed();

  /// The write that gives the lease back, if it is ours; the next of us need not wait then.
  std::optional<LeaseAction> release();
  void on_released();

  /// By the steady clock, at this moment.
  bool is_leading() const;
  /// When it ends unless it is renewed before; only while leading.
  SteadyTime leads_until() const { return renewed_at_ + timing_.deadline; }
  /// Counts how often we began to lead; what was begun in one term is not finished in another.
  std::uint64_t term() const { return term_; }
  /// With the jitter of client-go before we lead, without after.
  Duration pause(Random& random) const;

  const std::string& identity() const { return identity_; }
  /// As last seen; nothing before the first answer.
  const std::optional<LeaseObject>& observed() const { return observed_; }
  /// When we saw the record change last.
  SteadyTime observed_at() const { return observed_at_; }

 private:
  LeaseAction read();
  LeaseAction write(LeaseRecord record, std::string resource_version);
  LeaseRecord renewed(const LeaseRecord& record) const;
  void observe(const LeaseObject& object);
  /// Somebody holds it, or nobody renewed it since the holder's own duration.
  bool is_taken() const;

  const Clock& clock_;
  const std::string identity_;
  const LeaseTiming timing_;
  std::optional<LeaseObject> observed_;
  SteadyTime observed_at_{};
  SteadyTime asked_at_{};    // when the write that runs was begun
  SteadyTime renewed_at_{};  // when the last successful one was
  bool is_holder_ = false, is_optimistic_ = false;
  std::uint64_t term_ = 0;
};

/// "2026-08-01T12:00:00.000000Z": always six digits, any other number of them is refused.
std::string format_micro_time(WallTime time);

}  // namespace gatehouse::store
