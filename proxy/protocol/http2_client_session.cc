#include "proxy/protocol/http2_client_session.h"

#include <utility>

#include "daemon/base/error.h"
#include "proxy/protocol/upgrade.h"

namespace gatehouse::proxy {

Http2ClientSession::Http2ClientSession(const Limits& limits, const Clock& clock,
                                       ClientEvents& events, std::string_view scheme)
    : Http2Session(Role::kClient, limits, clock), events_(events), scheme_(scheme) {}

// ---- requests -------------------------------------------------------------------------------

StreamId Http2ClientSession::send_request(const RequestHead& head, bool ended, StreamToken token) {
  check(capacity() > 0, "a request needs capacity");
  const bool is_upgrade = !head.upgrade.empty();
  begin_list();
  if (is_upgrade) {  // RFC 8441 section 4
    add_static(":method", "CONNECT");
    add_named(":protocol", head.upgrade);
  } else {
    add_named(":method", head.method);
  }
  add_static(":scheme", scheme_);
  if (!head.authority.empty()) add_named(":authority", head.authority);
  add_named(":path", head.path);
  if (is_upgrade) {
    add_fields_but(head.fields, kWebSocketKey);
  } else {
    add_fields(head.fields, head.content_length);
  }
  if (head.te_trailers) add_static("te", "trailers");
  if (head.expects_continue) add_static("expect", "100-continue");
  Stream& stream = submit_request(ended && !is_upgrade);
  if (is_upgrade) {
    stream.is_upgrade = true;
    stream.accept = websocket_accept(head.fields.find(kWebSocketKey).value_or(std::string_view()));
  }
  stream.token = token;
  stream.is_announced = true;
  return stream.id;
}

std::size_t Http2ClientSession::capacity() const {
  if (!is_reusable()) return 0;
  const std::size_t most = peer_streams_max(), open = open_streams();
  return most > open ? most - open : 0;
}

void Http2ClientSession::on_taken(Stream& stream, std::size_t bytes) {
  events_.on_request_taken(stream.token, bytes);
}

// ---- responses ------------------------------------------------------------------------------

void Http2ClientSession::on_head_begin(Stream& stream) {
  if (stream.has_peer_head) return reader().begin_trailers({limits().trailer_bytes, 0});
  reader().begin_response({limits().response_header_bytes, 0});
}

void Http2ClientSession::on_head(Stream& stream, bool ended) {
  if (!stream.is_announced || stream.was_reset_by_handler) return;
  if (stream.has_peer_head) return on_trailers(stream);
  on_response(stream, ended);
}

void Http2ClientSession::on_response(Stream& stream, bool ended) {
  const HeadVerdict verdict = reader().finish_response();
  if (!verdict.is_fine()) {
    const Reset reason = verdict.is_malformed ? Reset::kProtocol : Reset::kOverflow;
    return reset_stream(stream, error_of(reason), reason, verdict.detail);
  }
  ResponseHead& head = reader().response();
  if (head.status >= 200) {
    stream.has_peer_head = true;
    if (stream.is_upgrade && head.status < 300) open_tunnel(stream, head);
    events_.on_response(stream.token, head, ended && !stream.is_tunnel);
    if (ended && !stream.was_reset_by_handler) finish(stream, nullptr);
    return;
  }
  if (++stream.interims > limits().interim_responses)
    return reset_stream(stream, Http2Error::kCancel, Reset::kProtocol,
                        "too_many_interim_responses");
  events_.on_interim(stream.token, head);
}

/// RFC 8441 section 5: any 2xx grants it. HTTP/1.1 wants the proof that it was meant, too.
void Http2ClientSession::open_tunnel(Stream& stream, ResponseHead& head) {
  stream.is_tunnel = true;
  head.status = 101;
  head.content_length.reset();
  head.fields.remove(Name::kContentLength);
  head.fields.set(kWebSocketAccept, stream.accept);
}

void Http2ClientSession::on_malformed_head(Stream& stream, const char* detail) {
  if (stream.reason != Reset::kNone) return;
  stream.reason = Reset::kProtocol;
  stream.detail = detail;
}

void Http2ClientSession::on_trailers(Stream& stream) {
  const HeadVerdict verdict = reader().finish_trailers();
  if (verdict.is_malformed)
    return reset_stream(stream, Http2Error::kProtocol, Reset::kProtocol, verdict.detail);
  if (!verdict.is_fine())
    return reset_stream(stream, Http2Error::kInternal, Reset::kOverflow, verdict.detail);
  finish(stream, &reader().trailers());
}

void Http2ClientSession::on_body(Stream& stream, std::string_view bytes) {
  events_.on_response_body(stream.token, bytes);
}

/// The response is whole. What is left of the request is not wanted any more.
void Http2ClientSession::finish(Stream& stream, const Fields* trailers) {
  if (stream.is_tunnel && !stream.is_end_sent)  // The other direction goes on.
    return events_.on_response_end(stream.token, nullptr);
  stream.is_announced = false;
  if (!stream.is_end_sent) reset_stream(stream, Http2Error::kCancel, Reset::kNone, "");
  events_.on_response_end(stream.token, trailers);
}

void Http2ClientSession::on_stream_over(Stream& stream, const StreamEnd& end) {
  if (!std::exchange(stream.is_announced, false) || stream.was_reset_by_handler) return;
  if (stream.is_tunnel && end.reason == Reset::kNone) return;  // Both ends have come.
  ClientEvents::Failure failure;
  // kNone: nghttp2 saw both ends, so the response would be whole. It cannot be.
  failure.reason = end.reason == Reset::kNone ? Reset::kProtocol : end.reason;
  failure.detail = end.detail;
  const bool is_unprocessed = end.reason == Reset::kRefused || !stream.is_head_sent;
  failure.is_retryable = is_unprocessed;
  failure.was_sent = !is_unprocessed;
  events_.on_failed(stream.token, failure);
}

std::optional<StreamPast> Http2ClientSession::past_of(StreamId id) const {
  if (id % 2 == 0 || id >= next_request_id()) return std::nullopt;
  return StreamPast::kReset;  // Backends are ours: what comes late is dropped, and counted.
}

}  // namespace gatehouse::proxy
