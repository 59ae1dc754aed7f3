#include "proxy/routing/retry_policy.h"

#include <algorithm>
#include <chrono>

namespace gatehouse::proxy {

namespace {

constexpr Duration kFirstDelay = std::chrono::milliseconds(25);
constexpr Duration kDelayMax = std::chrono::milliseconds(250);

bool has(const std::vector<int>& list, int status) {
  return std::find(list.begin(), list.end(), status) != list.end();
}

bool names_status(const Retries& retries, int status) {
  return (retries.on_5xx && status >= 500 && status < 600) || has(retries.on_status, status);
}

}  // namespace

std::string_view text_of(RetryReason reason) {
  switch (reason) {
    case RetryReason::kNone: break;
    case RetryReason::kConnect: return "connect";
    case RetryReason::kReset: return "reset";
    case RetryReason::kTimeout: return "per_try";
    case RetryReason::kStatus: return "status";
    case RetryReason::kGrpcStatus: return "grpc_status";
  }
  return "none";
}

RetryReason reason_to_retry(const Retries& retries, const FailedAttempt& failed) {
  const bool by_status = names_status(retries, failed.status);
  const bool by_grpc = failed.grpc_status >= 0 && has(retries.on_grpc_status, failed.grpc_status);
  if (failed.end == AttemptEnd::kAnswered)
    return by_status ? RetryReason::kStatus
           : by_grpc ? RetryReason::kGrpcStatus
                     : RetryReason::kNone;
  if (failed.may_have_effects) return RetryReason::kNone;
  const bool by_any = by_status || by_grpc;
  switch (failed.end) {
    case AttemptEnd::kConnectFailed:
      return retries.on_connect || by_any ? RetryReason::kConnect : RetryReason::kNone;
    case AttemptEnd::kReset:
    case AttemptEnd::kLost:
    case AttemptEnd::kMalformed:
      return retries.on_reset || by_any ? RetryReason::kReset : RetryReason::kNone;
    case AttemptEnd::kTimeout:
      return retries.on_reset || by_any ? RetryReason::kTimeout : RetryReason::kNone;
    case AttemptEnd::kAnswered:
    case AttemptEnd::kCancelled: break;
  }
  return RetryReason::kNone;
}

Duration retry_delay(unsigned number, Random& random) {
  Duration most = kFirstDelay;
  for (unsigned i = 1; i < number && most < kDelayMax; ++i) most = std::min(most * 2, kDelayMax);
  return Duration(
      static_cast<Duration::rep>(static_cast<double>(most.count()) * random.fraction()));
}

bool RetryReserve::begin_if_few() {
  std::size_t now = retries_.load(std::memory_order_relaxed);
  while (now < kAlways)
    if (retries_.compare_exchange_weak(now, now + 1, std::memory_order_relaxed)) return true;
  return false;
}

bool RetryBudget::begin_retry(unsigned percent, RetryReserve& reserve) {
  if (retries_ < requests_ * percent / 100)
    reserve.begin();
  else if (!reserve.begin_if_few())
    return false;
  ++retries_;
  return true;
}

}  // namespace gatehouse::proxy
