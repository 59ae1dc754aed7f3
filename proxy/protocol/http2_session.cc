#include "proxy/protocol/http2_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <utility>

#include "daemon/base/error.h"

namespace gatehouse::proxy {

namespace {

constexpr std::size_t kPrefaceBytes = 24;
constexpr std::size_t kFrameBytes = 16 * 1024;
constexpr std::size_t kFreeStreamsMax = 64;
// Frames that wait to be sent, DATA apart. A peer that reads nothing gets no more read from.
constexpr std::size_t kQueuedFramesMax = 1000;
// Late frames of this many of our latest resets are forgiven.
constexpr std::size_t kRecentResets = 256;
constexpr unsigned kBackendContinuationsMax = 32;

/// How many changes of the HPACK table's size stand before the first field (RFC 7541 section 6.3).
/// Sees what came with the header of the frame, which is all of it but in contrived cases.
unsigned count_table_sizes(const FrameHead& head, std::string_view payload) {
  const std::size_t skip =
      (head.has(FrameHead::kPadded) ? 1u : 0u) + (head.has(FrameHead::kPriority) ? 5u : 0u);
  unsigned count = 0;
  for (std::size_t at = skip; at < payload.size(); ++count) {
    const auto first = static_cast<unsigned char>(payload[at++]);
    if ((first & 0xe0u) != 0x20u) break;
    if ((first & 0x1fu) != 0x1fu) continue;
    while (at < payload.size() && (static_cast<unsigned char>(payload[at]) & 0x80u) != 0) ++at;
    ++at;
  }
  return count;
}

void advance(StreamState& state, StreamEvent event) {
  if (const auto after = next(state, event)) state = *after;
}

}  // namespace

Http2Session::Http2Session(Role role, const Limits& limits, const Clock& clock)
    : role_(role),
      limits_(limits),
      session_(open_library(*this, role, limits)),
      scanner_(role == Role::kServer ? kPrefaceBytes : 0),
      offences_(clock) {
  submit_settings();
}

Http2Session::~Http2Session() { nghttp2_session_del(session_); }

// ---- input ----------------------------------------------------------------------------------

bool Http2Session::feed(std::string_view bytes) {
  if (is_over_ || is_ending_) return false;
  while (const auto piece = scanner_.next(bytes)) {
    const FrameHead& head = scanner_.head();
    const std::string_view payload = piece->bytes.substr(piece->begins ? FrameHead::kBytes : 0);
    if (piece->begins && !judge_frame(head, payload)) return false;
    if (head.type == FrameType::kPriority && !judge_priority(head, piece->begins, payload))
      return false;
    if (!hand_on(piece->bytes)) return false;
  }
  return true;
}

bool Http2Session::hand_on(std::string_view bytes) {
  const auto taken = nghttp2_session_mem_recv(
      session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (taken == NGHTTP2_ERR_FLOODED)
    terminate(Http2Error::kEnhanceYourCalm);
  else if (taken < 0)
    terminate(taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? Http2Error::kProtocol
                                                    : Http2Error::kInternal);
  return !is_ending_;
}

bool Http2Session::judge_frame(const FrameHead& head, std::string_view payload) {
  count_frame(head);
  return !is_ending_ && judge_block(head, payload) && judge_stream(head);
}

/// HARDENING.md section 3: frames that cost the peer next to nothing.
void Http2Session::count_frame(const FrameHead& head) {
  switch (head.type) {
    case FrameType::kData:  // Counted when it turns out to be empty.
    case FrameType::kHeaders:
    case FrameType::kContinuation:
    case FrameType::kPushPromise: return;
    case FrameType::kPriority: return note(Offence::kPriority);
    case FrameType::kRstStream:
      if (!find(head.stream)) note(Offence::kLateFrame);
      return;
    case FrameType::kSettings:
      if (!head.has(FrameHead::kAck)) note(Offence::kSettings);
      return;
    case FrameType::kPing: return note(Offence::kPing);
    case FrameType::kWindowUpdate: return note(Offence::kWindowUpdate);
    case FrameType::kGoaway: break;
  }
  note(Offence::kUnknownFrame);
}

/// Header blocks: CONTINUATION without end (CVE-2024-28182 and its like), churn of the HPACK table.
bool Http2Session::judge_block(const FrameHead& head, std::string_view payload) {
  if (head.type == FrameType::kHeaders) {
    continuations_ = 0;
    block_bytes_ = head.length;
    for (unsigned i = count_table_sizes(head, payload); i > 0; --i) note(Offence::kTableSize);
    return !is_ending_;
  }
  if (head.type != FrameType::kContinuation) return true;
  const bool is_server = role_ == Role::kServer;
  const unsigned frames_max =
      is_server ? Http2Limits::kContinuationFramesMax : kBackendContinuationsMax;
  // One frame more than the limit, so that what is only a little too large gets its 431.
  const std::size_t bytes_max =
      (is_server ? limits_.header_bytes : limits_.response_header_bytes) + kFrameBytes;
  block_bytes_ += head.length;
  if (++continuations_ > frames_max || block_bytes_ > bytes_max) note(Offence::kContinuation);
  return !is_ending_;
}

/// DATA and HEADERS for streams that are over, which nghttp2 would just drop. RFC 9113 section 5.1.
bool Http2Session::judge_stream(const FrameHead& head) {
  if (head.type != FrameType::kData && head.type != FrameType::kHeaders) return true;
  if (const Stream* stream = find(head.stream)) {
    if (stream->state != StreamState::kHalfClosedRemote) return true;
    terminate(Http2Error::kStreamClosed);
    return false;
  }
  const auto past = past_of(head.stream);
  if (!past) {
    if (head.type == FrameType::kHeaders) on_new_id(head.stream);
    return true;
  }
  note(Offence::kLateFrame);
  switch (judge_late_frame(*past)) {
    case LateVerdict::kIgnore: break;
    case LateVerdict::kStreamClosed: terminate(Http2Error::kStreamClosed); break;
    case LateVerdict::kProtocolError: terminate(Http2Error::kProtocol); break;
  }
  return !is_ending_;
}

/// RFC 9113 section 6.3 and RFC 7540 section 5.3.1. nghttp2 skips these frames altogether once
/// SETTINGS_NO_RFC7540_PRIORITIES is ours.
bool Http2Session::judge_priority(const FrameHead& head, bool begins, std::string_view payload) {
  if (begins) {
    priority_bytes_ = 0;
    dependency_ = 0;
  }
  for (const char c : payload) {
    if (priority_bytes_++ == 4) break;
    dependency_ = dependency_ << 8 | static_cast<unsigned char>(c);
  }
  const bool depends_on_itself = priority_bytes_ >= 4 && (dependency_ & 0x7fffffffu) == head.stream;
  if (head.stream == 0 || depends_on_itself) terminate(Http2Error::kProtocol);
  return !is_ending_;
}

void Http2Session::on_begin_headers(StreamId id) {
  Stream* stream = find(id);
  if (!stream) {
    if (role_ == Role::kClient) return;
    stream = &open_stream(id);
    advance(stream->state, StreamEvent::kHeaders);
  }
  on_head_begin(*stream);
}

/// False: the connection ends amid the block. HPACK would not be in step any more, and need not be.
bool Http2Session::on_field(std::string_view name, std::string_view value) {
  reader_.add(name, value);
  if (!reader_.is_bomb()) return true;
  note(Offence::kRefusedHead);
  offences_.end_by(Offence::kRefusedHead);
  terminate(Http2Error::kEnhanceYourCalm);
  return false;
}

void Http2Session::on_headers_frame(StreamId id, bool ended) {
  Stream* stream = find(id);
  if (!stream || (stream->has_peer_head && stream->state == StreamState::kClosed)) return;
  if (ended) advance(stream->state, StreamEvent::kEndReceived);
  on_head(*stream, ended);
}

void Http2Session::on_data_frame(StreamId id, bool is_empty, bool ended) {
  if (is_empty && !ended) note(Offence::kEmptyData);
  Stream* stream = find(id);
  // What came for a stream that we have reset was dropped: its end would make the rest look whole.
  if (!stream || !ended || stream->state == StreamState::kClosed) return;
  advance(stream->state, StreamEvent::kEndReceived);
  if (stream->is_announced) on_body_end(*stream);
}

void Http2Session::on_data(StreamId id, std::string_view bytes) {
  Stream* stream = find(id);
  if (!stream || !stream->is_announced || stream->state == StreamState::kClosed) {
    // Nobody will ever acknowledge it, so it must not keep the window shut.
    (void)nghttp2_session_consume(session_, static_cast<std::int32_t>(id), bytes.size());
    return;
  }
  stream->unacknowledged += bytes.size();
  on_body(*stream, bytes);
}

void Http2Session::on_reset_frame(StreamId id) {
  Stream* stream = find(id);
  if (!stream) return;
  stream->was_reset_by_peer = true;
  advance(stream->state, StreamEvent::kReset);
  if (role_ == Role::kServer && !stream->has_own_head) note(Offence::kRapidReset);
}

void Http2Session::on_invalid_headers(StreamId id, const char* detail) {
  if (Stream* stream = find(id)) return on_malformed_head(*stream, detail);
  remember_reset(id);  // Refused before it got a stream: RST_STREAM is on its way.
}

// ---- streams --------------------------------------------------------------------------------

std::size_t Http2Session::index_of(StreamId id) const {
  const auto at =
      std::lower_bound(streams_.begin(), streams_.end(), id,
                       [](const OpenStream& open, StreamId key) { return open.id < key; });
  return static_cast<std::size_t>(at - streams_.begin());
}

Http2Session::Stream* Http2Session::find(StreamId id) const {
  const std::size_t index = index_of(id);
  return index < streams_.size() && streams_[index].id == id ? streams_[index].stream.get()
                                                             : nullptr;
}

Http2Session::Stream& Http2Session::open_stream(StreamId id) {
  check(streams_.empty() || streams_.back().id < id, "stream ids only grow");
  if (free_.empty()) free_.push_back(std::make_unique<Stream>());
  streams_.push_back({id, std::move(free_.back())});
  free_.pop_back();
  Stream& stream = *streams_.back().stream;
  stream.id = id;
  if (role_ == Role::kClient && limits_.response_credit < limits_.stream_buffer_high)
    stream.window = limits_.response_credit;
  return stream;
}

void Http2Session::recycle(std::unique_ptr<Stream> stream) {
  if (free_.size() >= kFreeStreamsMax) return;
  *stream = Stream{};
  free_.push_back(std::move(stream));
}

/// nghttp2 has closed it: both ends came, or a reset in either direction.
void Http2Session::close_stream(StreamId id, Http2Error error) {
  const std::size_t index = index_of(id);
  if (index >= streams_.size() || streams_[index].id != id) return;
  std::unique_ptr<Stream> stream = std::move(streams_[index].stream);
  streams_.erase(streams_.begin() + static_cast<std::ptrdiff_t>(index));
  if (stream->unacknowledged > 0)
    (void)nghttp2_session_consume_connection(session_, stream->unacknowledged);
  StreamEnd end;
  end.is_by_peer = stream->was_reset_by_peer;
  if (stream->reason != Reset::kNone) {
    end.reason = stream->reason;
    end.detail = stream->detail;
  } else if (end.is_by_peer) {
    end.reason = reset_of(error);
    end.detail = "remote_reset";
  } else if (error == Http2Error::kRefusedStream) {
    end.reason = Reset::kRefused;  // Above the last id of a GOAWAY, or it never went out.
    end.detail = "refused_stream";
  } else if (error != Http2Error::kNoError) {
    end.reason = Reset::kProtocol;  // nghttp2 has reset it.
    end.detail = error == Http2Error::kFlowControl ? "flow_control_error" : "protocol_error";
  }
  on_stream_over(*stream, end);
  recycle(std::move(stream));
}

void Http2Session::fail_all(const StreamEnd& end) {
  is_over_ = true;
  const auto gone = std::exchange(streams_, {});
  for (const OpenStream& open : gone) on_stream_over(*open.stream, end);
}

void Http2Session::remember_reset(StreamId id) {
  if (recent_resets_.empty()) recent_resets_.resize(kRecentResets);
  recent_resets_[next_reset_] = id;
  next_reset_ = (next_reset_ + 1) % kRecentResets;
}

bool Http2Session::is_reset_recent(StreamId id) const {
  return std::find(recent_resets_.begin(), recent_resets_.end(), id) != recent_resets_.end();
}

// ---- commands -------------------------------------------------------------------------------

void Http2Session::send_body(StreamId id, std::string_view bytes) {
  Stream* stream = find(id);
  if (!stream || stream->is_ending || stream->state == StreamState::kClosed) return;
  check(stream->has_own_head, "a body before its head");
  stream->body.append(bytes);
  if (std::exchange(stream->is_deferred, false))
    (void)nghttp2_session_resume_data(session_, static_cast<std::int32_t>(id));
}

void Http2Session::send_end(StreamId id, const Fields* trailers) {
  Stream* stream = find(id);
  if (!stream || stream->is_ending || stream->state == StreamState::kClosed) return;
  check(stream->has_own_head, "an end before the head");
  stream->is_ending = true;
  if (trailers && !trailers->empty()) stream->trailers = std::make_unique<Fields>(*trailers);
  if (std::exchange(stream->is_deferred, false))
    (void)nghttp2_session_resume_data(session_, static_cast<std::int32_t>(id));
}

void Http2Session::reset(StreamId id, Reset reason) {
  Stream* stream = find(id);
  if (!stream || stream->was_reset_by_handler) return;
  // Our message is whole already: it goes out, then NO_ERROR follows by itself.
  if (reason == Reset::kNoError && stream->is_ending) return;
  stream->was_reset_by_handler = true;
  reset_stream(*stream, error_of(reason), reason, "reset_by_us");
}

void Http2Session::reset_stream(Stream& stream, Http2Error error, Reset reason,
                                const char* detail) {
  advance(stream.state, StreamEvent::kReset);
  stream.reason = reason;
  stream.detail = detail;
  stream.body.clear();
  (void)nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, static_cast<std::int32_t>(stream.id),
                                  static_cast<std::uint32_t>(error));
}

void Http2Session::acknowledge(StreamId id, std::size_t bytes) {
  Stream* stream = find(id);
  if (!stream) return;
  const std::size_t taken = std::min(bytes, stream->unacknowledged);
  stream->unacknowledged -= taken;
  if (taken == 0) return;
  (void)nghttp2_session_consume(session_, static_cast<std::int32_t>(id), taken);
  if (stream->window > 0) widen(*stream, taken);
}

/// A response's window begins small, and doubles as its client takes bytes
/// (Limits::response_credit).
void Http2Session::widen(Stream& stream, std::size_t taken) {
  stream.taken += taken;
  if (stream.taken < stream.window) return;
  const std::size_t window = std::min(2 * stream.window, limits_.stream_buffer_high);
  (void)nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE,
                                              static_cast<std::int32_t>(stream.id),
                                              static_cast<std::int32_t>(window));
  stream.window = window < limits_.stream_buffer_high ? window : 0;
}

// ---- the connection -------------------------------------------------------------------------

void Http2Session::note(Offence offence, double times) {
  if (!offences_.note(offence, times)) terminate(Http2Error::kEnhanceYourCalm);
}

void Http2Session::terminate(Http2Error error) {
  if (is_ending_ || is_over_) return;
  before_output();
  is_ending_ = true;
  (void)nghttp2_session_terminate_session(session_, static_cast<std::uint32_t>(error));
}

void Http2Session::lose_connection(const char* detail) {
  if (!is_over_) fail_all({Reset::kConnectionLost, true, detail});
}

bool Http2Session::wants_input() const {
  return !is_over_ && !is_ending_ &&
         nghttp2_session_get_outbound_queue_size(session_) < kQueuedFramesMax;
}

bool Http2Session::is_finished() const {
  return is_over_ || (streams_.empty() && nghttp2_session_want_read(session_) == 0 &&
                      nghttp2_session_want_write(session_) == 0);
}

void Http2Session::shrink() {
  free_.clear();
  free_.shrink_to_fit();
  streams_.shrink_to_fit();
  if (!scanner_.is_mid_frame()) reader_.shrink();
  if (is_quiet_ || is_over_) memory_.discard_pages();
}

}  // namespace gatehouse::proxy
