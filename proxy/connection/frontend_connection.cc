#include "proxy/connection/frontend_connection.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "daemon/base/log.h"
#include "daemon/net/client_certificate.h"
#include "proxy/connection/client_certificate_field.h"
#include "proxy/protocol/http1_server_session.h"
#include "proxy/protocol/http2_server_session.h"
#include "proxy/protocol/proxy_protocol.h"
#include "proxy/protocol/request_id.h"

namespace gatehouse::proxy {

namespace {
constexpr Duration kLingerTime = std::chrono::seconds(2);
constexpr std::size_t kLingerBytes = 1024 * 1024;
constexpr int kReadsPerTurn = 16;
constexpr Duration kQuietTime = std::chrono::seconds(1);  // until an idle session is made small
}  // namespace

FrontendConnection::FrontendConnection(ConnectionHost& host, int descriptor, Facts facts)
    : host_(host),
      facts_(std::move(facts)),
      channel_(descriptor),
      timer_(host.timers(), [this] { on_timer(); }) {}

FrontendConnection::~FrontendConnection() = default;

bool FrontendConnection::start(FrontendId id, std::uint8_t sink) {
  id_ = id;
  if (!watch_.start(host_.poller(), channel_.descriptor(), sink, poll_token(id), true, false))
    return false;
  if (!facts_.awaits_proxy_header) return begin();
  phase_ = Phase::kProxyHeader;
  wait_for(Waiting::kProxyHeader);
  return true;
}

bool FrontendConnection::begin() {
  if (!facts_.is_tls) {
    open_session(false);
    return true;
  }
  phase_ = Phase::kHandshake;
  // The address of the socket is the sender's, not what the client has connected to.
  const bool is_told = facts_.awaits_proxy_header && !facts_.local.is_unix();
  auto ssl = host_.server_tls().new_ssl(is_told ? facts_.local.ip().to_string() : std::string());
  if (!ssl || !channel_.start_tls(std::move(*ssl))) return false;
  if (host_.allows_early_data()) channel_.tls()->accept_early_data();
  wait_for(Waiting::kHandshake);
  return true;
}

std::string_view FrontendConnection::server_name() const {
  auto* tls = const_cast<Channel&>(channel_).tls();
  return tls ? tls->server_name() : std::string_view();
}

const net::Credential* FrontendConnection::credential() const {
  auto* tls = const_cast<Channel&>(channel_).tls();
  return tls ? tls->credential() : nullptr;
}

const std::string& FrontendConnection::unique_id() {
  if (!unique_id_)
    unique_id_ = std::make_unique<const std::string>(make_request_id(host_.random()).view());
  return *unique_id_;
}

bool FrontendConnection::meets(const net::ServerTlsPolicy* policy) const {
  if (policy_ == policy) return true;
  // A reload has made a new one, which may say the same.
  return policy_ && policy && policy_->name() == policy->name();
}

// ---- events of the socket -------------------------------------------------------------------

void FrontendConnection::on_ready(net::Ready ready) {
  if (is_retired) return;
  switch (phase_) {
    case Phase::kProxyHeader: return read_proxy_header();
    case Phase::kHandshake: return handshake();
    case Phase::kLingering: return discard_input();
    case Phase::kOpen: break;
  }
  if (ready.writable) host_.mark_dirty(*this);
  if (!ready.readable && !ready.peer_closed) return;
  if (is_early()) {
    go_on_early();
    if (is_retired || is_early()) return;
  }
  if (!session_->wants_input() && ready.peer_closed) return lose();  // Reset while we don't read.
  read_some();
}

/// Takes exactly the header off the socket: what follows is TLS's or HTTP's to read.
void FrontendConnection::read_proxy_header() {
  const std::span<char> scratch = host_.scratch().first(kProxyHeaderBytesMax);
  std::size_t seen = 0;
  const Io io = channel_.peek(scratch.data(), scratch.size(), seen);
  if (io == Io::kWantRead) return;
  if (io != Io::kDone) return refuse_proxy_header({});  // A check whether the port is open.
  if (!proxy_header_) proxy_header_ = std::make_unique<std::string>();
  const std::size_t before = proxy_header_->size();
  proxy_header_->append(scratch.data(), seen);
  const ProxyHeaderReading reading = proxy::read_proxy_header(*proxy_header_);
  if (reading.state == ProxyHeaderReading::State::kMalformed)
    return refuse_proxy_header("malformed");
  const bool is_complete = reading.state == ProxyHeaderReading::State::kComplete;
  (void)channel_.read(scratch.data(), is_complete ? reading.size - before : seen, seen);
  if (!is_complete) return;
  proxy_header_.reset();
  if (reading.addresses) {
    facts_.peer = reading.addresses->source;
    facts_.local = reading.addresses->destination;
    facts_.peer_ip = facts_.peer.is_unix() ? std::string("unix") : facts_.peer.ip().to_string();
  }
  if (!host_.admit(*this) || !begin()) host_.retire(*this);
}

void FrontendConnection::refuse_proxy_header(std::string_view reason) {
  host_.metrics().proxy_header_failures.add();
  if (!reason.empty())  // Only listed peers come here, so strangers cannot flood the log.
    log(Level::kWarn, "proxy_protocol.refused").with("peer", facts_.peer_ip).with("reason", reason);
  host_.retire(*this);
}

void FrontendConnection::handshake() {
  const Io io = channel_.handshake();
  const std::string* early = channel_.tls()->early_input();
  const bool is_waiting = io == Io::kWantRead || io == Io::kWantWrite;
  if (is_waiting && early && !early->empty()) return begin_early();
  if (is_waiting) return watch_.want(true, io == Io::kWantWrite);
  if (io != Io::kDone) {
    host_.metrics().handshake_failures.add();
    log(Level::kDebug, "tls.handshake_failed")
        .with("peer", facts_.peer_ip)
        .with("sni", server_name())
        .with("reason", channel_.failure());
    return linger_behind_alert();
  }
  watch_.want(true, false);
  on_handshake_done();
  const std::string_view protocol = channel_.tls()->alpn();
  if (protocol == "acme-tls/1") {  // RFC 8737 section 3: nothing is said after the handshake.
    phase_ = Phase::kLingering;
    return linger();
  }
  open_session(protocol == "h2");
  if (early && !early->empty() && !session_->feed(*early)) is_ending_ = true;
  channel_.tls()->end_early_data();
  if (channel_.has_pending()) read_some();
}

void FrontendConnection::on_handshake_done() {
  host_.metrics().handshakes.add();
  const TlsEngine& tls = *channel_.tls();
  policy_ = tls.policy();
  if (!policy_ || !policy_->asks_for_certificates()) return;
  if (const auto shown = net::client_certificate_of(tls.native()))
    client_certificate_ = std::make_unique<const std::string>(client_certificate_element(*shown));
}

/// Requests have come ahead of the handshake's end, which they may have to wait for.
void FrontendConnection::begin_early() {
  held_ = std::make_unique<std::vector<ExchangeId>>();
  policy_ = channel_.tls()->policy();
  open_session(channel_.tls()->alpn() == "h2");
  go_on_early();
}

void FrontendConnection::go_on_early() {
  std::string& early = *channel_.tls()->early_input();
  const Io io = channel_.handshake();
  if (io == Io::kFailed || io == Io::kEof) {
    host_.metrics().handshake_failures.add();
    return linger_behind_alert();
  }
  const auto held = io == Io::kDone ? std::move(held_) : nullptr;  // What follows need not wait.
  // At most kEarlyDataBytesMax in all, whether the session wants input now or not.
  if (!early.empty() && !is_ending_ && !session_->feed(early)) is_ending_ = true;
  early.clear();
  if (io == Io::kWantWrite) wants_write_ = true;
  host_.mark_dirty(*this);
  if (io != Io::kDone) return;
  channel_.tls()->end_early_data();
  waiting_ = Waiting::kNothing;
  timer_.cancel();
  on_handshake_done();
  for (const ExchangeId id : *held)
    if (Exchange* exchange = host_.find_exchange(id.packed())) host_.on_handshake_done(*exchange);
}

void FrontendConnection::open_session(bool is_h2) {
  phase_ = Phase::kOpen;
  ServerEvents& events = *this;
  if (is_h2) {
    session_ = std::make_unique<Http2ServerSession>(host_.limits(), host_.clock(), events);
  } else {
    session_ = std::make_unique<Http1ServerSession>(host_.limits(), host_.clock(), events,
                                                    facts_.is_tls ? "https" : "http");
  }
  // Until the first byte comes, the time for the head runs: a silent connection is not idle yet.
  wait_for(Waiting::kHead);
  host_.mark_dirty(*this);
}

void FrontendConnection::read_some() {
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
    if (io == Io::kEof) return on_end_of_input();
    if (io == Io::kFailed) return channel_.is_tls() ? linger_behind_alert() : lose();
    if (!session_->feed({scratch.data(), got})) is_ending_ = true;
    if (!channel_.has_pending()) break;  // A short read has taken all: skip the EAGAIN.
  }
  host_.mark_dirty(*this);
}

/// A visitor that closes its side wants no answer any more: its requests are cancelled.
void FrontendConnection::on_end_of_input() {
  has_ended_input_ = true;
  session_->on_end_of_input();
  if (session_->is_tunnel()) return host_.mark_dirty(*this);  // The backend may go on.
  lose();
}

void FrontendConnection::lose() {
  if (is_retired) return;
  if (session_) {
    session_->on_connection_lost();
    if (session_->must_break_off(out_.empty() && !wants_write_)) channel_.break_off();
  }
  host_.retire(*this);
}

void FrontendConnection::close() { lose(); }

void FrontendConnection::drain() {
  if (is_retired || phase_ == Phase::kLingering) return;
  if (!session_) return host_.retire(*this);
  session_->drain();
  host_.mark_dirty(*this);
}

bool FrontendConnection::shed() {
  if (phase_ != Phase::kOpen) {
    host_.retire(*this);
    return phase_ != Phase::kLingering;
  }
  session_->shed();
  is_ending_ = true;
  host_.mark_dirty(*this);
  return true;
}

// ---- the end of a turn ----------------------------------------------------------------------

void FrontendConnection::flush() {
  if (is_retired || phase_ != Phase::kOpen) return;
  out_.borrow();
  const auto [io, more, moved] = channel_.write_output(*session_, out_);
  wants_write_ = io == Io::kWantWrite;
  if (io == Io::kFailed || io == Io::kEof) return lose();
  out_.keep_rest();
  const bool is_written = out_.empty() && !wants_write_;
  if (is_written && !more && (is_ending_ || session_->is_finished()) && !is_early())
    return linger();
  if (is_written && session_->has_ended_output()) channel_.end_output();
  if (is_written && more) host_.resume_later(*this);
  if (has_read_paused_ && session_->wants_input()) {
    if (channel_.has_pending())
      host_.resume_later(*this);
    else
      has_read_paused_ = false;
  }
  watch_.want(is_early() || (!is_ending_ && session_->wants_input()), wants_write_);
  update_waiting(moved);
}

void FrontendConnection::resume() {
  if (is_retired || phase_ != Phase::kOpen) return;
  if (has_read_paused_ && session_->wants_input()) read_some();
  host_.mark_dirty(*this);
}

/// Ends our side, then reads and drops what the peer still sends, so that the answer is not lost to
/// a reset (RFC 9112 section 9.6).
void FrontendConnection::linger() {
  if (session_) {
    session_->on_connection_lost();
    if (session_->must_break_off(true)) return lose();
  }
  phase_ = Phase::kLingering;
  channel_.end_output();
  if (has_ended_input_) return host_.retire(*this);
  watch_.want(true, false);
  wait_for(Waiting::kLinger);
  discard_input();
}

/// TLS has failed, and what it had to say is sent. A client may have sent more before it can know:
/// in TLS 1.3 it believes in the handshake when its own part is done (RFC 8446 section 4.4).
void FrontendConnection::linger_behind_alert() {
  policy_ = nullptr;  // Went with it.
  channel_.drop_tls();
  linger();
}

void FrontendConnection::discard_input() {
  const std::span<char> scratch = host_.scratch();
  for (int reads = 0; reads < kReadsPerTurn; ++reads) {
    std::size_t got = 0;
    const Io io = channel_.read(scratch.data(), scratch.size(), got);
    if (io == Io::kWantRead || io == Io::kWantWrite) return;
    lingered_bytes_ += got;
    if (io != Io::kDone || lingered_bytes_ > kLingerBytes) return host_.retire(*this);
  }
}

// ---- timers ---------------------------------------------------------------------------------

void FrontendConnection::update_waiting(bool moved) {
  if (is_early()) return;  // The handshake's time runs.
  if (wants_write_) {
    if (waiting_ != Waiting::kStall || moved) wait_for(Waiting::kStall);
  } else if (session_->is_mid_head()) {
    // The whole head has to come in this time: later bytes don't start it again.
    const std::uint64_t head = session_->head_number();
    if (waiting_ == Waiting::kHead && timed_head_ == head) return;
    timed_head_ = head;
    wait_for(Waiting::kHead);
  } else if (session_->open_streams() > 0) {
    wait_for(Waiting::kNothing);
  } else if (waiting_ != Waiting::kIdle && (waiting_ != Waiting::kHead || moved)) {
    wait_for(Waiting::kIdle);
  }
}

void FrontendConnection::wait_for(Waiting waiting) {
  if (is_early() && waiting != Waiting::kLinger) return;
  waiting_ = waiting;
  waits_since_ = host_.timers().now();
  Duration after{};
  switch (waiting) {
    case Waiting::kNothing: break;
    case Waiting::kProxyHeader:
    case Waiting::kHandshake: after = host_.limits().handshake_timeout; break;
    case Waiting::kHead: after = host_.limits().header_timeout; break;
    case Waiting::kIdle:
      after = host_.limits().idle_timeout;
      is_shrunk_ = after > Duration::zero() && after <= kQuietTime;
      if (!is_shrunk_) after = kQuietTime;
      break;
    case Waiting::kStall: after = host_.limits().stall_timeout; break;
    case Waiting::kLinger: after = kLingerTime; break;
  }
  if (after > Duration::zero()) {
    timer_.arm(after);
  } else {
    timer_.cancel();
  }
}

void FrontendConnection::on_timer() {
  if (is_retired) return;
  switch (std::exchange(waiting_, Waiting::kNothing)) {
    case Waiting::kNothing: return;
    case Waiting::kProxyHeader: return refuse_proxy_header("timeout");
    case Waiting::kHandshake:
      host_.metrics().handshake_failures.add();
      host_.note(Offence::kSlowHandshake, *this);
      return lose();
    case Waiting::kHead:
      host_.metrics().header_timeouts.add();
      if (!session_->is_mid_head()) return wait_for(Waiting::kIdle);  // Nothing came at all.
      session_->time_out_head();
      is_ending_ = true;
      host_.mark_dirty(*this);
      return;
    case Waiting::kIdle:
      if (!is_shrunk_) return shrink();
      // HTTP/2 says GOAWAY; an idle HTTP/1.1 connection just ends.
      session_->drain();
      session_->drain();
      is_ending_ = true;
      host_.mark_dirty(*this);
      return;
    case Waiting::kStall:
      host_.metrics().stalled.add();
      host_.note(Offence::kSlowReader, *this);
      return lose();
    case Waiting::kLinger: host_.retire(*this); return;
  }
}

/// Amid the idle time, that goes on: keeps no more than an idle connection needs.
void FrontendConnection::shrink() {
  waiting_ = Waiting::kIdle;
  is_shrunk_ = true;
  session_->shrink();
  channel_.shrink();
  const Duration bound = host_.limits().idle_timeout;
  if (bound > Duration::zero())
    timer_.arm(std::max<Duration>(bound - kQuietTime, std::chrono::milliseconds(1)));
}

// ---- events of the session ------------------------------------------------------------------

StreamToken FrontendConnection::on_request(StreamId stream, RequestHead& head, bool ended) {
  return host_.on_request(*this, stream, head, ended);
}
void FrontendConnection::on_request_body(StreamToken token, std::string_view bytes) {
  if (auto* exchange = host_.find_exchange(token)) exchange->on_request_body(bytes);
}
void FrontendConnection::on_request_end(StreamToken token, const Fields* trailers) {
  if (auto* exchange = host_.find_exchange(token)) exchange->on_request_end(trailers);
}
void FrontendConnection::on_response_taken(StreamToken token, std::size_t bytes) {
  if (auto* exchange = host_.find_exchange(token)) exchange->on_response_taken(bytes);
}
void FrontendConnection::on_closed(StreamToken token, Reset reason) {
  if (auto* exchange = host_.find_exchange(token)) exchange->on_closed(reason);
}
void FrontendConnection::on_refused(const RequestHead& head, int status, std::string_view detail) {
  host_.on_refused(*this, head, status, detail);
}

}  // namespace gatehouse::proxy
