// The tunnel that an exchange becomes with a 101: see upgrade.h. DESIGN.md "Timers": no timer of a
// response applies to it, so it may be silent for days; but what one side sends, the other has to
// take, and a side whose peer has ended may not stay alone.

#include <algorithm>
#include <utility>

#include "proxy/protocol/exchange.h"
#include "proxy/protocol/upgrade.h"

namespace gatehouse::proxy {

/// An answer other than 101 that an HTTP/2 client would take for its tunnel (RFC 8441 section 5).
bool Exchange::would_open_tunnel(int status) const {
  return is_upgrade() && request_.version == HttpVersion::kHttp2 && status >= 200 && status < 300;
}

void Exchange::open_tunnel(ResponseHead& head) {
  check(is_upgrade(), "a switch of protocols that nobody asked for");
  phase_ = Phase::kResponding;
  is_tunnel_ = true;
  status_ = request_.version == HttpVersion::kHttp2 ? 200 : 101;  // What the client sees.
  last_request_progress_ = last_response_progress_ = timers_.now();
  backend_time_ = last_response_progress_ - started_;
  has_request_ended_ = has_request_sent_end_ = false;
  timeouts_.replay_bytes = 0;
  timer_.cancel();
  ServerSession* frontend = host_.frontend_of(*this);
  ClientSession* backend = host_.backend_of(*this);
  if (!frontend || !backend) return;  // Either will say that it is gone.
  frontend->send_response(frontend_stream_, head, false);
  send_pending(*backend);
  if (has_client_ended_) on_request_end(nullptr);
  arm_tunnel_timer();
}

/// The backend has ended its side; the client may go on.
void Exchange::on_tunnel_end() {
  if (std::exchange(has_response_ended_, true)) return;
  last_response_progress_ = timers_.now();
  if (auto* frontend = host_.frontend_of(*this)) frontend->send_end(frontend_stream_, nullptr);
  arm_tunnel_timer();
}

/// Whatever the backend's end was, what it has sent before still reaches the client: its close
/// frame above all. Without one the client knows that the end was none.
void Exchange::fail_tunnel(ResponseFlag flag, std::string_view detail) {
  if (is_client_gone_) return finish();
  if (!has_response_ended_) {
    flags_.add(flag);
    detail_ = detail;
  }
  ServerSession* frontend = host_.frontend_of(*this);
  if (frontend && request_untaken_ > 0)
    frontend->acknowledge(frontend_stream_, std::exchange(request_untaken_, 0));
  on_tunnel_end();
}

/// The client's stream is over in both directions. Its last bytes may not be with the backend yet.
void Exchange::close_tunnel() {
  is_client_gone_ = true;
  if (!backend_ || request_untaken_ == 0) return finish();
  last_request_progress_ = timers_.now();
  arm_tunnel_timer();
}

/// Since when somebody is waited for; nothing: nobody is.
std::optional<SteadyTime> Exchange::tunnel_waits_since() const {
  std::optional<SteadyTime> since;
  if (has_request_ended_ || has_response_ended_)  // The other side is alone.
    since = std::max(last_request_progress_, last_response_progress_);
  if (response_untaken_ > 0)
    since = std::min(since.value_or(last_response_progress_), last_response_progress_);
  if (request_untaken_ > 0)
    since = std::min(since.value_or(last_request_progress_), last_request_progress_);
  return since;
}

/// A timer that runs finds out by itself that it came too early.
void Exchange::arm_tunnel_timer() {
  if (timeouts_.stall > Duration::zero() && !timer_.is_armed() && tunnel_waits_since())
    timer_.arm(timeouts_.stall);
}

void Exchange::on_tunnel_timer() {
  const auto since = tunnel_waits_since();
  if (!since) return;
  const SteadyTime now = timers_.now();
  const auto is_over = [&](SteadyTime start) { return now - start >= timeouts_.stall; };
  if (!is_over(*since))
    return timer_.arm(
        std::max<Duration>(timeouts_.stall - (now - *since), std::chrono::milliseconds(1)));
  const bool client_stalls = response_untaken_ > 0 && is_over(last_response_progress_);
  const bool backend_stalls = request_untaken_ > 0 && is_over(last_request_progress_);
  if (client_stalls) {
    flags_.add(ResponseFlag::kSi);
    detail_ = "stream_idle_timeout";
  } else if (backend_stalls) {
    flags_.add(ResponseFlag::kUt);
    detail_ = "backend_takes_nothing";
    end_attempt(AttemptEnd::kTimeout);
  }
  drop_backend(Reset::kCancel);
  if (is_client_gone_) return finish();
  if (auto* frontend = host_.frontend_of(*this)) frontend->reset(frontend_stream_, Reset::kTimeout);
}

}  // namespace gatehouse::proxy
