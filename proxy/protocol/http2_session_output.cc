// The sending half of Http2Session: DATA frames straight from the streams' buffers, GOAWAY. Heads
// are in http2_session_heads.cc.

#include <nghttp2/nghttp2.h>

#include <algorithm>

#include "daemon/base/error.h"
#include "proxy/protocol/http2_session.h"

namespace gatehouse::proxy {

namespace {

// Backends may announce any number; the table of streams is made for these.
constexpr std::size_t kPeerStreamsMax = 1024;
// A smaller frame that leaves bytes behind was cut by the peer's window.
constexpr std::size_t kSmallFrame = 256;
constexpr StreamId kStreamIdMax = 0x7fffffff;

}  // namespace

// ---- bodies ---------------------------------------------------------------------------------

Http2Session::Chunk Http2Session::next_chunk(Stream& stream, std::size_t most) {
  Chunk chunk;
  chunk.bytes = std::min(most, stream.body.size());
  chunk.is_last = stream.is_ending && chunk.bytes == stream.body.size();
  if (chunk.is_last) chunk.trailers = stream.trailers.get();
  stream.is_deferred = chunk.bytes == 0 && !chunk.is_last;
  return chunk;
}

bool Http2Session::move_out(Stream& stream, std::string_view frame_header, std::size_t bytes) {
  out_->append(frame_header);
  for (std::size_t left = bytes; left > 0;) {
    const std::string_view piece = stream.body.front().substr(0, left);
    out_->append(piece);
    left -= piece.size();
    stream.body.consume(piece.size());
  }
  if (bytes > 0) {
    if (bytes >= kSmallFrame || stream.body.empty()) offences_.on_data_sent();
    if (stream.is_announced) on_taken(stream, bytes);
  }
  return out_->size() >= out_most_;
}

bool Http2Session::produce(FlatBuffer& out, std::size_t most) {
  if (is_over_) return false;
  before_output();
  out_ = &out;
  out_most_ = most;
  bool has_more = true, is_broken = false;
  while (out.size() < most) {
    const std::uint8_t* data = nullptr;
    const auto size = nghttp2_session_mem_send(session_, &data);
    if (size > 0) {
      out.append({reinterpret_cast<const char*>(data), static_cast<std::size_t>(size)});
      continue;
    }
    is_broken = size < 0;
    // Nothing is also said when a DATA frame has filled the output.
    has_more = out.size() >= most;
    break;
  }
  out_ = nullptr;
  if (is_broken || is_goaway_sent_) {
    fail_all({Reset::kConnectionLost, false, "connection_error"});
    return false;
  }
  is_quiet_ = !has_more;
  return has_more && nghttp2_session_want_write(session_) != 0;
}

// ---- what went out --------------------------------------------------------------------------

void Http2Session::on_headers_sent(StreamId id) {
  if (Stream* stream = find(id)) stream->is_head_sent = true;
}

void Http2Session::on_end_stream_sent(StreamId id) {
  Stream* stream = find(id);
  if (!stream) return;
  stream->is_end_sent = true;
  if (const auto after = next(stream->state, StreamEvent::kEndSent)) stream->state = *after;
  on_end_sent(*stream);
}

void Http2Session::on_reset_sent(StreamId id, Http2Error error) {
  remember_reset(id);
  const Stream* stream = find(id);
  const bool is_provoked =
      error != Http2Error::kNoError && !(stream && stream->was_reset_by_handler);
  if (is_provoked) note(Offence::kProvokedReset);
}

void Http2Session::on_goaway_sent(Http2Error error) {
  if (error == Http2Error::kNoError && !is_ending_) return;
  is_goaway_sent_ = true;
  offences_.end_by(Offence::kProtocolError);
}

/// nghttp2 could not encode it: a head beyond what it takes, or the connection is closing.
void Http2Session::on_headers_not_sent(StreamId id) {
  Stream* stream = find(id);
  if (stream && role_ == Role::kServer && stream->state != StreamState::kClosed)
    reset_stream(*stream, Http2Error::kInternal, Reset::kInternal, "head_not_sent");
}

// ---- PING, GOAWAY
// ---------------------------------------------------------------------------------

void Http2Session::submit_ping() {
  if (!is_over_) (void)nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
}

void Http2Session::announce_end() {
  if (!is_over_) (void)nghttp2_submit_shutdown_notice(session_);
}

void Http2Session::refuse_new_streams() {
  if (is_over_ || is_refusing_) return;
  is_refusing_ = true;
  (void)nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                              nullptr, 0);
}

bool Http2Session::may_request() const {
  return !is_over_ && !is_ending_ && nghttp2_session_check_request_allowed(session_) != 0 &&
         next_request_id() <= kStreamIdMax;
}

std::size_t Http2Session::peer_streams_max() const {
  const std::size_t most =
      nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  return std::min(most, kPeerStreamsMax);
}

bool Http2Session::peer_takes_extended_connect() const {
  return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) ==
         1;
}

StreamId Http2Session::next_request_id() const {
  return nghttp2_session_get_next_stream_id(session_);
}

}  // namespace gatehouse::proxy
