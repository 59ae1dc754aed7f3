#include "proxy/connection/backend_connection.h"

#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "daemon/base/log.h"
#include "daemon/base/prefetch.h"
#include "proxy/connection/backend_pool.h"
#include "proxy/protocol/http1_client_session.h"
#include "proxy/protocol/http2_client_session.h"

namespace gatehouse::proxy {

namespace {
constexpr int kReadsPerTurn = 8;
constexpr std::size_t kReadBytesMin = 4096;
constexpr Duration kQuietTime = std::chrono::seconds(2);  // until an idle session is made small
constexpr std::string_view kNoSettings = "the backend does not speak HTTP/2: no SETTINGS came";
}  // namespace

BackendConnection::BackendConnection(ConnectionHost& host, PoolId pool, int descriptor,
                                     Settings settings)
    : host_(host),
      pool_(pool),
      channel_(descriptor),
      timer_(host.timers(), [this] { on_timer(); }),
      settings_(std::move(settings)),
      upkeep_timer_(host.timers(), [this] { keep_up(); }) {}

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
  last_exchange_ = exchange.id();
  exchange.endpoint = settings_.address;
  exchange.on_assigned(id_, *session_, was_used);
  host_.mark_dirty(*this);
}

void BackendConnection::prefetch_session() const {
  constexpr std::size_t kSessionBytes = 640;  // What a response touches of an HTTP/1.1 session.
  prefetch(session_.get(), kSessionBytes);
}

// ---- events of the socket -------------------------------------------------------------------

void BackendConnection::on_ready(net::Ready ready) {
  if (is_retired) return;
  switch (phase_) {
    case Phase::kConnecting: return on_connected();
    case Phase::kHandshake: return handshake();
    case Phase::kSettings:
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
  if (!settings_.proxy_header.empty() && !channel_.send_first(settings_.proxy_header))
    return fail_connect("PROXY header: " + channel_.failure());
  if (!settings_.tls) return begin_session(settings_.protocol == BackendProtocol::kHttp2);
  auto ssl = settings_.tls->new_ssl(settings_.server_name);
  if (!ssl) return fail_connect(ssl.error().message);
  if (settings_.is_for_upgrade) {
    static constexpr std::array<unsigned char, 9> kHttp1{8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    if (SSL_set_alpn_protos(ssl->get(), kHttp1.data(), kHttp1.size()) != 0)
      return fail_connect("tls: out of memory");
  }
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
  begin_session(is_h2);
  if (!is_retired && channel_.has_pending()) read_some();
}

void BackendConnection::begin_session(bool is_h2) {
  phase_ = Phase::kSettings;  // Within the time to connect, which still runs.
  watch_.want(true, false);
  ClientEvents& events = *this;
  if (is_h2) {
    session_ = std::make_unique<Http2ClientSession>(host_.limits(), host_.clock(), events,
                                                    settings_.tls ? "https" : "http");
  } else {
    session_ = std::make_unique<Http1ClientSession>(host_.limits(), events);
    is_single = true;
  }
  host_.mark_dirty(*this);
  if (!is_h2) return open();
  begin_upkeep();
}

void BackendConnection::open() {
  phase_ = Phase::kOpen;
  waiting_ = Waiting::kNothing;
  timer_.cancel();
  tell_connected();
}

void BackendConnection::fail_connect(std::string_view detail) {
  const std::string reason(detail);
  host_.metrics().backend_connect_failures.add();
  host_.retire(*this);
  tell_connect_failed(reason);
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
    const std::size_t room = std::max(session_->input_room(), kReadBytesMin);
    const Io io = channel_.read(scratch.data(), std::min(scratch.size(), room), got);
    if (io == Io::kWantRead || io == Io::kWantWrite) break;
    if (io == Io::kEof) {
      session_->on_end_of_input();
      return session_->is_tunnel() ? settle() : lose();  // The client may go on.
    }
    if (io == Io::kFailed) {
      tell_of_alert();
      return lose();
    }
    last_input_ = host_.timers().now();
    if (!session_->feed({scratch.data(), got})) is_ending_ = true;
    if (!channel_.has_pending()) break;
  }
  settle();
}

/// In TLS 1.3 a backend says only behind the handshake that it does not take our certificate.
void BackendConnection::tell_of_alert() {
  if (!channel_.tls() || !channel_.tls()->has_alert()) return;
  log(Level::kWarn, "backend.tls_alert")
      .with("address", settings_.address)
      .with("reason", channel_.failure());
}

/// After input: hands the connection back to the pool, or ends it.
void BackendConnection::settle() {
  if (is_retired) return;
  host_.mark_dirty(*this);
  if (phase_ == Phase::kSettings) {
    if (is_ending_ || session_->is_finished()) return fail_connect(kNoSettings);
    // A backend that takes no streams at all for now (RFC 9113 section 6.5.2) is not there yet.
    if (session_->is_ready() && session_->capacity() > 0) open();
    return;
  }
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
  if (phase_ != Phase::kOpen) return fail_connect(kNoSettings);
  host_.retire(*this);  // First, so that nobody hands out its streams again.
  if (session_) session_->on_connection_lost();
  tell_closed();
}

void BackendConnection::close() {
  if (phase_ == Phase::kOpen) return lose();
  if (!is_retired) fail_connect("closed");
}

void BackendConnection::drain() {
  if (is_retired) return;
  is_draining_ = true;
  if (!session_ || session_->open_streams() == 0) close();
}

// ---- the pool -------------------------------------------------------------------------------

void BackendConnection::tell_connected() {
  if (auto* pool = host_.find_pool(pool_)) pool->on_connected(*this);
}
void BackendConnection::tell_connect_failed(const std::string& reason) {
  if (auto* pool = host_.find_pool(pool_)) pool->on_connect_failed(*this, reason);
}
void BackendConnection::tell_closed() {
  if (auto* pool = host_.find_pool(pool_)) pool->on_closed(*this);
}

// ---- the end of a turn ----------------------------------------------------------------------

void BackendConnection::flush() {
  if (is_retired || !session_) return;
  out_.borrow();
  const auto [io, more, moved] = channel_.write_output(*session_, out_);
  wants_write_ = io == Io::kWantWrite;
  if (io == Io::kFailed || io == Io::kEof) {
    // What the backend said before it closed may still be readable, an early answer above all.
    out_.clear();
    read_some();
    if (!is_retired) lose();
    return;
  }
  out_.keep_rest();
  const bool is_written = out_.empty() && !wants_write_;
  const bool is_done = session_->open_streams() == 0 && (is_draining_ || !session_->is_reusable());
  if (is_written && !more && (is_ending_ || is_done || session_->is_finished())) return lose();
  if (is_written && session_->has_ended_output()) channel_.end_output();
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
  if (is_retired || !session_) return;
  if (has_read_paused_ && session_->wants_input()) read_some();
  host_.mark_dirty(*this);
}

// ---- timers ---------------------------------------------------------------------------------

void BackendConnection::update_timer(bool moved) {
  if (phase_ != Phase::kOpen) return;
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
  channel_.shrink();
  timer_.arm(settings_.idle_timeout - kQuietTime);
}

// ---- upkeep ---------------------------------------------------------------------------------

void BackendConnection::begin_upkeep() {
  last_input_ = host_.timers().now();
  // Jitter keeps connections that were opened together from ending together.
  if (settings_.http2.max_age > Duration::zero())
    drain_at_ = last_input_ + std::chrono::duration_cast<Duration>(
                                  settings_.http2.max_age * (1 - host_.random().fraction() / 5));
  keep_up();
}

void BackendConnection::keep_up() {
  if (is_retired) return;
  const SteadyTime now = host_.timers().now();
  if (drain_at_ && now >= *drain_at_) {
    drain_at_.reset();
    drain();
    if (is_retired) return;
  }
  Duration after = drain_at_ ? *drain_at_ - now : Duration::max();
  if (const Duration ping = settings_.http2.ping; ping > Duration::zero()) {
    const Duration answer = std::min(ping, host_.limits().stall_timeout);
    if (ping_sent_ && last_input_ >= *ping_sent_) ping_sent_.reset();  // Anything is an answer.
    if (ping_sent_ && now - *ping_sent_ >= answer) {
      log(Level::kWarn, "backend.ping_unanswered")
          .with("address", settings_.address)
          .with("waited_ms", std::chrono::ceil<std::chrono::milliseconds>(answer).count());
      return lose();
    }
    if (!ping_sent_ && now - last_input_ >= ping) {
      ping_sent_ = now;
      session_->ping();
      host_.mark_dirty(*this);
    }
    after = std::min(after, ping_sent_ ? *ping_sent_ + answer - now : last_input_ + ping - now);
  }
  if (after != Duration::max())
    upkeep_timer_.arm(std::max<Duration>(after, std::chrono::milliseconds(1)));
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
