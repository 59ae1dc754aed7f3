#pragma once
// Whether a request is sent again: what its route asks for by `retries`, how long to wait first,
// and the budget that keeps retries from making an overload worse. Pure; the data plane asks, and
// the exchange does it. Retries that are always safe (a stale connection, REFUSED_STREAM) do not
// come here.
//
// What may have had effects is never repeated on a guess. A backend that has answered with a status
// of the route's list is asked again whatever the method. What we find out by ourselves - no
// connection, a reset, a timeout - repeats what surely was not processed, and idempotent methods.

#include <atomic>
#include <cstddef>
#include <string_view>

#include "daemon/base/clock.h"
#include "daemon/base/random.h"
#include "proxy/options.h"
#include "proxy/protocol/exchange.h"

namespace gatehouse::proxy {

/// Which condition of the route covers it; for the counters.
enum class RetryReason : std::uint8_t { kNone, kConnect, kReset, kTimeout, kStatus, kGrpcStatus };
inline constexpr std::size_t kRetryReasons = 6;
std::string_view text_of(RetryReason reason);

/// kNone: it is not to be repeated.
RetryReason reason_to_retry(const Retries& retries, const FailedAttempt& failed);

/// Before the retry of that number, the first being 1: somewhere in [0, 25 ms * 2^(number - 1)),
/// never beyond 250 ms. As Envoy does.
Duration retry_delay(unsigned number, Random& random);

/// The retries of one backend that are under way on all loops. Three may be in any case.
class RetryReserve {
 public:
  static constexpr std::size_t kAlways = 3;

  void begin() { retries_.fetch_add(1, std::memory_order_relaxed); }
  /// Begins one only if fewer than kAlways are under way.
  bool begin_if_few();
  void end() { retries_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  std::atomic<std::size_t> retries_{0};
};

/// How many requests to one backend may be retries at once: a share of the loop's open requests,
/// and whatever the reserve, which is the process's, still has.
class RetryBudget {
 public:
  void begin_request() { ++requests_; }
  void end_request() { --requests_; }
  /// False: it is spent. Else end_retry() follows.
  bool begin_retry(unsigned percent, RetryReserve& reserve);
  void end_retry(RetryReserve& reserve) {
    --retries_;
    reserve.end();
  }

  std::size_t requests() const { return requests_; }
  std::size_t retries() const { return retries_; }

 private:
  std::size_t requests_ = 0, retries_ = 0;
};

}  // namespace gatehouse::proxy
