#include "proxy/connection/backend_connection.h"

#include <sys/socket.h>

#include <chrono>
#include <utility>

#include "daemon/base/log.h"
#include "proxy/connection/backend_pool.h"
#include "proxy/protocol/http1_client_session.h"
#include "proxy/protocol/http2_client_session.h"

namespace gatehouse::proxy {

namespace {
constexpr int kReadsPerTurn = 8;
constexpr Duration kQuietTime = std::chrono::seconds(2);  // until an idle session is made small
}  // namespace

BackendConnection::BackendConnection(ConnectionHost& host, PoolId pool, int descriptor,
                                     Settings settings)
    : host_(host),
      pool_(pool),
      settings_(std::move(settings)),
      channel_(descriptor),
      timer_(host.timers(), [this] { on_timer(); }) {}

BackendConnection::~BackendConnection() = default;

bool BackendConnection::start(BackendId id, std::uint8_t sink) {
  id_ = id;
  if (!watch_.start(host_.poller(), channel_.descriptor(), sink, poll_token(id), false, true))
    return false;
  waiting_ = Waiting::kConnect;
  timer_.arm(settings_.connect_timeout);
  return true;
}

void BackendConnection::assign(Exchange& exchange) {
  const bool was_used = is_reused();
  ++streams_opened_;
  exchange.endpoint = settings_.address;
  exchange.on_assigned(id_, *session_, was_used);
  host_.mark_dirty(*this);
}

// ---- events of the socket -------------------------------------------------------------------

void BackendConnection::on_ready(net::Ready ready) {
  if (is_retired) return;
  switch (phase_) {
    case Phase::kConnecting: return on_connected();
    case Phase::kHandshake: return handshake();
    case Phase::kOpen: break;
  }
  if (ready.writable) host_.mark_dirty(*this);
  if (!ready.readable && !ready.peer_closed) return;
  if (!session_->wants_input() && ready.peer_closed) return lose();
  read_some();
}

void BackendConnection::on_connected() {
  int failure = 0;
  socklen_t size = sizeof failure;
  ::getsockopt(channel_.descriptor(), SOL_SOCKET, SO_ERROR, &failure, &size);
  if (failure != 0) return fail_connect(errno_error("connect", failure).message);
  if (!settings_.tls) return open_session(settings_.protocol == BackendProtocol::kHttp2);
  auto ssl = settings_.tls->new_ssl(settings_.server_name);
  if (!ssl) return fail_connect(ssl.error().message);
  if (!channel_.start_tls(std::move(*ssl))) return fail_connect("tls: out of memory");
  phase_ = Phase::kHandshake;
  handshake();
}

void BackendConnection::handshake() {
  switch (channel_.handshake()) {
    case Io::kDone: break;
    case Io::kWantRead: return watch_.want(true, false);
    case Io::kWantWrite: return watch_.want(true, true);
    case Io::kEof:
    case Io::kFailed: return fail_connect(channel_.failure());
  }
  const bool is_h2 = channel_.tls()->alpn() == "h2";
  if (settings_.protocol == BackendProtocol::kHttp2 && !is_h2)
    return fail_connect("the backend does not offer h2 by ALPN");
  open_session(is_h2);
  if (!is_retired && channel_.has_pending()) read_some();
}

void BackendConnection::open_session(bool is_h2) {
  phase_ = Phase::kOpen;
  waiting_ = Waiting::kNothing;
  timer_.cancel();
  watch_.want(true, false);
  ClientEvents& events = *this;
  if (is_h2) {
    session_ = std::make_unique<Http2ClientSession>(host_.limits(), host_.clock(), events,
                                                    settings_.tls ? "https" : "http");
  } else {
    session_ = std::make_unique<Http1ClientSession>(host_.limits(), events);
  }
  host_.mark_dirty(*this);
  if (auto* pool = host_.find_pool(pool_)) pool->on_connected(*this);
}

void BackendConnection::fail_connect(std::string_view detail) {
  const std::string reason(detail);
  host_.metrics().backend_connect_failures.add();
  host_.retire(*this);
  if (auto* pool = host_.find_pool(pool_)) pool->on_connect_failed(*this, reason);
}

void BackendConnection::read_some() {
  has_read_paused_ = false;
  const std::span<char> scratch = host_.scratch();
  for (int reads = 0; !is_ending_ && !is_retired; ++reads) {
    if (!session_->wants_input() || reads == kReadsPerTurn) {
      has_read_paused_ = true;
      if (reads == kReadsPerTurn) host_.resume_later(*this);
      break;
    }
    std::size_t got = 0;
    const Io io = channel_.read(scratch.data(), scratch.size(), got);
    if (io == Io::kWantRead || io == Io::kWantWrite) break;
    if (io == Io::kEof) {
      session_->on_end_of_input();
      return lose();
    }
    if (io == Io::kFailed) return lose();
    if (!session_->feed({scratch.data(), got})) is_ending_ = true;
    if (!channel_.has_pending()) break;
  }
  settle();
}

/// After input: hands the connection back to the pool, or ends it.
void BackendConnection::settle() {
  if (is_retired) return;
  host_.mark_dirty(*this);
  auto* pool = host_.find_pool(pool_);
  if (!pool) {
    if (session_->open_streams() == 0) lose();
    return;
  }
  if (session_->is_reusable() && !is_draining_ && !is_ending_) {
    if (session_->capacity() > 0) pool->offer(*this);
  } else if (session_->open_streams() == 0) {
    is_ending_ = true;  // flush() closes after the last output, such as a GOAWAY.
  }
}

void BackendConnection::lose() {
  if (is_retired) return;
  host_.retire(*this);  // First, so that nobody hands out its streams again.
  if (session_) session_->on_connection_lost();
  if (auto* pool = host_.find_pool(pool_)) pool->on_closed(*this);
}

void BackendConnection::close() {
  if (phase_ == Phase::kOpen) return lose();
  fail_connect("closed");
}

void BackendConnection::drain() {
  if (is_retired) return;
  is_draining_ = true;
  if (!session_ || session_->open_streams() == 0) close();
}

// ---- the end of a turn ----------------------------------------------------------------------

void BackendConnection::flush() {
  if (is_retired || phase_ != Phase::kOpen) return;
  bool more = true, moved = false;
  for (int round = 0; round < kRoundsPerTurn && more; ++round) {
    more = session_->produce(out_, kOutputBytes);
    if (out_.empty()) break;
    const std::size_t before = out_.size();
    const Io io = channel_.write(out_);
    moved = moved || io == Io::kDone || out_.size() < before;
    wants_write_ = io == Io::kWantWrite;
    if (io == Io::kFailed || io == Io::kEof) {
      // What the backend said before it closed may still be readable, an early answer above all.
      wants_write_ = false;
      out_.clear();
      read_some();
      if (!is_retired) lose();
      return;
    }
    if (io != Io::kDone) break;
  }
  const bool is_written = out_.empty() && !wants_write_;
  const bool is_done = session_->open_streams() == 0 && (is_draining_ || !session_->is_reusable());
  if (is_written && !more && (is_ending_ || is_done || session_->is_finished())) return lose();
  if (is_written) out_.release();
  if (is_written && more) host_.resume_later(*this);
  if (has_read_paused_ && session_->wants_input()) {
    if (channel_.has_pending())
      host_.resume_later(*this);
    else
      has_read_paused_ = false;
  }
  watch_.want(!is_ending_ && session_->wants_input(), wants_write_);
  update_timer(moved);
}

void BackendConnection::resume() {
  if (is_retired || phase_ != Phase::kOpen) return;
  if (has_read_paused_ && session_->wants_input()) read_some();
  host_.mark_dirty(*this);
}

// ---- timers ---------------------------------------------------------------------------------

void BackendConnection::update_timer(bool moved) {
  if (session_->open_streams() > 0) {
    // A backend that takes nothing is judged per exchange, which knows what its client was told.
    if (waiting_ != Waiting::kNothing) timer_.cancel();
    waiting_ = Waiting::kNothing;
  } else if (waiting_ != Waiting::kIdle || moved) {
    waiting_ = Waiting::kIdle;
    is_shrunk_ = settings_.idle_timeout <= kQuietTime;
    timer_.arm(is_shrunk_ ? settings_.idle_timeout : kQuietTime);
  }
}

void BackendConnection::on_timer() {
  if (is_retired) return;
  const Waiting waited = std::exchange(waiting_, Waiting::kNothing);
  if (waited == Waiting::kConnect) return fail_connect("timeout");
  if (waited != Waiting::kIdle || is_shrunk_) return lose();
  // Amid the idle time, that goes on: keep no more than an idle connection needs.
  waiting_ = Waiting::kIdle;
  is_shrunk_ = true;
  session_->shrink();
  timer_.arm(settings_.idle_timeout - kQuietTime);
}

// ---- events of the session ------------------------------------------------------------------

void BackendConnection::on_interim(StreamToken token, ResponseHead& head) {
  if (auto* exchange = host_.find_exchange(token)) exchange->on_interim(head);
}
void BackendConnection::on_response(StreamToken token, ResponseHead& head, bool ended) {
  if (auto* exchange = host_.find_exchange(token)) exchange->on_response(head, ended);
}
void BackendConnection::on_response_body(StreamToken token, std::string_view bytes) {
  if (auto* exchange = host_.find_exchange(token)) exchange->on_response_body(bytes);
}
void BackendConnection::on_response_end(StreamToken token, const Fields* trailers) {
  if (auto* exchange = host_.find_exchange(token)) exchange->on_response_end(trailers);
}
void BackendConnection::on_request_taken(StreamToken token, std::size_t bytes) {
  if (auto* exchange = host_.find_exchange(token)) exchange->on_request_taken(bytes);
}
void BackendConnection::on_failed(StreamToken token, const Failure& failure) {
  if (auto* exchange = host_.find_exchange(token)) exchange->on_failed(failure);
}

}  // namespace gatehouse::proxy
