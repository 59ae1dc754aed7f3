// Attempts beyond the first: which failures are worth one, what they cost, and how long all may
// take. Part of DataPlane; the exchange makes the attempts.

#include <algorithm>
#include <chrono>

#include "proxy/data_plane.h"
#include "proxy/protocol/grpc.h"

namespace gatehouse::proxy {

RetryMetrics::RetryMetrics(Metrics& metrics) {
  constexpr const char* kMade = "gatehouse_backend_retries_total";
  constexpr const char* kMadeHelp = "Requests sent to a backend once more, by the reason.";
  for (std::size_t i = 0; i < kRetryReasons; ++i) {
    const auto reason = static_cast<RetryReason>(i);
    const std::string text(reason == RetryReason::kNone ? "unprocessed" : text_of(reason));
    made[i] = &metrics.counter(kMade, kMadeHelp, {{"reason", text}});
  }
  constexpr const char* kRefused = "gatehouse_backend_retries_refused_total";
  constexpr const char* kRefusedHelp = "Retries that a route wanted and that were not made.";
  no_attempts = &metrics.counter(kRefused, kRefusedHelp, {{"reason", "attempts"}});
  no_budget = &metrics.counter(kRefused, kRefusedHelp, {{"reason", "budget"}});
  no_body = &metrics.counter(kRefused, kRefusedHelp, {{"reason", "body"}});
}

RetryBudget& DataPlane::budget_of(const Exchange& exchange) {
  return static_cast<View*>(exchange.snapshot.get())->budgets[exchange.target];
}

RetryReserve& DataPlane::reserve_of(const Exchange& exchange) {
  return static_cast<View*>(exchange.snapshot.get())->targets[exchange.target].commons->retries();
}

/// Of a request that goes to a backend: counts it, and says what its attempts may take.
void DataPlane::bound_attempts(Exchange& exchange, ExchangeTimeouts& timeouts) {
  const Route& route = *exchange.route->options;
  const RequestHead& request = exchange.request();
  budget_of(exchange).begin_request();
  exchange.is_counted = true;
  if (request.is_grpc()) {  // Its length is for the client alone to say, and may be days.
    const auto text = request.fields.find(Name::kGrpcTimeout);
    if (const auto limit = text ? parse_grpc_timeout(*text) : std::nullopt)
      timeouts.deadline = std::max<Duration>(*limit, std::chrono::nanoseconds(1));
  } else {
    timeouts.backend_stall = timeouts.stall;
    if (request.upgrade.empty()) timeouts.whole = route.timeout;
  }
  if (!route.retries) return;
  timeouts.per_try = route.retries->per_try;
  timeouts.replay_bytes = limits().replay_bytes;
}

/// What is always safe: a stale connection, or a backend that says it did nothing. Or one of
/// wants_retry(), when its time has come.
void DataPlane::retry(Exchange& exchange) {
  if (!exchange.holds_retry)
    retry_metrics_.made[static_cast<std::size_t>(RetryReason::kNone)]->add();
  send_to_host(exchange);
}

bool DataPlane::wants_retry(Exchange& exchange, const FailedAttempt& failed) {
  const Route* route = exchange.route ? exchange.route->options : nullptr;
  if (!route || !route->retries) return false;
  const Retries& wanted = *route->retries;
  const RetryReason reason = reason_to_retry(wanted, failed);
  if (reason == RetryReason::kNone) return false;
  end_retry(exchange);
  if (exchange.retries >= wanted.attempts) {
    exchange.add_flag(ResponseFlag::kUrx);
    retry_metrics_.no_attempts->add();
    return false;
  }
  if (!exchange.is_replayable()) {
    retry_metrics_.no_body->add();
    return false;
  }
  if (!budget_of(exchange).begin_retry(wanted.budget_percent, reserve_of(exchange))) {
    exchange.add_flag(ResponseFlag::kUo);
    retry_metrics_.no_budget->add();
    return false;
  }
  exchange.holds_retry = true;
  ++exchange.retries;
  exchange.endpoints_failed = 0;
  retry_metrics_.made[static_cast<std::size_t>(reason)]->add();
  if (failed.end == AttemptEnd::kAnswered) exchange.end_attempt(AttemptEnd::kAnswered);
  exchange.try_again(retry_delay(exchange.retries, tools_.random));
  return true;
}

/// Whether a response is dropped for another attempt.
bool DataPlane::drops_response(Exchange& exchange, const ResponseHead& head) {
  const Route* route = exchange.route ? exchange.route->options : nullptr;
  if (!route || !route->retries) return false;
  FailedAttempt answer{AttemptEnd::kAnswered, head.status, -1, true};
  if (exchange.request().is_grpc()) {
    const auto status = head.fields.find(Name::kGrpcStatus);
    if (status) answer.grpc_status = parse_grpc_status(*status);
  }
  if (wants_retry(exchange, answer)) return true;
  end_retry(exchange);  // What goes on to the client is no retry any more.
  return false;
}

void DataPlane::end_retry(Exchange& exchange) {
  if (std::exchange(exchange.holds_retry, false))
    budget_of(exchange).end_retry(reserve_of(exchange));
}

}  // namespace gatehouse::proxy
