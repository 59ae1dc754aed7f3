#include "proxy/protocol/exchange.h"

#include <algorithm>
#include <utility>

#include "proxy/protocol/grpc.h"
#include "proxy/protocol/local_reply.h"

namespace gatehouse::proxy {

namespace {
constexpr unsigned kAttemptsMax = 3;
constexpr int kStatusNone = 0;
constexpr std::uint64_t kSmallBody = 16 * 1024;  // no stall worth a timer: one write takes it

AttemptEnd end_of(Reset reason) {
  return reason == Reset::kProtocol         ? AttemptEnd::kMalformed
         : reason == Reset::kConnectionLost ? AttemptEnd::kLost
                                            : AttemptEnd::kReset;
}

ResponseFlag flag_of(Reset reason) {
  return reason == Reset::kProtocol         ? ResponseFlag::kUpe
         : reason == Reset::kConnectionLost ? ResponseFlag::kUc
                                            : ResponseFlag::kUr;
}

/// How a response that began is reset towards the client. gRPC clients look at the code, so that
/// what their server meant is passed on.
Reset reset_towards_client(Reset reason, bool is_grpc) {
  const bool is_meant = reason == Reset::kCancel || reason == Reset::kCalm;
  return is_grpc && is_meant ? reason : Reset::kInternal;
}
}  // namespace

Exchange::Exchange(ExchangeHost& host, TimerQueue& timers)
    : host_(host), timers_(timers), timer_(timers, [this] { on_timer(); }) {}

void Exchange::begin(FrontendId frontend, StreamId stream, RequestHead& head, bool ended) {
  frontend_ = frontend;
  frontend_stream_ = stream;
  request_.swap(head);
  has_request_ended_ = ended;
  phase_ = Phase::kRouting;
  started_ = last_request_progress_ = last_response_progress_ = last_judged_ = timers_.now();
  request_ended_ = started_;
}

void Exchange::recycle() {
  timer_.cancel();
  request_.clear();
  request_trailers_.reset();
  pending_body_.clear();
  sent_body_.clear();
  backend_ = {};
  pool = {};
  backend_stream_ = 0;
  has_request_ended_ = has_request_sent_end_ = has_response_ended_ = is_backend_reused_ = false;
  is_attempt_open_ = is_backing_off_ = is_replay_lost_ = false;
  is_tunnel_ = has_client_ended_ = is_client_gone_ = false;
  attempts_ = 0;
  status_ = kStatusNone;
  flags_ = {};
  detail_ = {};
  timeouts_ = {};
  request_bytes_ = request_sent_bytes_ = response_bytes_ = 0;
  request_untaken_ = response_untaken_ = judged_request_bytes_ = acknowledged_before_ = 0;
  backend_time_.reset();
  snapshot = {};
  route = nullptr;
  endpoints_failed = 0;
  retries = 0;
  is_counted = holds_retry = false;
  wish = {};
  original_path.clear();
  original_authority.clear();
  endpoint.clear();
}

void Exchange::go_to_backend(const ExchangeTimeouts& timeouts) {
  timeouts_ = timeouts;
  phase_ = Phase::kWaiting;
  attempt_started_ = timers_.now();
  if (is_upgrade()) {  // Its head is the request; what comes behind it is for the tunnel.
    has_client_ended_ = has_request_ended_ && request_.version == HttpVersion::kHttp2;
    has_request_ended_ = true;
    request_ended_ = attempt_started_;
  }
  if (timeouts_.replay_bytes > 0 && request_.content_length.value_or(0) > timeouts_.replay_bytes)
    is_replay_lost_ = true;  // Nothing of it is worth keeping.
  // The connect timeout bounds the wait for a stream; these may be shorter.
  const bool is_bounded = timeouts_.per_try > Duration::zero() ||
                          timeouts_.whole > Duration::zero() ||
                          timeouts_.deadline > Duration::zero();
  if (!has_request_ended_ || is_bounded) arm_timer();
}

void Exchange::try_again(Duration after) {
  check(is_before_head() && is_replayable(), "another attempt that cannot be made");
  if (phase_ == Phase::kWaiting) host_.leave_queue(*this);
  drop_backend(Reset::kCancel);
  end_attempt(AttemptEnd::kCancelled);
  rewind();
  is_backing_off_ = true;
  last_response_progress_ = timers_.now();
  retry_at_ = last_response_progress_ + after;
  if (timeouts_.deadline > Duration::zero()) {  // The next one has less time.
    const Duration left = timeouts_.deadline - (retry_at_ - started_);
    request_.fields.set(Name::kGrpcTimeout, format_grpc_timeout(left));
  }
  arm_timer();
}

/// All that was sent comes before what was not.
void Exchange::rewind() {
  phase_ = Phase::kWaiting;
  has_request_sent_end_ = false;
  sent_body_.append(std::move(pending_body_));
  pending_body_ = std::move(sent_body_);
  request_sent_bytes_ = 0;
  acknowledged_before_ = request_bytes_ - request_untaken_;
}

void Exchange::keep_for_replay(std::string_view bytes) {
  if (timeouts_.replay_bytes == 0 || is_replay_lost_) return;
  if (sent_body_.size() + bytes.size() > timeouts_.replay_bytes) return forget_replay();
  sent_body_.append(bytes);
}

void Exchange::forget_replay() {
  is_replay_lost_ = true;
  sent_body_.clear();
}

// ---- our own answers ------------------------------------------------------------------------

void Exchange::reply(ResponseHead& head, std::string_view body) {
  check(phase_ != Phase::kResponding && phase_ != Phase::kDone, "a reply after the response began");
  if (would_open_tunnel(head.status)) return reply(403, ResponseFlag::kNone, "upgrade_failed");
  if (phase_ == Phase::kWaiting) host_.leave_queue(*this);
  drop_backend(Reset::kCancel);
  end_attempt(AttemptEnd::kCancelled);
  phase_ = Phase::kReplied;
  is_backing_off_ = false;
  last_response_progress_ = timers_.now();  // From now on the client has something to take.
  status_ = head.status;
  pending_body_.clear();
  forget_replay();
  ServerSession* frontend = host_.frontend_of(*this);
  if (!frontend) return;
  const bool has_body = !body.empty() && !never_has_body(request_.method, head.status);
  has_response_ended_ = true;
  if (request_untaken_ > 0) {  // What was buffered for a backend is dropped: give the credit back.
    frontend->acknowledge(frontend_stream_, std::exchange(request_untaken_, 0));
  }
  host_.on_own_response(*this, head);
  frontend->send_response(frontend_stream_, head, !has_body);
  if (has_body) {
    response_untaken_ += body.size();
    frontend->send_body(frontend_stream_, body);
    frontend->send_end(frontend_stream_, nullptr);
  }
  arm_timer();
}

void Exchange::reply(int status, ResponseFlag flag, std::string_view detail,
                     std::string_view body) {
  flags_.add(flag);
  detail_ = detail;
  LocalReply own = make_local_reply(status, body, request_.is_grpc() && !is_upgrade());
  reply(own.head, own.body);
}

void Exchange::reply_with(const Ending& ending) {
  if (ending.grpc_status < 0 || !request_.is_grpc())
    return reply(ending.status, ending.flag, ending.detail);
  flags_.add(ending.flag);
  detail_ = ending.detail;
  LocalReply own = make_grpc_reply(ending.grpc_status, ending.detail);
  reply(own.head, own.body);
}

// ---- the frontend stream --------------------------------------------------------------------

void Exchange::on_request_body(std::string_view bytes) {
  request_bytes_ += bytes.size();
  last_request_progress_ = timers_.now();
  const bool is_unwanted = is_tunnel_ ? !backend_ : has_response_ended_;
  if (phase_ == Phase::kReplied || phase_ == Phase::kDone || is_unwanted) {
    if (auto* frontend = host_.frontend_of(*this))
      frontend->acknowledge(frontend_stream_, bytes.size());
    return;
  }
  request_untaken_ += bytes.size();
  if (timeouts_.body_bytes != 0 && request_bytes_ > timeouts_.body_bytes) {
    return end_with({413, ResponseFlag::kNone, "request_payload_too_large"});
  }
  ClientSession* backend = host_.backend_of(*this);
  if (!backend || (is_upgrade() && !is_tunnel_)) {
    pending_body_.append(bytes);
    return;
  }
  request_sent_bytes_ += bytes.size();
  keep_for_replay(bytes);
  backend->send_body(backend_stream_, bytes);
  if (is_tunnel_) arm_tunnel_timer();
}

void Exchange::on_request_end(const Fields* trailers) {
  has_request_ended_ = true;
  last_request_progress_ = last_response_progress_ = timers_.now();
  if (phase_ == Phase::kReplied || phase_ == Phase::kDone) return;
  if (has_response_ended_ && !is_tunnel_) return;
  if (is_upgrade() && !is_tunnel_) {
    has_client_ended_ = true;
    return;
  }
  request_ended_ = last_request_progress_;
  if (trailers && !trailers->empty()) request_trailers_ = std::make_unique<Fields>(*trailers);
  if (ClientSession* backend = host_.backend_of(*this)) {
    has_request_sent_end_ = true;
    backend->send_end(backend_stream_, request_trailers_.get());
  }
  arm_timer();
}

void Exchange::on_response_taken(std::size_t bytes) {
  response_bytes_ += bytes;
  response_untaken_ -= std::min<std::uint64_t>(bytes, response_untaken_);
  last_response_progress_ = timers_.now();
  if (phase_ != Phase::kResponding) return;
  if (ClientSession* backend = host_.backend_of(*this))
    backend->acknowledge(backend_stream_, bytes);
}

void Exchange::on_closed(Reset reason) {
  if (phase_ == Phase::kDone) return;
  if (is_tunnel_ && has_request_ended_ && reason == Reset::kNone) return close_tunnel();
  if (phase_ == Phase::kWaiting) host_.leave_queue(*this);
  const bool is_violation = reason == Reset::kProtocol || reason == Reset::kOverflow;
  const bool is_fine = reason == Reset::kNone || (is_tunnel_ && has_response_ended_);
  if (!is_fine && !flags_.any()) flags_.add(is_violation ? ResponseFlag::kDpe : ResponseFlag::kDc);
  // HTTP/1.1 has answered a malformed body by itself; HTTP/2 has reset the stream.
  if (is_violation && status_ == kStatusNone && request_.version != HttpVersion::kHttp2)
    status_ = reason == Reset::kOverflow ? 431 : 400;
  drop_backend(Reset::kCancel);
  finish();
}

// ---- the backend stream ---------------------------------------------------------------------

void Exchange::on_assigned(BackendId backend, ClientSession& session, bool is_reused) {
  check(phase_ == Phase::kWaiting, "a backend stream for an exchange that waits for none");
  phase_ = Phase::kForwarding;
  if (is_upgrade() && !session.takes_upgrades())
    return reply(502, ResponseFlag::kUpe, "no_extended_connect");
  backend_ = backend;
  is_backend_reused_ = is_reused;
  ++attempts_;
  const bool whole =
      is_upgrade() || (has_request_ended_ && pending_body_.empty() && !request_trailers_);
  backend_stream_ = session.send_request(request_, whole, id_.packed());
  last_response_progress_ = timers_.now();
  if (whole) {
    has_request_sent_end_ = true;
  } else {
    send_pending(session);
  }
  if (has_request_ended_) arm_timer();
}

void Exchange::send_pending(ClientSession& session) {
  request_sent_bytes_ += pending_body_.size();
  while (!pending_body_.empty()) {
    const std::string_view piece = pending_body_.front();
    keep_for_replay(piece);
    session.send_body(backend_stream_, piece);
    pending_body_.consume(piece.size());
  }
  if (has_request_ended_) {
    has_request_sent_end_ = true;
    session.send_end(backend_stream_, request_trailers_.get());
  }
}

void Exchange::on_interim(ResponseHead& head) {
  if (phase_ != Phase::kForwarding) return;
  last_response_progress_ = timers_.now();
  if (auto* frontend = host_.frontend_of(*this)) frontend->send_interim(frontend_stream_, head);
}

void Exchange::on_response(ResponseHead& head, bool ended) {
  if (phase_ != Phase::kForwarding) return;
  if (ended) backend_ = {};  // on_response_end() follows, and there is nothing left to reset.
  if (!host_.on_response_head(*this, head)) return;
  if (head.status == 101) return open_tunnel(head);
  if (would_open_tunnel(head.status)) return reply(502, ResponseFlag::kUpe, "upgrade_ignored");
  phase_ = Phase::kResponding;
  if (timeouts_.replay_bytes > 0) forget_replay();
  status_ = head.status;
  last_response_progress_ = timers_.now();
  backend_time_ = last_response_progress_ - started_;
  if (const auto type = head.fields.find(Name::kContentType);
      type && type->starts_with("text/event-stream"))
    timeouts_.response = Duration::zero();
  has_response_ended_ = ended;
  if (auto* frontend = host_.frontend_of(*this))
    frontend->send_response(frontend_stream_, head, ended);
  // One write takes a small body, and for a client that takes nothing there is the timer that
  // waited for this head. Where none did, as with gRPC, this is the only one.
  const bool is_small = head.content_length.value_or(kSmallBody + 1) <= kSmallBody;
  if (!ended && (!is_small || timeouts_.response <= Duration::zero())) arm_timer();
}

void Exchange::on_response_body(std::string_view bytes) {
  if (phase_ != Phase::kResponding) return;
  last_response_progress_ = timers_.now();
  ServerSession* frontend = host_.frontend_of(*this);
  if (!frontend) return;
  response_untaken_ += bytes.size();
  frontend->send_body(frontend_stream_, bytes);
  if (is_tunnel_) arm_tunnel_timer();
}

void Exchange::on_response_end(const Fields* trailers) {
  end_attempt(AttemptEnd::kAnswered);
  if (is_tunnel_) return on_tunnel_end();
  // The last event of the backend stream: it is gone now, and with it the request that is not
  // wanted any more.
  backend_ = {};
  if (phase_ != Phase::kResponding) return;
  ServerSession* frontend = host_.frontend_of(*this);
  if (!frontend) return;
  if (request_untaken_ > 0)
    frontend->acknowledge(frontend_stream_, std::exchange(request_untaken_, 0));
  if (!std::exchange(has_response_ended_, true)) frontend->send_end(frontend_stream_, trailers);
}

void Exchange::on_request_taken(std::size_t bytes) {
  last_request_progress_ = timers_.now();
  if (acknowledged_before_ > 0) [[unlikely]] {
    const auto known = std::min<std::uint64_t>(bytes, acknowledged_before_);
    acknowledged_before_ -= known;
    bytes -= known;
    if (bytes == 0) return;
  }
  request_untaken_ -= std::min<std::uint64_t>(bytes, request_untaken_);
  if (auto* frontend = host_.frontend_of(*this)) frontend->acknowledge(frontend_stream_, bytes);
  if (is_client_gone_ && request_untaken_ == 0) finish();
}

void Exchange::on_failed(const ClientEvents::Failure& failure) {
  backend_ = {};
  end_attempt(end_of(failure.reason));
  const Ending ending{502, flag_of(failure.reason), failure.detail,
                      code_of(grpc_status_of(failure.reason)),
                      reset_towards_client(failure.reason, request_.is_grpc())};
  if (is_tunnel_) return fail_tunnel(ending.flag, failure.detail);
  if (phase_ == Phase::kResponding) return end_with(ending);
  if (phase_ != Phase::kForwarding) return;
  const bool may_have_effects = failure.was_sent && !is_idempotent();
  if (failure.is_retryable && !may_have_effects && is_replayable() && attempts_ < kAttemptsMax) {
    rewind();
    attempt_started_ = timers_.now();
    return host_.retry(*this);
  }
  const int grpc_status = request_.is_grpc() ? ending.grpc_status : -1;
  if (host_.wants_retry(*this, {end_of(failure.reason), 502, grpc_status, may_have_effects}))
    return;
  end_with(ending);
}

void Exchange::on_connect_failed(ResponseFlag flag, int status, std::string_view detail) {
  if (phase_ != Phase::kWaiting) return;
  phase_ = Phase::kForwarding;  // It waits nowhere any more.
  reply(status, flag, detail);
}

bool Exchange::is_idempotent() const {
  const std::string_view method = request_.method;
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" ||
         method == "DELETE" || method == "TRACE";
}

void Exchange::end_attempt(AttemptEnd end) {
  if (std::exchange(is_attempt_open_, false)) host_.on_attempt_over(*this, end);
}

void Exchange::drop_backend(Reset reason) {
  if (!backend_) return;
  ClientSession* backend = host_.backend_of(*this);
  backend_ = {};
  if (backend) backend->reset(backend_stream_, reason);
}

/// Where nothing of the response went out yet, the client gets an answer; else it must see that the
/// body is cut.
void Exchange::end_with(const Ending& ending) {
  if (phase_ != Phase::kResponding) return reply_with(ending);
  drop_backend(Reset::kCancel);
  ServerSession* frontend = host_.frontend_of(*this);
  if (frontend && frontend->take_back_response(frontend_stream_)) {
    phase_ = Phase::kForwarding;
    response_untaken_ = 0;
    backend_time_.reset();
    return reply_with(ending);
  }
  flags_.add(ending.flag);
  detail_ = ending.detail;
  if (frontend) frontend->reset(frontend_stream_, ending.reset);
  // The session tells on_closed from reset() or when the connection goes.
}

void Exchange::finish() {
  phase_ = Phase::kDone;
  timer_.cancel();
  end_attempt(AttemptEnd::kCancelled);
  host_.on_exchange_done(*this);
}

}  // namespace gatehouse::proxy
