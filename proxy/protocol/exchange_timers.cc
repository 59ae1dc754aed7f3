// The timers of an exchange (DESIGN.md "Timers"). One timer looks at all conditions; it is armed
// for the earliest that could come true, and moving it later is one store (see TimerQueue). What
// arm_timer() considers is what on_timer() acts on: a condition that is overdue but does not count
// now would make the timer run again and again.

#include <algorithm>
#include <chrono>

#include "proxy/protocol/exchange.h"
#include "proxy/protocol/grpc.h"

namespace gatehouse::proxy {

void Exchange::arm_timer() {
  if (is_tunnel_) return arm_tunnel_timer();
  const SteadyTime now = timers_.now();
  Duration after = Duration::max();
  const auto consider = [&](Duration limit, SteadyTime since) {
    if (limit > Duration::zero())
      after =
          std::min(after, std::max<Duration>(limit - (now - since), std::chrono::milliseconds(1)));
  };
  const bool client_must_take = response_untaken_ > 0;
  if (phase_ != Phase::kReplied && !has_request_ended_) {
    if (timeouts_.body_rate != 0 && phase_ != Phase::kResponding)
      consider(timeouts_.body_period, last_judged_);
    if (phase_ == Phase::kForwarding)
      consider(timeouts_.backend_stall, request_untaken_ > 0 ? last_request_progress_ : now);
  } else if (phase_ != Phase::kReplied && !has_response_ended_) {
    consider(timeouts_.response, client_must_take ? now : last_response_progress_);
    consider(timeouts_.whole, request_ended_);
    if (is_before_head() && !is_backing_off_)
      consider(timeouts_.per_try, std::max(attempt_started_, request_ended_));
  }
  if (phase_ != Phase::kReplied && !has_response_ended_) consider(timeouts_.deadline, started_);
  if (is_backing_off_)
    after = std::min(after, std::max<Duration>(retry_at_ - now, std::chrono::milliseconds(1)));
  if (client_must_take || phase_ == Phase::kResponding || phase_ == Phase::kReplied)
    consider(timeouts_.stall, client_must_take ? last_response_progress_ : now);
  if (phase_ == Phase::kDone || after == Duration::max()) {
    timer_.cancel();
  } else {
    timer_.arm(after);
  }
}

void Exchange::on_timer() {
  if (is_tunnel_) return on_tunnel_timer();
  const SteadyTime now = timers_.now();
  const bool client_must_take = response_untaken_ > 0;
  if (client_must_take && timeouts_.stall > Duration::zero() &&
      now - last_response_progress_ >= timeouts_.stall) {
    // A reader that takes nothing.
    flags_.add(ResponseFlag::kSi);
    detail_ = "stream_idle_timeout";
    drop_backend(Reset::kCancel);
    if (auto* frontend = host_.frontend_of(*this))
      frontend->reset(frontend_stream_, Reset::kTimeout);
    return;
  }
  if (phase_ == Phase::kReplied) return arm_timer();
  if (is_overdue(now)) return;
  if (is_backing_off_ && now >= retry_at_) {
    is_backing_off_ = false;
    attempt_started_ = now;
    host_.retry(*this);
    if (phase_ == Phase::kWaiting) arm_timer();
    return;
  }
  if (!has_request_ended_ && request_untaken_ == 0 && timeouts_.body_rate != 0 &&
      phase_ != Phase::kResponding && now - last_judged_ >= timeouts_.body_period) {
    const auto seconds = std::chrono::duration<double>(now - last_judged_).count();
    const auto came = static_cast<double>(request_bytes_ - judged_request_bytes_);
    if (came < static_cast<double>(timeouts_.body_rate) * seconds)
      return reply(408, ResponseFlag::kNone, "request_body_too_slow");
  }
  if (now - last_judged_ >= timeouts_.body_period) {
    last_judged_ = now;
    judged_request_bytes_ = request_bytes_;
  }
  if (!has_request_ended_ && request_untaken_ > 0 && phase_ == Phase::kForwarding &&
      timeouts_.backend_stall > Duration::zero() &&
      now - last_request_progress_ >= timeouts_.backend_stall) {
    end_attempt(AttemptEnd::kTimeout);
    return reply(504, ResponseFlag::kUt, "backend_takes_nothing");
  }
  if (has_request_ended_ && timeouts_.response > Duration::zero() && !client_must_take &&
      now - last_response_progress_ >= timeouts_.response) {
    end_attempt(AttemptEnd::kTimeout);
    if (!has_response_ended_) return end_with({504, ResponseFlag::kUt, "response_timeout"});
  }
  arm_timer();
}

/// The route's timeout, the client's deadline, the time of one attempt.
bool Exchange::is_overdue(SteadyTime now) {
  if (has_response_ended_) return false;
  const auto has_passed = [&](Duration limit, SteadyTime since) {
    return limit > Duration::zero() && now - since >= limit;
  };
  if (has_passed(timeouts_.deadline, started_)) {
    end_with({504, ResponseFlag::kUt, "grpc_deadline_exceeded",
              code_of(GrpcStatus::kDeadlineExceeded), Reset::kTimeout});
    return true;
  }
  if (!has_request_ended_) return false;
  if (has_passed(timeouts_.whole, request_ended_)) {
    end_attempt(AttemptEnd::kTimeout);
    end_with({504, ResponseFlag::kUt, "route_timeout"});
    return true;
  }
  if (!is_before_head() || is_backing_off_ ||
      !has_passed(timeouts_.per_try, std::max(attempt_started_, request_ended_)))
    return false;
  const bool may_have_effects = phase_ == Phase::kForwarding && !is_idempotent();
  end_attempt(AttemptEnd::kTimeout);
  const int grpc_status = request_.is_grpc() ? code_of(GrpcStatus::kUnavailable) : -1;
  if (!host_.wants_retry(*this, {AttemptEnd::kTimeout, 504, grpc_status, may_have_effects}))
    end_with({504, ResponseFlag::kUt, "per_try_timeout"});
  return true;
}

}  // namespace gatehouse::proxy
