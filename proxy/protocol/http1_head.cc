// The part of Http1Parser that reads the lines of a head and decides about framing.

#include <algorithm>
#include <string>

#include "proxy/protocol/headers.h"
#include "proxy/protocol/http1_parser.h"
#include "proxy/protocol/upgrade.h"

namespace gatehouse::proxy {

namespace {

constexpr std::size_t kMethodBytesMax = 32;

bool is_http_version(std::string_view text) {
  return text.size() == 8 && text.starts_with("HTTP/") && is_digit(text[5]) && text[6] == '.' &&
         is_digit(text[7]);
}

}  // namespace

// ---- the start line -------------------------------------------------------------------------

bool Http1Parser::parse_version(std::string_view text) {
  if (text == "HTTP/1.1") {
    version_ = HttpVersion::kHttp11;
  } else if (text == "HTTP/1.0") {
    version_ = HttpVersion::kHttp10;
  } else {
    return is_http_version(text) ? fail(505, "unsupported_version") : fail(400, "bad_version");
  }
  return true;
}

bool Http1Parser::parse_request_line(std::string_view line) {
  const std::size_t method_end = line.find(' ');
  const std::string_view method = line.substr(0, method_end);
  if (!is_token(method)) return fail(400, "bad_method");
  if (method_end == std::string_view::npos) return fail(400, "bad_request_line");
  if (method.size() > kMethodBytesMax) return fail(501, "unknown_method");
  line.remove_prefix(method_end + 1);
  const std::size_t target_end = line.find(' ');
  if (target_end == std::string_view::npos || target_end == 0)
    return fail(400, "bad_request_line");  // No version is HTTP/0.9.
  const std::string_view target = line.substr(0, target_end);
  if (!parse_version(line.substr(target_end + 1))) return false;
  request_.version = version_;
  request_.method = method;
  if (target.size() > limits_.uri_bytes) return fail(414, "uri_too_long");
  state_ = State::kFields;
  return parse_target(target);
}

/// RFC 9112 section 3.2.
bool Http1Parser::parse_target(std::string_view target) {
  if (request_.method == "CONNECT") return fail(501, "connect_refused");
  if (target.front() == '/') {
    if (!is_valid_path(target)) return fail(400, "bad_target");
    request_.path = target;
    return true;
  }
  if (target == "*") {
    if (request_.method != "OPTIONS") return fail(400, "bad_target");
    request_.path = target;
    return true;
  }
  return parse_absolute_form(target);
}

bool Http1Parser::parse_absolute_form(std::string_view target) {
  const std::size_t scheme_end = target.find("://");
  if (scheme_end == std::string_view::npos) return fail(400, "bad_target");
  request_.scheme = to_lower(target.substr(0, scheme_end));
  if (request_.scheme != "http" && request_.scheme != "https") return fail(400, "bad_target");
  target.remove_prefix(scheme_end + 3);
  const std::string_view authority = target.substr(0, target.find_first_of("/?"));
  if (!is_valid_authority(authority)) return fail(400, "bad_target");
  request_.authority = to_lower(authority);
  target.remove_prefix(authority.size());
  if (target.empty()) {
    request_.path = request_.method == "OPTIONS" ? "*" : "/";  // RFC 9112 section 3.2.4
    return true;
  }
  if (target.front() == '?') request_.path = "/";
  request_.path.append(target);
  return is_valid_path(request_.path) || fail(400, "bad_target");
}

bool Http1Parser::parse_status_line(std::string_view line) {
  if (line.size() < 12 || line[8] != ' ' || !parse_version(line.substr(0, 8)))
    return fail(400, "bad_status_line");
  int status = 0;
  for (const char c : line.substr(9, 3)) {
    if (!is_digit(c)) return fail(400, "bad_status_line");
    status = status * 10 + (c - '0');
  }
  if (status < 100 || status > 599) return fail(400, "bad_status");
  // The space behind the status is missing in the wild when there is no reason phrase.
  const std::string_view reason = line.substr(12);
  if (!reason.empty() && (reason.front() != ' ' || !is_field_value(reason)))
    return fail(400, "bad_status_line");
  response_.status = status;
  state_ = State::kFields;
  return true;
}

// ---- fields ---------------------------------------------------------------------------------

bool Http1Parser::parse_field(std::string_view line) {
  if (line.front() == ' ' || line.front() == '\t') return fail(400, "folded_line");
  char small[64];
  std::size_t size = 0;
  const std::size_t small_end = std::min(line.size(), sizeof small);
  while (size < small_end && (small[size] = token_lower_case(line[size])) != 0) ++size;
  std::string large;
  if (size == sizeof small) [[unlikely]] {
    large.assign(small, size);
    for (char c; size < line.size() && (c = token_lower_case(line[size])) != 0; ++size)
      large.push_back(c);
  }
  // Also a space before the colon ends here: RFC 9112 section 5.1.
  if (size == 0 || size == line.size() || line[size] != ':') return fail(400, "bad_field_name");
  const std::string_view value = trim(line.substr(size + 1));
  if (!is_field_value(value)) return fail(400, "bad_field_value");
  if (++framing_.fields > limits_.header_fields) return fail(431, "too_many_header_fields");
  const std::string_view name =
      size <= sizeof small ? std::string_view(small, size) : std::string_view(large);
  return state_ == State::kTrailers ? add_trailer(name, value) : add_field(name, value);
}

bool Http1Parser::add_field(std::string_view name, std::string_view value) {
  const Name id = name_of(name);
  switch (id) {
    case Name::kHost:
      if (role_ == Role::kResponse) break;
      if (++framing_.hosts > 1) return fail(400, "several_hosts");
      if (!is_valid_authority(value)) return fail(400, "bad_host");
      if (request_.authority.empty()) request_.authority = to_lower(value);
      return true;
    case Name::kContentLength: {
      if (++framing_.lengths > 1) return fail(400, "several_content_lengths");
      const auto length = parse_content_length(value);
      if (!length) return fail(400, "bad_content_length");
      framing_.length = *length;
      fields().add(id, std::to_string(*length));
      return true;
    }
    case Name::kTransferEncoding: return parse_transfer_encoding(value);
    case Name::kExpect:
      if (role_ == Role::kResponse) break;
      // RFC 9110 section 10.1.1. Anything but the exact, single value is refused: HARDENING.md.
      if (version_ == HttpVersion::kHttp10) return true;
      if (++framing_.expectations > 1 || !equals_ignoring_case(value, "100-continue"))
        return fail(417, "unknown_expectation");
      request_.expects_continue = true;
      return true;
    case Name::kConnection:
      // What nearly all say needs no second look, and is not kept to be removed.
      if (equals_ignoring_case(value, "keep-alive")) return framing_.says_keep_alive = true;
      if (equals_ignoring_case(value, "close")) return framing_.says_close = true;
      framing_.has_hop_by_hop = true;
      break;
    case Name::kKeepAlive:
    case Name::kProxyConnection:
    case Name::kTe:
    case Name::kUpgrade: framing_.has_hop_by_hop = true; break;
    case Name::kOther:
      if (name == "http2-settings") return true;  // Of the connection, nominated or not.
      if (role_ == Role::kRequest && is_disguised_framing(name))
        return fail(400, "disguised_framing");
      break;
    default: break;
  }
  fields().add(id, name, value);
  return fields().list_bytes() <= limits_.header_bytes || fail(431, "header_fields_too_large");
}

/// RFC 9110 section 6.5.1. Framing in trailers is an attack; the rest of what does not belong
/// there is dropped.
bool Http1Parser::add_trailer(std::string_view name, std::string_view value) {
  const Name id = name_of(name);
  if (id == Name::kContentLength || id == Name::kTransferEncoding || id == Name::kHost)
    return fail(400, "framing_in_trailers");
  if (is_allowed_in_trailers({id, name, value})) trailers_.add(id, name, value);
  return true;
}

/// RFC 9112 section 6.1: only "chunked", alone, in HTTP/1.1.
bool Http1Parser::parse_transfer_encoding(std::string_view value) {
  if (++framing_.codings > 1) return fail(400, "several_transfer_encodings");
  if (version_ == HttpVersion::kHttp10) return fail(400, "transfer_encoding_in_http10");
  framing_.is_chunked = equals_ignoring_case(value, "chunked");
  if (framing_.is_chunked) return true;
  // Codings that we do not know, chunked last or absent, are honest; all else is not.
  bool is_honest = true, has_chunked = false, has_any = false;
  for_each_member(value, [&](std::string_view coding) {
    is_honest = is_honest && !has_chunked && is_token(coding);
    has_chunked = has_chunked || equals_ignoring_case(coding, "chunked");
    has_any = true;
  });
  if (has_any && is_honest && value.front() != ',' && value.back() != ',')
    return fail(501, "unknown_transfer_encoding");
  return fail(400, "bad_transfer_encoding");
}

// ---- the end of the head --------------------------------------------------------------------

bool Http1Parser::finish_hop_by_hop() {
  // RFC 9112 section 9.3: "close" wins.
  is_persistent_ =
      !framing_.says_close && (version_ == HttpVersion::kHttp11 || framing_.says_keep_alive);
  if (!framing_.has_hop_by_hop) return true;
  const auto said = strip_hop_by_hop(fields());
  if (!said) return fail(400, "too_many_connection_options");
  is_persistent_ =
      !said->has_close && !framing_.says_close && (is_persistent_ || said->has_keep_alive);
  if (role_ == Role::kRequest) {
    request_.te_trailers = said->te_trailers;
    if (said->names_upgrade && version_ == HttpVersion::kHttp11)
      request_.upgrade = to_lower(said->upgrade);
  } else {
    says_websocket_ = said->names_upgrade && equals_ignoring_case(said->upgrade, kWebSocket);
  }
  return true;
}

void Http1Parser::frame_body(bool may_be_until_close) {
  remaining_ = framing_.length;
  if (framing_.is_chunked) {
    state_ = State::kChunkSize;
  } else if (framing_.lengths > 0 && remaining_ > 0) {
    state_ = State::kLength;
  } else if (framing_.lengths == 0 && may_be_until_close) {
    state_ = State::kUntilClose;
    is_persistent_ = false;
  } else {
    state_ = State::kStart;
    has_begun_ = has_skipped_line_ = false;
  }
  has_body_ = state_ != State::kStart;
}

bool Http1Parser::finish_request() {
  if (framing_.hosts == 0 && version_ == HttpVersion::kHttp11) return fail(400, "no_host");
  // RFC 9112 section 6.1: both are a smuggling attempt; refuse and close.
  if (framing_.lengths > 0 && framing_.codings > 0) return fail(400, "length_and_chunked");
  if (!finish_hop_by_hop()) return false;
  join_cookies(request_.fields);
  if (framing_.lengths > 0) request_.content_length = framing_.length;
  frame_body(false);
  if (!has_body_) request_.expects_continue = false;  // There is nothing to continue with.
  return true;
}

/// RFC 9110 section 15.2.2: to nothing but what was asked for.
bool Http1Parser::finish_switch() {
  if (!may_switch_ || !says_websocket_) return fail(400, "unasked_switch");
  response_.fields.remove(Name::kContentLength);
  framing_.is_chunked = false;
  framing_.lengths = 0;
  framing_.length = 0;
  frame_body(true);
  return true;
}

/// RFC 9112 section 6.3.
bool Http1Parser::finish_response() {
  if (framing_.lengths > 0 && framing_.codings > 0) return fail(400, "length_and_chunked");
  if (!finish_hop_by_hop()) return false;
  const int status = response_.status;
  if (status == 101) return finish_switch();
  if (framing_.lengths > 0) response_.content_length = framing_.length;
  if (status < 200 || status == 204) {
    // Neither may say how long a body is; the bytes of one would be taken for the next response.
    if (framing_.is_chunked || framing_.length > 0) is_persistent_ = false;
    response_.fields.remove(Name::kContentLength);
    response_.content_length.reset();
  }
  if (status < 200 || status == 204 || status == 304 || is_to_head_) {
    framing_.is_chunked = false;
    framing_.lengths = 0;
    framing_.length = 0;
    frame_body(false);
  } else {
    frame_body(true);
  }
  return true;
}

}  // namespace gatehouse::proxy
