#include "proxy/protocol/http2_server_session.h"

#include <array>
#include <utility>

#include "daemon/base/error.h"
#include "proxy/protocol/upgrade.h"

namespace gatehouse::proxy {

namespace {

/// The decimal text of a status, for ever.
std::string_view status_text(int status) {
  static const auto kTexts = [] {
    std::array<std::array<char, 3>, 500> texts{};
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::size_t code = i + 100;
      texts[i] = {static_cast<char>('0' + code / 100), static_cast<char>('0' + code / 10 % 10),
                  static_cast<char>('0' + code % 10)};
    }
    return texts;
  }();
  check(status >= 100 && status < 600, "a status has three digits");
  return {kTexts[static_cast<std::size_t>(status) - 100].data(), 3};
}

}  // namespace

Http2ServerSession::Http2ServerSession(const Limits& limits, const Clock& clock,
                                       ServerEvents& events)
    : Http2Session(Role::kServer, limits, clock), events_(events) {}

// ---- requests -------------------------------------------------------------------------------

void Http2ServerSession::on_head_begin(Stream& stream) {
  if (stream.has_peer_head) return reader().begin_trailers({limits().trailer_bytes, 0});
  reader().begin_request({limits().header_bytes, limits().header_fields}, limits().uri_bytes);
}

void Http2ServerSession::on_head(Stream& stream, bool ended) {
  if (std::exchange(stream.has_peer_head, true)) return on_trailers(stream);
  on_request(stream, ended);
}

void Http2ServerSession::on_request(Stream& stream, bool ended) {
  const HeadVerdict verdict = reader().finish_request();
  if (!verdict.is_fine()) return refuse(stream, verdict);
  stream.is_announced = true;
  stream.token = events_.on_request(stream.id, reader().request(), ended);
}

void Http2ServerSession::refuse(Stream& stream, const HeadVerdict& verdict) {
  if (verdict.is_malformed) {
    reset_stream(stream, Http2Error::kProtocol, Reset::kProtocol, verdict.detail);
  } else {
    begin_list();
    add_static(":status", status_text(verdict.status));
    add_static("content-length", "0");
    submit_response(stream, true);
    // A bomb of a few octets that decode to megabytes weighs what it cost to decode.
    note(Offence::kRefusedHead, 1.0 + static_cast<double>(reader().overshoot()));
  }
  events_.on_refused(reader().request(), verdict.status, verdict.detail);
}

/// nghttp2 has reset the stream already.
void Http2ServerSession::on_malformed_head(Stream& stream, const char* detail) {
  if (stream.has_peer_head) return;  // Trailers: on_closed() will tell.
  const HeadVerdict verdict = reader().finish_request();
  events_.on_refused(reader().request(), 400, verdict.is_malformed ? verdict.detail : detail);
}

void Http2ServerSession::on_trailers(Stream& stream) {
  if (!stream.is_announced) return;
  const HeadVerdict verdict = reader().finish_trailers();
  if (verdict.is_malformed)
    reset_stream(stream, Http2Error::kProtocol, Reset::kProtocol, verdict.detail);
  else if (!verdict.is_fine())
    reset_stream(stream, Http2Error::kInternal, Reset::kOverflow, verdict.detail);
  else
    events_.on_request_end(stream.token, &reader().trailers());
}

void Http2ServerSession::on_body(Stream& stream, std::string_view bytes) {
  events_.on_request_body(stream.token, bytes);
}

void Http2ServerSession::on_body_end(Stream& stream) {
  events_.on_request_end(stream.token, nullptr);
}

// ---- responses ------------------------------------------------------------------------------

void Http2ServerSession::send_interim(StreamId id, const ResponseHead& head) {
  Stream* stream = find(id);
  if (!stream || stream->has_own_head || stream->state == StreamState::kClosed) return;
  begin_list();
  add_static(":status", status_text(head.status));
  add_fields(head.fields, std::nullopt);
  submit_interim(*stream);
}

void Http2ServerSession::send_response(StreamId id, const ResponseHead& head, bool ended) {
  Stream* stream = find(id);
  if (!stream || stream->state == StreamState::kClosed) return;
  check(!stream->has_own_head, "one response for each request");
  stream->has_own_head = true;
  stream->is_ending = ended;
  stream->is_tunnel = head.status == 101;
  if (waiting_count_ == waiting_heads_.size()) waiting_heads_.emplace_back();
  WaitingHead& waiting = waiting_heads_[waiting_count_++];
  waiting.stream = id;
  waiting.head = head;
  waiting.ended = ended;
}

void Http2ServerSession::submit_waiting_heads() {
  const std::size_t count = std::exchange(waiting_count_, 0);
  for (std::size_t i = 0; i < count; ++i) {
    const WaitingHead& waiting = waiting_heads_[i];
    Stream* stream = find(waiting.stream);
    if (!stream || stream->state == StreamState::kClosed) continue;
    begin_list();
    if (stream->is_tunnel) {  // RFC 8441 section 5: 200 is what 101 is elsewhere.
      add_static(":status", "200");
      add_fields_but(waiting.head.fields, kWebSocketAccept);
      submit_response(*stream, false);
      continue;
    }
    add_static(":status", status_text(waiting.head.status));
    // RFC 9110 section 8.6: never with 204.
    add_fields(waiting.head.fields,
               waiting.head.status == 204 ? std::nullopt : waiting.head.content_length);
    // Where the end has come meanwhile, END_STREAM goes with the head.
    const bool is_all = stream->is_ending && stream->body.empty() && !stream->trailers;
    submit_response(*stream, waiting.ended || is_all);
  }
}

bool Http2ServerSession::take_back_response(StreamId id) {
  Stream* stream = find(id);
  if (!stream || stream->state == StreamState::kClosed) return false;
  for (std::size_t i = 0; i < waiting_count_; ++i) {
    if (waiting_heads_[i].stream != id) continue;
    waiting_heads_[i].stream = 0;
    stream->has_own_head = stream->is_ending = stream->is_tunnel = false;
    stream->body.clear();
    stream->trailers.reset();
    return true;
  }
  return false;
}

void Http2ServerSession::on_taken(Stream& stream, std::size_t bytes) {
  events_.on_response_taken(stream.token, bytes);
}

/// RFC 9113 section 8.1: a complete response needs no more of the request.
void Http2ServerSession::on_end_sent(Stream& stream) {
  if (is_open_for_peer(stream.state) && !stream.is_tunnel)
    reset_stream(stream, Http2Error::kNoError, Reset::kNone, "");
}

void Http2ServerSession::on_stream_over(Stream& stream, const StreamEnd& end) {
  if (!std::exchange(stream.is_announced, false)) return;
  events_.on_closed(stream.token, stream.is_end_sent ? Reset::kNone : end.reason);
}

void Http2ServerSession::shed() {
  is_shed_ = true;
  terminate(Http2Error::kEnhanceYourCalm);
}

/// A timeout here is a window that stayed shut: each such stream has cost us a buffer and a
/// request.
void Http2ServerSession::reset(StreamId stream, Reset reason) {
  Http2Session::reset(stream, reason);
  if (reason == Reset::kTimeout) note(Offence::kStalledStream);
}

// ---- ids ------------------------------------------------------------------------------------

std::optional<StreamPast> Http2ServerSession::past_of(StreamId id) const {
  if (id == 0 || id % 2 == 0 || id > last_id_) return std::nullopt;
  if (is_reset_recent(id) || is_refusing()) return StreamPast::kReset;
  return is_skipped(id) ? StreamPast::kSkipped : StreamPast::kEnded;
}

void Http2ServerSession::on_new_id(StreamId id) {
  if (id % 2 == 0 || id <= last_id_) return;
  if (id > last_id_ + 2 && last_id_ != 0) {
    skipped_[next_skipped_] = {last_id_ + 2, id - 2};
    next_skipped_ = (next_skipped_ + 1) % kSkippedRanges;
  } else if (id > 1 && last_id_ == 0) {
    skipped_[next_skipped_++] = {1, id - 2};
  }
  last_id_ = id;
}

bool Http2ServerSession::is_skipped(StreamId id) const {
  for (const Range& range : skipped_)
    if (range.first != 0 && range.first <= id && id <= range.last) return true;
  return false;
}

void Http2ServerSession::drain() {
  if (!std::exchange(is_draining_, true)) return announce_end();
  refuse_new_streams();
}

}  // namespace gatehouse::proxy
