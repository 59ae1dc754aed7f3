#include "proxy/protocol/http1_server_session.h"

#include <algorithm>
#include <utility>

#include "proxy/protocol/local_reply.h"
#include "proxy/protocol/upgrade.h"

namespace gatehouse::proxy {

namespace {

/// Pipelined input that waits for its turn; one read may go beyond it.
constexpr std::size_t kWaitingMax = 16 * 1024;

MessageLimits limits_of_requests(const Limits& limits) {
  MessageLimits bounds;
  bounds.uri_bytes = limits.uri_bytes;
  bounds.header_bytes = limits.header_bytes;
  bounds.header_fields = limits.header_fields;
  bounds.trailer_bytes = limits.trailer_bytes;
  return bounds;
}

void append_status_line(FlatBuffer& out, int status) {
  if (status == 200) return out.append("HTTP/1.1 200 OK\r\n");
  out.append("HTTP/1.1 ");
  append_decimal(out, static_cast<std::uint64_t>(status));
  out.append(" ");
  out.append(reason_of(status));
  out.append("\r\n");
}

}  // namespace

Http1ServerSession::Http1ServerSession(const Limits& limits, const Clock& clock,
                                       ServerEvents& events, std::string_view scheme)
    : events_(events),
      clock_(clock),
      scheme_(scheme),
      credit_max_(limits.stream_buffer_high),
      parser_(Http1Parser::Role::kRequest, limits_of_requests(limits)) {}

// ---- input ----------------------------------------------------------------------------------

bool Http1ServerSession::feed(std::string_view bytes) {
  if (is_tunnel_ && waiting_.empty()) {
    take_tunnel_bytes(bytes);
  } else if (waiting_.empty()) {
    parse(bytes);
    if (!is_closing_) waiting_.append(bytes);
  } else if (!is_closing_) {
    waiting_.append(bytes);
  }
  return !is_closing_;
}

void Http1ServerSession::parse(std::string_view& input) {
  while (can_parse()) {
    switch (parser_.next(input)) {
      case Http1Parser::Event::kNeedMore: return;
      case Http1Parser::Event::kHead: on_head(); break;
      case Http1Parser::Event::kBody:
        outstanding_ += parser_.body().size();
        events_.on_request_body(token_, parser_.body());
        break;
      case Http1Parser::Event::kEnd:
        is_request_ended_ = true;
        events_.on_request_end(token_, parser_.trailers());
        break;
      case Http1Parser::Event::kError: on_violation(parser_.violation()); return;
    }
  }
}

void Http1ServerSession::take_tunnel_bytes(std::string_view bytes) {
  if (bytes.empty() || !is_open_ || is_request_ended_ || reset_) return;
  outstanding_ += bytes.size();
  events_.on_request_body(token_, bytes);
}

void Http1ServerSession::on_head() {
  RequestHead& head = parser_.request();
  // RFC 9110 section 7.4: what claims to be secured must have come over a secured connection.
  if (head.scheme == "https" && scheme_ != "https")
    return refuse(421, "https_target_on_plain_port");
  head.scheme = scheme_;
  is_open_ = true;
  is_request_ended_ = !parser_.has_body();
  has_response_begun_ = ends_with_connection_ = false;
  keeps_alive_ = parser_.is_persistent();
  is_http10_ = head.version == HttpVersion::kHttp10;
  is_head_request_ = head.method == "HEAD";
  outstanding_ = 0;
  ++stream_;
  token_ = 0;
  token_ = events_.on_request(stream_, head, is_request_ended_);
}

void Http1ServerSession::on_violation(const Http1Parser::Violation& violation) {
  if (!is_open_) return refuse(violation.status, violation.detail);
  // Inside a body. A response that has begun is cut: what follows it could not be told apart.
  if (has_response_begun_) output_.clear();
  if (!has_response_begun_) write_error(violation.status, !is_head_request_);
  // kOverflow: on_closed() tells the status that was sent, 431.
  close_stream(violation.status == 431 ? Reset::kOverflow : Reset::kProtocol);
}

void Http1ServerSession::refuse(int status, const char* detail) {
  events_.on_refused(parser_.request(), status, detail);
  write_error(status, parser_.request().method != "HEAD");
  is_closing_ = true;
  waiting_.clear();
}

void Http1ServerSession::on_end_of_input() {
  is_input_ended_ = true;
  if (!is_open_) {
    is_closing_ = true;
  } else if (is_tunnel_) {
    if (is_request_ended_ || reset_) return;
    take_tunnel_bytes(waiting_.view());
    waiting_.clear();
    is_request_ended_ = true;
    events_.on_request_end(token_, nullptr);
  } else if (!is_request_ended_) {
    output_.clear();
    close_stream(Reset::kConnectionLost);
  }
}

void Http1ServerSession::on_connection_lost() {
  output_.clear();
  waiting_.clear();
  is_closing_ = true;
  if (is_open_) close_stream(reset_ ? *reset_ : Reset::kConnectionLost);
}

bool Http1ServerSession::wants_input() const {
  if (is_closing_ || is_input_ended_ || reset_) return false;
  if (is_open_ && is_request_ended_) return waiting_.size() < kWaitingMax;
  return outstanding_ < credit_max_;
}

bool Http1ServerSession::is_mid_head() const {
  return !is_open_ && !is_closing_ && parser_.is_mid_head();
}

void Http1ServerSession::time_out_head() {
  if (is_mid_head()) refuse(408, "header_timeout");
}

void Http1ServerSession::acknowledge(StreamId stream, std::size_t bytes) {
  if (is_live(stream)) outstanding_ -= std::min(bytes, outstanding_);
}

// ---- output ---------------------------------------------------------------------------------

bool Http1ServerSession::produce(FlatBuffer& out, std::size_t most) {
  for (;;) {
    if (reset_) {
      output_.clear();
      close_stream(*reset_);
    }
    if (is_tunnel_ && is_open_ && !waiting_.empty()) {
      take_tunnel_bytes(waiting_.view());
      waiting_.clear();
      if (reset_) continue;
    }
    if (!is_open_ && !is_closing_ && !waiting_.empty()) {
      std::string_view input = waiting_.view();
      parse(input);
      if (!is_closing_) waiting_.consume(waiting_.size() - input.size());
      // What is left of it will never become whole.
      if (!is_open_ && is_input_ended_) is_closing_ = true;
    }
    const std::size_t taken = output_.produce(out, most);
    if (taken > 0 && is_open_) events_.on_response_taken(token_, taken);
    if (reset_) continue;
    if (is_open_ && output_.is_whole() && !(is_tunnel_ && !is_request_ended_)) finish();
    const bool has_next = !is_open_ && !is_closing_ && !waiting_.empty();
    if (!has_next || out.size() >= most) return has_next || !output_.is_empty();
  }
}

void Http1ServerSession::finish() {
  output_.finish();
  is_open_ = false;
  if (!keeps_alive_ || !is_request_ended_ || drains_ > 1 || (is_input_ended_ && waiting_.empty())) {
    is_closing_ = true;
    waiting_.clear();
  }
  events_.on_closed(std::exchange(token_, 0), Reset::kNone);
}

/// Ends the open stream, and the connection with it.
void Http1ServerSession::close_stream(Reset reason) {
  is_open_ = false;
  is_closing_ = true;
  was_cut_ = true;
  waiting_.clear();
  reset_.reset();
  events_.on_closed(std::exchange(token_, 0), reason);
}

bool Http1ServerSession::is_finished() const {
  return is_closing_ && !is_open_ && output_.is_empty();
}

void Http1ServerSession::shrink() {
  if (is_open_) return;
  parser_.shrink();
  output_.shrink();
  waiting_.release();
}

void Http1ServerSession::drain() {
  if (++drains_ < 2 || is_open_) return;
  is_closing_ = true;
  waiting_.clear();
}

void Http1ServerSession::reset(StreamId stream, Reset reason) {
  if (!is_live(stream)) return;
  reset_ = reason;  // Told from produce().
  output_.clear();
}

// ---- responses ------------------------------------------------------------------------------

void Http1ServerSession::send_interim(StreamId stream, const ResponseHead& head) {
  if (!is_live(stream) || has_response_begun_ || is_http10_) return;
  append_status_line(output_.head(), head.status);
  append_fields(output_.head(), head.fields);
  output_.head().append("\r\n");
}

void Http1ServerSession::send_response(StreamId stream, const ResponseHead& head, bool ended) {
  if (!is_live(stream) || has_response_begun_) return;
  has_response_begun_ = true;
  if (head.status == 101) return open_tunnel(head);
  if (!is_request_ended_ || drains_ > 0) keeps_alive_ = false;
  std::uint64_t length = 0;
  write_head(head);
  const auto framing = write_framing(head, ended, length);
  FlatBuffer& out = output_.head();
  if (!keeps_alive_) {
    out.append("connection: close\r\n");
  } else if (is_http10_) {
    out.append("connection: keep-alive\r\n");
  }
  out.append("\r\n");
  output_.begin_body(framing, length);
  if (ended) send_end(stream, nullptr);
}

bool Http1ServerSession::take_back_response(StreamId stream) {
  // Interim heads that wait in front of it go with it: they mean nothing without a response.
  if (!is_live(stream) || !has_response_begun_ || output_.has_gone_out()) return false;
  output_.clear();
  has_response_begun_ = ends_with_connection_ = false;
  return true;
}

void Http1ServerSession::open_tunnel(const ResponseHead& head) {
  is_tunnel_ = true;
  is_request_ended_ = keeps_alive_ = false;
  write_head(head);
  output_.head().append("connection: upgrade\r\nupgrade: ");
  output_.head().append(kWebSocket);
  output_.head().append("\r\n\r\n");
  output_.begin_body(Http1Output::Framing::kUntilClose, 0);
}

void Http1ServerSession::write_head(const ResponseHead& head) {
  FlatBuffer& out = output_.head();
  append_status_line(out, head.status);
  append_fields(out, head.fields);
  if (head.fields.has(Name::kDate)) return;  // RFC 9110 section 6.6.1: else the recipient adds it.
  out.append("date: ");
  out.append(http_date(clock_));
  out.append("\r\n");
}

/// RFC 9112 section 6.3, from the sender's side.
Http1Output::Framing Http1ServerSession::write_framing(const ResponseHead& head, bool ended,
                                                       std::uint64_t& length) {
  using Framing = Http1Output::Framing;
  FlatBuffer& out = output_.head();
  const auto write_length = [&out](std::uint64_t bytes) {
    out.append("content-length: ");
    append_decimal(out, bytes);
    out.append("\r\n");
  };
  if (is_head_request_ || never_has_body({}, head.status)) {
    // A length is allowed where it tells what GET would have got, never in 204.
    if (head.content_length && head.status != 204) write_length(*head.content_length);
    return Framing::kNone;
  }
  if (head.content_length || ended) {
    length = head.content_length.value_or(0);
    write_length(length);
    return Framing::kLength;
  }
  if (!is_http10_) {
    out.append("transfer-encoding: chunked\r\n");
    return Framing::kChunked;
  }
  keeps_alive_ = false;
  ends_with_connection_ = true;
  return Framing::kUntilClose;
}

void Http1ServerSession::write_error(int status, bool with_body) {
  const LocalReply reply = make_local_reply(status, {}, false);
  write_head(reply.head);
  FlatBuffer& out = output_.head();
  out.append("content-length: ");
  append_decimal(out, reply.body.size());
  out.append("\r\nconnection: close\r\n\r\n");
  if (with_body) out.append(reply.body);
}

void Http1ServerSession::send_body(StreamId stream, std::string_view bytes) {
  if (!is_live(stream) || !has_response_begun_) return;
  if (!output_.send_body(bytes)) reset(stream, Reset::kInternal);  // More than its own length.
}

void Http1ServerSession::send_end(StreamId stream, const Fields* trailers) {
  if (!is_live(stream) || !has_response_begun_) return;
  if (!output_.send_end(trailers)) reset(stream, Reset::kInternal);  // A cut body: RFC 9112 8.
}

}  // namespace gatehouse::proxy
