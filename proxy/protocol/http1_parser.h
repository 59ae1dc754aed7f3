#pragma once
// The strict, incremental parser of HTTP/1.1 messages in both roles (RFC 9112, HARDENING.md
// sections 4 and 5). Bytes in, events out, pulled one by one; what cannot be used yet is kept only
// as far as the line it belongs to. Whole lines are parsed where they lie. The verdict on a message
// never depends on how its bytes were split. It does not answer, and knows no connection:
// Http1ServerSession and Http1ClientSession own one each.
//
//   kStart --start line--> kFields --empty line--> a body state, or kStart again without a body
//   kLength, kUntilClose --> kEnd;   kChunkSize <--> kChunkData, kChunkLine; --> kTrailers --> kEnd
//   kEnd --> kStart;   any violation: kFailed, for good

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "daemon/base/flat_buffer.h"
#include "proxy/protocol/message.h"

namespace gatehouse::proxy {

/// Bounds of one message.
struct MessageLimits {
  std::size_t uri_bytes = 16 * 1024;              // 414
  std::size_t header_bytes = 64 * 1024;           // 431; as sent, and by RFC 9113's count
  std::size_t header_fields = 100;                // 431; for trailers too
  std::size_t trailer_bytes = 16 * 1024;          // 431
  std::size_t chunk_extension_bytes = 16 * 1024;  // per message; 400
};

class Http1Parser {
 public:
  enum class Role : std::uint8_t { kRequest, kResponse };
  enum class Event : std::uint8_t {
    kNeedMore,  // The input is used up.
    kHead,      // request() or response() is complete; an interim response has no end.
    kBody,      // body() holds the next bytes: a view into the input.
    kEnd,       // The body is complete; comes only when has_body() was true.
    kError,     // violation() says what; nothing more will be parsed.
  };
  struct Violation {
    int status = 400;         // what a server answers
    const char* detail = "";  // static text for the log, in snake_case
  };

  Http1Parser(Role role, const MessageLimits& limits) : role_(role), limits_(limits) {}

  /// The response to come answers a HEAD request, or not: it decides about the body. 101 is
  /// malformed unless a WebSocket was asked for; then the tunnel's bytes are its body.
  void expect_response(bool to_head, bool may_switch = false) {
    is_to_head_ = to_head;
    may_switch_ = may_switch;
  }
  /// Takes what it can use from the front of the input.
  Event next(std::string_view& input);
  /// No more input will come. True: that completes the body, and next() gives kEnd.
  bool on_end_of_input();
  /// Gives memory back between messages.
  void shrink();

  /// Complete after kHead; after kError what was understood. May be moved from.
  RequestHead& request() { return request_; }
  ResponseHead& response() { return response_; }
  /// After kHead: kBody and kEnd will follow.
  bool has_body() const { return has_body_; }
  /// After kHead: the peer keeps the connection open (RFC 9112 section 9.3).
  bool is_persistent() const { return is_persistent_; }
  /// After kBody; valid as long as the input.
  std::string_view body() const { return body_; }
  /// After kEnd; null when there are none.
  const Fields* trailers() const { return trailers_.empty() ? nullptr : &trailers_; }
  const Violation& violation() const { return violation_; }
  /// A head has begun and is not complete.
  bool is_mid_head() const {
    return state_ == State::kFields || (state_ == State::kStart && !partial_.empty());
  }

 private:
  enum class State : std::uint8_t {
    kStart,
    kFields,
    kLength,
    kUntilClose,
    kChunkSize,
    kChunkData,
    kChunkLine,
    kTrailers,
    kEnd,
    kFailed
  };
  /// What the framing fields said.
  struct Framing {
    std::size_t fields = 0, hosts = 0, lengths = 0, codings = 0, expectations = 0;
    std::uint64_t length = 0;
    bool is_chunked = false;
    bool says_close = false,
         says_keep_alive = false;  // Connection, where it says no more than that
    bool has_hop_by_hop = false;   // among the fields, to be looked at
  };

  bool fail(int status, const char* detail);
  void begin_message();
  bool take_line(std::string_view& input, std::string_view& line);
  bool fits_line(std::size_t size);
  Event take_body(std::string_view& input);
  bool take_chunk_line(std::string_view& input);

  bool on_line(std::string_view line);
  bool parse_request_line(std::string_view line);
  bool parse_target(std::string_view target);
  bool parse_absolute_form(std::string_view target);
  bool parse_status_line(std::string_view line);
  bool parse_version(std::string_view text);
  bool parse_field(std::string_view line);
  bool add_field(std::string_view name, std::string_view value);
  bool add_trailer(std::string_view name, std::string_view value);
  bool parse_transfer_encoding(std::string_view value);
  bool parse_chunk_size(std::string_view line);
  bool finish_request();
  bool finish_response();
  bool finish_switch();
  bool finish_hop_by_hop();
  void frame_body(bool may_be_until_close);

  Fields& fields() { return role_ == Role::kRequest ? request_.fields : response_.fields; }

  Role role_;
  State state_ = State::kStart;
  bool is_to_head_ = false;
  bool may_switch_ = false;
  bool says_websocket_ = false;    // Upgrade and Connection of a response agree on it
  bool has_begun_ = false;         // a byte of the message has come
  bool has_skipped_line_ = false;  // the one empty line that may precede a request
  bool is_line_partial_ = false;   // the last line lies in partial_
  bool is_head_complete_ = false;
  bool has_body_ = false;
  bool is_persistent_ = true;
  std::uint8_t chunk_line_seen_ = 0;  // bytes of the CRLF behind a chunk
  HttpVersion version_ = HttpVersion::kHttp11;
  Violation violation_;
  MessageLimits limits_;
  std::size_t budget_ = 0;            // bytes left for fields, or trailers
  std::size_t extension_budget_ = 0;  // bytes left for chunk extensions
  std::uint64_t remaining_ = 0;       // of the body, or of the chunk
  Framing framing_;
  FlatBuffer partial_;  // the beginning of a line that is not complete
  std::string_view body_;
  RequestHead request_;
  ResponseHead response_;
  Fields trailers_;
};

}  // namespace gatehouse::proxy
