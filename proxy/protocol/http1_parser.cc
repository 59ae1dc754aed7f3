#include "proxy/protocol/http1_parser.h"

#include <algorithm>
#include <cstring>

#include "proxy/protocol/headers.h"

// The flow of bytes: lines, bodies, chunks. What stands in the lines of a head is parsed in
// http1_head.cc.

namespace gatehouse::proxy {

namespace {

/// Room in a request line for the method, the version and what separates them.
constexpr std::size_t kLineOverhead = 64;
constexpr std::size_t kChunkDigitsMax = 16;

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  const char lower = to_lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

void skip_blanks(std::string_view& text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
}

bool skip_token(std::string_view& text) {
  std::size_t size = 0;
  while (size < text.size() && token_lower_case(text[size])) ++size;
  text.remove_prefix(size);
  return size > 0;
}

/// RFC 9110 section 5.6.4.
bool skip_quoted_string(std::string_view& text) {
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return true;
    }
    if (text[i] == '\\') ++i;
  }
  return false;
}

/// RFC 9112 section 7.1.1: *( BWS ";" BWS name [ BWS "=" BWS value ] ).
bool is_chunk_extensions(std::string_view text) {
  if (!is_field_value(text)) return false;
  while (!text.empty()) {
    skip_blanks(text);
    if (!text.starts_with(';')) return false;
    text.remove_prefix(1);
    skip_blanks(text);
    if (!skip_token(text)) return false;
    std::string_view rest = text;
    skip_blanks(rest);
    if (!rest.starts_with('=')) continue;
    text = rest.substr(1);
    skip_blanks(text);
    if (!(text.starts_with('"') ? skip_quoted_string(text) : skip_token(text))) return false;
  }
  return true;
}

}  // namespace

bool Http1Parser::fail(int status, const char* detail) {
  state_ = State::kFailed;
  violation_ = {status, detail};
  return false;
}

void Http1Parser::begin_message() {
  has_begun_ = true;
  is_head_complete_ = has_body_ = says_websocket_ = false;
  is_persistent_ = true;
  version_ = HttpVersion::kHttp11;
  budget_ = limits_.header_bytes;
  extension_budget_ = limits_.chunk_extension_bytes;
  framing_ = {};
  trailers_.clear();
  if (role_ == Role::kRequest) {
    request_.clear();
  } else {
    response_.clear();
  }
}

Http1Parser::Event Http1Parser::next(std::string_view& input) {
  for (;;) {
    switch (state_) {
      case State::kStart:
      case State::kFields:
      case State::kChunkSize:
      case State::kTrailers: {
        std::string_view line;
        if (!take_line(input, line) || !on_line(line))
          return state_ == State::kFailed ? Event::kError : Event::kNeedMore;
        if (is_head_complete_) {
          is_head_complete_ = false;
          return Event::kHead;
        }
        break;
      }
      case State::kLength:
      case State::kUntilClose:
      case State::kChunkData: return input.empty() ? Event::kNeedMore : take_body(input);
      case State::kChunkLine:
        if (!take_chunk_line(input))
          return state_ == State::kFailed ? Event::kError : Event::kNeedMore;
        break;
      case State::kEnd:
        state_ = State::kStart;
        has_begun_ = has_skipped_line_ = false;
        return Event::kEnd;
      case State::kFailed: return Event::kError;
    }
  }
}

bool Http1Parser::on_end_of_input() {
  if (state_ != State::kUntilClose) return false;
  state_ = State::kEnd;
  return true;
}

void Http1Parser::shrink() {
  if (is_line_partial_) {
    partial_.clear();
    is_line_partial_ = false;
  }
  partial_.release();
  if (state_ != State::kStart || has_begun_) return;
  request_ = RequestHead{};
  response_ = ResponseHead{};
  trailers_ = Fields{};
}

/// Finds the next line, without its CRLF. False: it is not complete, or breaks the rules.
bool Http1Parser::take_line(std::string_view& input, std::string_view& line) {
  if (is_line_partial_) {
    partial_.clear();
    is_line_partial_ = false;
  }
  if (input.empty()) return false;
  if (state_ == State::kStart) {
    if (!has_begun_) begin_message();
    // Something that is no HTTP, a TLS record for one, is refused by its first byte.
    const char first = partial_.empty() ? input.front() : *partial_.data();
    if (role_ == Role::kResponse && first != 'H') return fail(400, "bad_status_line");
    if (first != '\r' && !token_lower_case(first)) return fail(400, "bad_method");
  }
  const std::size_t end = input.find('\n');
  const bool has_end = end != input.npos;
  const std::size_t size = has_end ? end + 1 : input.size();
  if (!fits_line(partial_.size() + size)) return false;
  if (!has_end || !partial_.empty()) {
    partial_.append(input.substr(0, size));
    line = partial_.view();
  } else {
    line = input.substr(0, size);
  }
  input.remove_prefix(size);
  if (!has_end) return false;
  is_line_partial_ = !partial_.empty();
  // RFC 9112 section 2.2 lets a recipient take a bare LF for a line end. We do not: HARDENING.md.
  if (line.size() < 2 || line[line.size() - 2] != '\r') return fail(400, "bare_line_feed");
  line.remove_suffix(2);
  return true;
}

/// Whether a line that is that long, CRLF included, or will be longer, is within the limits.
bool Http1Parser::fits_line(std::size_t size) {
  switch (state_) {
    case State::kStart:
      return size <= limits_.uri_bytes + kLineOverhead ||
             fail(414, role_ == Role::kRequest ? "uri_too_long" : "status_line_too_long");
    case State::kFields: return size <= budget_ || fail(431, "header_fields_too_large");
    case State::kTrailers: return size <= budget_ || fail(431, "trailer_fields_too_large");
    default:
      return size <= kChunkDigitsMax + extension_budget_ + 2 || fail(400, "chunk_line_too_long");
  }
}

bool Http1Parser::on_line(std::string_view line) {
  if (state_ == State::kStart) {
    if (role_ == Role::kResponse) return parse_status_line(line);
    if (!line.empty()) return parse_request_line(line);
    // RFC 9112 section 2.2: one empty line before a request line is ignored.
    if (std::exchange(has_skipped_line_, true)) return fail(400, "empty_request_line");
    has_begun_ = false;
    return true;
  }
  if (state_ == State::kChunkSize) return parse_chunk_size(line);
  budget_ -= line.size() + 2;
  if (!line.empty()) return parse_field(line);
  if (state_ == State::kTrailers) {
    state_ = State::kEnd;
    return true;
  }
  is_head_complete_ = role_ == Role::kRequest ? finish_request() : finish_response();
  return is_head_complete_;
}

Http1Parser::Event Http1Parser::take_body(std::string_view& input) {
  if (state_ == State::kUntilClose) {
    body_ = std::exchange(input, {});
    return Event::kBody;
  }
  body_ =
      input.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, input.size())));
  input.remove_prefix(body_.size());
  remaining_ -= body_.size();
  if (remaining_ == 0) state_ = state_ == State::kLength ? State::kEnd : State::kChunkLine;
  return Event::kBody;
}

/// The CRLF behind a chunk's data.
bool Http1Parser::take_chunk_line(std::string_view& input) {
  while (chunk_line_seen_ < 2) {
    if (input.empty()) return false;
    if (input.front() != "\r\n"[chunk_line_seen_]) return fail(400, "chunk_longer_than_said");
    input.remove_prefix(1);
    ++chunk_line_seen_;
  }
  chunk_line_seen_ = 0;
  state_ = State::kChunkSize;
  return true;
}

bool Http1Parser::parse_chunk_size(std::string_view line) {
  std::size_t digits = 0;
  std::uint64_t size = 0;
  for (; digits < line.size(); ++digits) {
    const int value = hex_value(line[digits]);
    if (value < 0) break;
    if (digits == kChunkDigitsMax || size >> 59 != 0) return fail(400, "chunk_size_too_large");
    size = size * 16 + static_cast<unsigned>(value);
  }
  if (digits == 0) return fail(400, "bad_chunk_size");
  const std::string_view extensions = line.substr(digits);
  if (extensions.size() > extension_budget_) return fail(400, "chunk_line_too_long");
  if (!is_chunk_extensions(extensions)) return fail(400, "bad_chunk_extension");
  extension_budget_ -= extensions.size();
  remaining_ = size;
  if (size > 0) {
    state_ = State::kChunkData;
  } else {
    state_ = State::kTrailers;
    budget_ = limits_.trailer_bytes;
    framing_.fields = 0;
  }
  return true;
}

}  // namespace gatehouse::proxy
