#include "proxy/protocol/http1_client_session.h"

#include <algorithm>
#include <utility>

#include "daemon/base/error.h"
#include "proxy/protocol/upgrade.h"

namespace gatehouse::proxy {

namespace {

/// Backends may send more fields than we take from clients; their bytes are bounded anyway.
constexpr std::size_t kResponseFieldsMax = 1000;

MessageLimits limits_of_responses(const Limits& limits) {
  MessageLimits bounds;
  bounds.uri_bytes = limits.uri_bytes;  // Here: of the reason phrase.
  bounds.header_bytes = limits.response_header_bytes;
  bounds.header_fields = kResponseFieldsMax;
  bounds.trailer_bytes = limits.trailer_bytes;
  return bounds;
}

/// Methods for which a body is expected, so that its absence is said (RFC 9110 section 8.6).
bool anticipates_body(std::string_view method) {
  return method == "POST" || method == "PUT" || method == "PATCH";
}

}  // namespace

Http1ClientSession::Http1ClientSession(const Limits& limits, ClientEvents& events)
    : events_(events),
      credit_max_(limits.stream_buffer_high),
      first_credit_(std::min(limits.response_credit, limits.stream_buffer_high)),
      interim_max_(limits.interim_responses),
      parser_(Http1Parser::Role::kResponse, limits_of_responses(limits)) {}

// ---- requests -------------------------------------------------------------------------------

StreamId Http1ClientSession::send_request(const RequestHead& head, bool ended, StreamToken token) {
  check(capacity() > 0, "a second request on an HTTP/1.1 connection");
  ++stream_;
  token_ = token;
  is_open_ = true;
  has_received_ = has_final_head_ = is_request_whole_ = is_poisoned_ = false;
  keeps_alive_ = true;
  interims_ = 0;
  outstanding_ = taken_ = 0;
  credit_ = first_credit_;
  parser_.expect_response(head.method == "HEAD", !head.upgrade.empty());
  write_head(head, ended);
  return stream_;
}

void Http1ClientSession::write_head(const RequestHead& head, bool ended) {
  FlatBuffer& out = output_.head();
  out.append(head.method);
  out.append(" ");
  out.append(head.path);
  out.append(" HTTP/1.1\r\nhost: ");  // RFC 9112 section 3.2: Host first.
  out.append(head.authority);
  out.append("\r\n");
  append_fields(out, head.fields);
  if (!head.upgrade.empty()) {
    out.append("connection: upgrade\r\nupgrade: ");
    out.append(head.upgrade);
    out.append("\r\n");
    const auto key = head.fields.find(kWebSocketKey);
    accept_ = key ? websocket_accept(*key) : std::string();
  } else if (head.te_trailers) {
    out.append("te: trailers\r\nconnection: te\r\n");
  }
  if (ended) {
    if (head.content_length || anticipates_body(head.method)) out.append("content-length: 0\r\n");
    output_.begin_body(Http1Output::Framing::kNone, 0);
  } else if (head.content_length) {
    out.append("content-length: ");
    append_decimal(out, *head.content_length);
    out.append("\r\n");
    output_.begin_body(Http1Output::Framing::kLength, *head.content_length);
  } else {
    out.append("transfer-encoding: chunked\r\n");
    output_.begin_body(Http1Output::Framing::kChunked, 0);
  }
  if (head.expects_continue && !ended) out.append("expect: 100-continue\r\n");
  out.append("\r\n");
  if (ended) (void)output_.send_end(nullptr);
}

void Http1ClientSession::send_body(StreamId stream, std::string_view bytes) {
  if (!is_live(stream)) return;
  if (!output_.send_body(bytes)) poison();
}

void Http1ClientSession::send_end(StreamId stream, const Fields* trailers) {
  if (!is_live(stream)) return;
  if (!output_.send_end(trailers)) poison();
}

/// The body is not as long as the head says. The backend must never take it for a whole one.
void Http1ClientSession::poison() {
  is_poisoned_ = true;  // Told from produce().
  is_broken_ = true;
}

void Http1ClientSession::reset(StreamId stream, Reset) {
  if (!is_live(stream)) return;
  is_open_ = false;
  if (output_.has_gone_out() || has_received_) is_broken_ = true;
  output_.clear();
}

bool Http1ClientSession::produce(FlatBuffer& out, std::size_t most) {
  if (!is_open_) return false;
  if (is_poisoned_) {
    fail(Reset::kInternal, "request_length_mismatch");
    return false;
  }
  const std::size_t taken = output_.produce(out, most);
  if (output_.is_whole()) is_request_whole_ = true;
  if (taken > 0) events_.on_request_taken(token_, taken);
  if (has_tunnel_ended_ && is_request_whole_) is_open_ = false;
  return is_open_ && !output_.is_empty();
}

// ---- responses ------------------------------------------------------------------------------

bool Http1ClientSession::feed(std::string_view bytes) {
  if (bytes.empty()) return !is_finished();
  if (is_open_) {
    has_received_ = true;
    parse(bytes);
  } else {
    is_broken_ = true;  // Nothing was asked.
  }
  return !is_finished();
}

void Http1ClientSession::parse(std::string_view& input) {
  const StreamId stream = stream_;  // An event may open the next one: these bytes are not its.
  while (is_live(stream)) {
    switch (parser_.next(input)) {
      case Http1Parser::Event::kNeedMore: return;
      case Http1Parser::Event::kHead: on_head(!input.empty()); break;
      case Http1Parser::Event::kBody:
        outstanding_ += parser_.body().size();
        events_.on_response_body(token_, parser_.body());
        break;
      case Http1Parser::Event::kEnd: finish(parser_.trailers(), !input.empty()); break;
      case Http1Parser::Event::kError: return fail(Reset::kProtocol, parser_.violation().detail);
    }
  }
}

void Http1ClientSession::on_head(bool has_more) {
  ResponseHead& head = parser_.response();
  if (head.status == 101) return on_switch(head);
  if (head.status < 200) {
    if (++interims_ > interim_max_) return fail(Reset::kProtocol, "too_many_interim_responses");
    return events_.on_interim(token_, head);
  }
  has_final_head_ = true;
  keeps_alive_ = parser_.is_persistent();
  const StreamId stream = stream_;
  const bool ended = !parser_.has_body();
  events_.on_response(token_, head, ended);
  if (ended && is_live(stream)) finish(nullptr, has_more);
}

/// RFC 6455 section 4.1. A 101 that somebody has talked the backend into has no right Accept.
void Http1ClientSession::on_switch(ResponseHead& head) {
  if (!is_request_whole_) return fail(Reset::kProtocol, "early_switch");
  if (!accept_.empty() && head.fields.find(kWebSocketAccept) != accept_)
    return fail(Reset::kProtocol, "wrong_websocket_accept");
  has_final_head_ = is_tunnel_ = is_broken_ = true;
  is_request_whole_ = false;
  output_.finish();
  output_.begin_body(Http1Output::Framing::kUntilClose, 0);
  events_.on_response(token_, head, false);
}

void Http1ClientSession::finish(const Fields* trailers, bool has_surplus) {
  if (is_tunnel_ && !is_request_whole_) {  // The other direction goes on.
    has_tunnel_ended_ = true;
    return events_.on_response_end(token_, nullptr);
  }
  is_open_ = false;
  // HARDENING.md section 5: bytes behind a response belong to nobody.
  if (!keeps_alive_ || !is_request_whole_ || has_surplus) is_broken_ = true;
  if (is_request_whole_) {
    output_.finish();
  } else {
    output_.clear();
  }
  events_.on_response_end(std::exchange(token_, 0), trailers);
}

void Http1ClientSession::fail(Reset reason, const char* detail) {
  ClientEvents::Failure failure;
  failure.reason = reason;
  failure.was_sent = output_.has_gone_out();
  // Nothing written, or a connection that the backend had grown tired of just before.
  failure.is_retryable =
      reason == Reset::kConnectionLost && !has_received_ && (!failure.was_sent || stream_ > 1);
  failure.detail = detail;
  is_open_ = false;
  is_broken_ = true;
  output_.clear();
  events_.on_failed(std::exchange(token_, 0), failure);
}

void Http1ClientSession::on_end_of_input() {
  is_broken_ = true;
  if (!is_open_) return;
  std::string_view nothing;
  if (has_final_head_ && parser_.on_end_of_input()) return parse(nothing);
  on_connection_lost();
}

void Http1ClientSession::on_connection_lost() {
  is_broken_ = true;
  if (is_open_)
    fail(Reset::kConnectionLost,
         has_final_head_ ? "connection_lost_inside_body" : "connection_lost_before_response");
}

bool Http1ClientSession::wants_input() const {
  return is_open_ ? outstanding_ < credit_ && !has_tunnel_ended_ : !is_broken_;
}

std::size_t Http1ClientSession::input_room() const {
  return is_open_ && outstanding_ < credit_ ? credit_ - outstanding_ : credit_max_;
}

void Http1ClientSession::acknowledge(StreamId stream, std::size_t bytes) {
  if (!is_live(stream)) return;
  outstanding_ -= std::min(bytes, outstanding_);
  if (credit_ == credit_max_) return;
  taken_ += bytes;
  if (taken_ >= credit_) credit_ = std::min(2 * credit_, credit_max_);
}

void Http1ClientSession::shrink() {
  if (is_open_) return;
  parser_.shrink();
  output_.shrink();
}

}  // namespace gatehouse::proxy
