#include "proxy/protocol/exchange.h"

#include <algorithm>

#include "proxy/protocol/local_reply.h"

namespace gatehouse::proxy {

namespace {
/// Methods that may be sent twice when nobody knows whether the first one arrived (RFC 9110 9.2.2).
bool is_idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" ||
         method == "DELETE" || method == "TRACE";
}
constexpr unsigned kAttemptsMax = 3;
constexpr int kStatusNone = 0;
constexpr std::uint64_t kSmallBody = 16 * 1024;  // no stall worth a timer: one write takes it
}  // namespace

Exchange::Exchange(ExchangeHost& host, TimerQueue& timers)
    : host_(host), timers_(timers), timer_(timers, [this] { on_timer(); }) {}

void Exchange::begin(FrontendId frontend, StreamId stream, RequestHead& head, bool ended) {
  frontend_ = frontend;
  frontend_stream_ = stream;
  std::swap(request_, head);
  has_request_ended_ = ended;
  phase_ = Phase::kRouting;
  started_ = last_request_progress_ = last_response_progress_ = last_judged_ = timers_.now();
}

void Exchange::recycle() {
  timer_.cancel();
  request_.clear();
  request_trailers_.reset();
  pending_body_.clear();
  backend_ = {};
  pool = {};
  backend_stream_ = 0;
  has_request_ended_ = has_request_sent_end_ = has_response_ended_ = is_backend_reused_ = false;
  attempts_ = 0;
  status_ = kStatusNone;
  flags_ = {};
  detail_ = {};
  timeouts_ = {};
  request_bytes_ = request_sent_bytes_ = response_bytes_ = 0;
  request_untaken_ = response_untaken_ = judged_request_bytes_ = 0;
  backend_time_.reset();
  snapshot = {};
  route = nullptr;
  endpoints_failed = 0;
  original_path.clear();
  endpoint.clear();
}

void Exchange::go_to_backend(const ExchangeTimeouts& timeouts) {
  timeouts_ = timeouts;
  phase_ = Phase::kWaiting;
  if (!has_request_ended_) arm_timer();
}

// ---- our own answers ------------------------------------------------------------------------

void Exchange::reply(ResponseHead& head, std::string_view body) {
  check(phase_ != Phase::kResponding && phase_ != Phase::kDone, "a reply after the response began");
  if (phase_ == Phase::kWaiting) host_.leave_queue(*this);
  drop_backend(Reset::kCancel);
  phase_ = Phase::kReplied;
  last_response_progress_ = timers_.now();  // From now on the client has something to take.
  status_ = head.status;
  pending_body_.clear();
  ServerSession* frontend = host_.frontend_of(*this);
  if (!frontend) return;
  const bool has_body = !body.empty() && !never_has_body(request_.method, head.status);
  has_response_ended_ = true;
  if (request_untaken_ > 0) {  // What was buffered for a backend is dropped: give the credit back.
    frontend->acknowledge(frontend_stream_, std::exchange(request_untaken_, 0));
  }
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
  LocalReply own = make_local_reply(status, body, request_.is_grpc());
  reply(own.head, own.body);
  status_ = own.head.status;
}

// ---- the frontend stream --------------------------------------------------------------------

void Exchange::on_request_body(std::string_view bytes) {
  request_bytes_ += bytes.size();
  last_request_progress_ = timers_.now();
  if (phase_ == Phase::kReplied || phase_ == Phase::kDone || has_response_ended_) {
    if (auto* frontend = host_.frontend_of(*this))
      frontend->acknowledge(frontend_stream_, bytes.size());
    return;
  }
  request_untaken_ += bytes.size();
  if (timeouts_.body_bytes != 0 && request_bytes_ > timeouts_.body_bytes) {
    if (phase_ == Phase::kResponding) return fail_response(ResponseFlag::kNone, "body_too_large");
    return reply(413, ResponseFlag::kNone, "request_payload_too_large");
  }
  ClientSession* backend = host_.backend_of(*this);
  if (!backend) {
    pending_body_.append(bytes);
    return;
  }
  request_sent_bytes_ += bytes.size();
  backend->send_body(backend_stream_, bytes);
}

void Exchange::on_request_end(const Fields* trailers) {
  has_request_ended_ = true;
  last_request_progress_ = last_response_progress_ = timers_.now();
  if (phase_ == Phase::kReplied || phase_ == Phase::kDone || has_response_ended_) return;
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
  if (phase_ == Phase::kWaiting) host_.leave_queue(*this);
  if (reason != Reset::kNone && !flags_.any())
    flags_.add(reason == Reset::kProtocol ? ResponseFlag::kDpe : ResponseFlag::kDc);
  // HTTP/1.1 has answered a malformed body by itself; HTTP/2 has reset the stream.
  if (reason == Reset::kProtocol && status_ == kStatusNone &&
      request_.version != HttpVersion::kHttp2)
    status_ = 400;
  drop_backend(Reset::kCancel);
  finish();
}

// ---- the backend stream ---------------------------------------------------------------------

void Exchange::on_assigned(BackendId backend, ClientSession& session, bool is_reused) {
  check(phase_ == Phase::kWaiting, "a backend stream for an exchange that waits for none");
  phase_ = Phase::kForwarding;
  backend_ = backend;
  is_backend_reused_ = is_reused;
  ++attempts_;
  const bool whole = has_request_ended_ && pending_body_.empty() && !request_trailers_;
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
  phase_ = Phase::kResponding;
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
}

void Exchange::on_response_end(const Fields* trailers) {
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
  request_untaken_ -= std::min<std::uint64_t>(bytes, request_untaken_);
  last_request_progress_ = timers_.now();
  if (auto* frontend = host_.frontend_of(*this)) frontend->acknowledge(frontend_stream_, bytes);
}

void Exchange::on_failed(const ClientEvents::Failure& failure) {
  backend_ = {};
  if (phase_ == Phase::kResponding) {
    const auto flag = failure.reason == Reset::kProtocol         ? ResponseFlag::kUpe
                      : failure.reason == Reset::kConnectionLost ? ResponseFlag::kUc
                                                                 : ResponseFlag::kUr;
    return fail_response(flag, failure.detail);
  }
  if (phase_ != Phase::kForwarding) return;
  const bool is_safe = !failure.was_sent || is_idempotent(request_.method);
  if (failure.is_retryable && is_safe && is_replayable() && attempts_ < kAttemptsMax) {
    phase_ = Phase::kWaiting;
    has_request_sent_end_ = false;
    (void)host_.retry(*this);
    return;
  }
  switch (failure.reason) {
    case Reset::kProtocol: return reply(502, ResponseFlag::kUpe, failure.detail);
    case Reset::kConnectionLost: return reply(502, ResponseFlag::kUc, failure.detail);
    default: return reply(502, ResponseFlag::kUr, failure.detail);
  }
}

void Exchange::on_connect_failed(ResponseFlag flag, int status, std::string_view detail) {
  if (phase_ != Phase::kWaiting) return;
  phase_ = Phase::kForwarding;  // It waits nowhere any more.
  reply(status, flag, detail);
}

void Exchange::drop_backend(Reset reason) {
  if (!backend_) return;
  ClientSession* backend = host_.backend_of(*this);
  backend_ = {};
  if (backend) backend->reset(backend_stream_, reason);
}

/// The head went out already: the client must see that the body is cut.
void Exchange::fail_response(ResponseFlag flag, std::string_view detail) {
  flags_.add(flag);
  detail_ = detail;
  drop_backend(Reset::kCancel);
  ServerSession* frontend = host_.frontend_of(*this);
  if (frontend) frontend->reset(frontend_stream_, Reset::kInternal);
  // The session tells on_closed from reset() or when the connection goes.
}

void Exchange::finish() {
  phase_ = Phase::kDone;
  timer_.cancel();
  host_.on_exchange_done(*this);
}

// ---- timers ---------------------------------------------------------------------------------
// One timer looks at all conditions; it is armed for the earliest that could come true, and moving
// it later is one store (see TimerQueue). What arm_timer() considers is what on_timer() acts on: a
// condition that is overdue but does not count now would make the timer run again and again.

void Exchange::arm_timer() {
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
      consider(timeouts_.stall, request_untaken_ > 0 ? last_request_progress_ : now);
  } else if (phase_ != Phase::kReplied && !has_response_ended_) {
    consider(timeouts_.response, client_must_take ? now : last_response_progress_);
  }
  if (client_must_take || phase_ == Phase::kResponding || phase_ == Phase::kReplied)
    consider(timeouts_.stall, client_must_take ? last_response_progress_ : now);
  if (phase_ == Phase::kDone || after == Duration::max()) {
    timer_.cancel();
  } else {
    timer_.arm(after);
  }
}

void Exchange::on_timer() {
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
      timeouts_.stall > Duration::zero() && now - last_request_progress_ >= timeouts_.stall) {
    return reply(504, ResponseFlag::kUt, "backend_takes_nothing");
  }
  if (has_request_ended_ && timeouts_.response > Duration::zero() && !client_must_take &&
      now - last_response_progress_ >= timeouts_.response) {
    if (phase_ == Phase::kResponding) {
      if (!has_response_ended_) return fail_response(ResponseFlag::kUt, "response_timeout");
    } else {
      return reply(504, ResponseFlag::kUt, "response_timeout");
    }
  }
  arm_timer();
}

}  // namespace gatehouse::proxy
