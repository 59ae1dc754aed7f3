#include "proxy/protocol/http2_head_reader.h"

#include "daemon/base/text.h"
#include "proxy/protocol/field_syntax.h"
#include "proxy/protocol/headers.h"
#include "proxy/protocol/upgrade.h"

namespace gatehouse::proxy {

namespace {

constexpr unsigned kMethod = 1, kScheme = 2, kAuthority = 4, kPath = 8, kStatus = 16, kHost = 32,
                   kProtocol = 64;
constexpr std::size_t kBombFactor = 8;  // times the bound: half a MiB by default, decoded in 1 ms

void lower(std::string& text) {
  for (char& c : text) c = to_lower(c);
}

/// RFC 9113 section 8.2.2.
bool is_connection_field(Name id) {
  return id == Name::kConnection || id == Name::kKeepAlive || id == Name::kProxyConnection ||
         id == Name::kTransferEncoding || id == Name::kUpgrade;
}

}  // namespace

void Http2HeadReader::begin(Kind kind, HeaderBounds bounds) {
  kind_ = kind;
  bounds_ = bounds;
  bomb_bytes_ = bounds.bytes * kBombFactor;
  bytes_ = fields_ = 0;
  seen_ = 0;
  has_fields_ = is_too_large_ = has_other_expectation_ = false;
  fault_ = nullptr;
}

void Http2HeadReader::begin_request(HeaderBounds bounds, std::size_t uri_bytes_max) {
  begin(Kind::kRequest, bounds);
  uri_bytes_max_ = uri_bytes_max;
  host_.clear();
  request_.clear();
  request_.version = HttpVersion::kHttp2;
}

void Http2HeadReader::begin_response(HeaderBounds bounds) {
  begin(Kind::kResponse, bounds);
  response_.clear();
}

void Http2HeadReader::begin_trailers(HeaderBounds bounds) {
  begin(Kind::kTrailers, bounds);
  trailers_.clear();
}

void Http2HeadReader::fail(const char* detail) {
  if (!fault_) fault_ = detail;
}

void Http2HeadReader::add(std::string_view name, std::string_view value) {
  bytes_ += name.size() + value.size() + 32;
  const bool is_pseudo = name.starts_with(':');
  if (!is_pseudo) ++fields_;
  if (bytes_ > bounds_.bytes || (bounds_.fields != 0 && fields_ > bounds_.fields))
    is_too_large_ = true;
  // What would not be kept anyway need not be looked at; what was read so far serves the log.
  if (is_too_large_ || fault_) return;
  if (is_pseudo) return add_pseudo(name, value);
  has_fields_ = true;
  if (!is_lower_case_name(name)) return fail("malformed_field_name");
  if (!is_field_value(value) || value != trim(value)) return fail("malformed_field_value");
  const Name id = name_of(name);
  if (is_connection_field(id)) return fail("connection_field");
  switch (kind_) {
    case Kind::kRequest: return add_request_field(id, name, value);
    case Kind::kResponse: return add_response_field(id, name, value);
    case Kind::kTrailers: trailers_.add(id, name, value);
  }
}

bool Http2HeadReader::set_once(std::string& text, std::string_view value, unsigned bit) {
  if ((seen_ & bit) != 0) {
    fail("repeated_pseudo_field");
    return false;
  }
  seen_ |= bit;
  text.assign(value);
  return true;
}

void Http2HeadReader::add_pseudo(std::string_view name, std::string_view value) {
  if (has_fields_ || kind_ == Kind::kTrailers) return fail("misplaced_pseudo_field");
  if (kind_ == Kind::kResponse) {
    if (name != ":status" || (seen_ & kStatus) != 0) return fail("unexpected_pseudo_field");
    seen_ |= kStatus;
    const auto status = value.size() == 3 ? parse_decimal(value) : std::nullopt;
    // RFC 9113 section 8.6: there is no 101.
    if (!status || *status < 100 || *status > 599 || *status == 101) return fail("invalid_status");
    response_.status = static_cast<int>(*status);
    return;
  }
  if (name == ":method") {
    if (set_once(request_.method, value, kMethod) && !is_token(value)) fail("malformed_method");
  } else if (name == ":scheme") {
    if (!set_once(request_.scheme, value, kScheme)) return;
    lower(request_.scheme);
    if (request_.scheme != "https" && request_.scheme != "http") fail("unknown_scheme");
  } else if (name == ":authority") {
    if (!set_once(request_.authority, value, kAuthority)) return;
    lower(request_.authority);
  } else if (name == ":path") {
    (void)set_once(request_.path, value, kPath);
  } else if (name == ":protocol") {
    if (!set_once(request_.upgrade, value, kProtocol)) return;
    lower(request_.upgrade);
  } else {
    fail("unexpected_pseudo_field");
  }
}

void Http2HeadReader::add_request_field(Name id, std::string_view name, std::string_view value) {
  switch (id) {
    case Name::kHost:
      (void)set_once(host_, value, kHost);
      lower(host_);
      return;
    case Name::kTe:
      // RFC 9113 section 8.2.2: no other value.
      if (!equals_ignoring_case(value, "trailers")) return fail("te_other_than_trailers");
      request_.te_trailers = true;
      return;
    case Name::kExpect:
      if (equals_ignoring_case(value, "100-continue"))
        request_.expects_continue = true;
      else
        has_other_expectation_ = true;
      return;
    case Name::kContentLength: {
      const auto length = parse_content_length(value);
      if (!length || request_.content_length) return fail("invalid_content_length");
      request_.content_length = length;
      break;
    }
    default: break;
  }
  if (is_disguised_framing(name)) return fail("disguised_framing");
  if (name == "http2-settings") return;  // Belonged to the upgrade of a connection.
  request_.fields.add(id, name, value);
}

void Http2HeadReader::add_response_field(Name id, std::string_view name, std::string_view value) {
  if (id == Name::kTe) return fail("te_in_response");
  if (id == Name::kContentLength) {
    const auto length = parse_content_length(value);
    if (!length || response_.content_length) return fail("invalid_content_length");
    response_.content_length = length;
  }
  response_.fields.add(id, name, value);
}

void Http2HeadReader::settle_authority() {
  if ((seen_ & kAuthority) == 0) {
    if ((seen_ & kHost) == 0) return fail("missing_authority");
    request_.authority = host_;
  } else if ((seen_ & kHost) != 0 && host_ != request_.authority) {
    return fail("host_differs_from_authority");
  }
  if (!is_valid_authority(request_.authority)) fail("invalid_authority");
}

void Http2HeadReader::check_target() {
  if (request_.path == "*" && request_.method == "OPTIONS") return;
  if (!is_valid_path(request_.path)) fail("invalid_path");
}

HeadVerdict Http2HeadReader::verdict() const {
  if (fault_) return {400, fault_, true};
  if (is_too_large_) return {431, "header_fields_too_large", false};
  return {};
}

HeadVerdict Http2HeadReader::finish_request() {
  if (fault_ || is_too_large_) {
    // A path that fills all the room is the target's fault, not the fields'.
    if (!fault_ && !has_fields_ && (seen_ & kPath) == 0 && bytes_ > uri_bytes_max_)
      return {414, "uri_too_long", false};
    return verdict();
  }
  const bool is_connect = request_.method == "CONNECT", has_protocol = (seen_ & kProtocol) != 0;
  if (has_protocol && !is_connect) fail("protocol_without_connect");
  if (is_connect && !has_protocol) {
    // RFC 9113 section 8.5: a CONNECT has an authority, and neither scheme nor path.
    if ((seen_ & (kScheme | kPath)) != 0 || (seen_ & kAuthority) == 0) fail("malformed_connect");
    if (fault_) return verdict();
    return {501, "connect_not_supported", false};
  }
  constexpr unsigned kNeeded = kMethod | kScheme | kPath;
  if ((seen_ & kNeeded) != kNeeded) fail("missing_pseudo_field");
  if (!fault_) settle_authority();
  if (!fault_) check_target();
  if (fault_) return verdict();
  if (request_.path.size() > uri_bytes_max_) return {414, "uri_too_long", false};
  if (has_other_expectation_) return {417, "unknown_expectation", false};
  if (is_connect && !take_extended_connect()) return {501, "unknown_protocol", false};
  if (request_.fields.count(Name::kCookie) > 1) join_cookies(request_.fields);
  return {};
}

/// RFC 8441 section 4: what follows is no body, and has no length. False: RFC 9220 section 3.
bool Http2HeadReader::take_extended_connect() {
  if (request_.upgrade != kWebSocket) return false;
  request_.method = "GET";
  request_.fields.remove(Name::kContentLength);
  request_.content_length.reset();
  request_.expects_continue = false;
  return true;
}

HeadVerdict Http2HeadReader::finish_response() {
  if (!fault_ && !is_too_large_ && (seen_ & kStatus) == 0) fail("missing_status");
  if (fault_) return {502, fault_, true};
  if (is_too_large_) return {502, "response_head_too_large", false};
  return {};
}

HeadVerdict Http2HeadReader::finish_trailers() {
  trailers_.remove_if([](const Fields::Field& field) { return !is_allowed_in_trailers(field); });
  if (!fault_ && is_too_large_) return {431, "trailers_too_large", false};
  return verdict();
}

void Http2HeadReader::shrink() {
  host_ = {};
  request_ = {};
  response_ = {};
  trailers_ = {};
}

}  // namespace gatehouse::proxy
