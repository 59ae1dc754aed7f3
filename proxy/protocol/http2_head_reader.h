#pragma once
// Turns the header lists of HTTP/2 into heads as message.h promises them: pseudo fields in order
// and once each, lower-case names, no connection fields, one authority, cookies in one piece,
// within the limits (RFC 9113 sections 8.2 and 8.3; HARDENING.md section 3, "h2 to h1 rules").
// nghttp2 checks much of it before; the rules are whole here all the same, because a smuggled
// request is worth two locks. Extended CONNECT becomes what upgrade.h says. Pure; a session has
// one, as header blocks never interleave.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/protocol/message.h"

namespace gatehouse::proxy {

struct HeaderBounds {
  std::size_t bytes = 0;   // name + value + 32 for each field (RFC 9113 section 6.5.2)
  std::size_t fields = 0;  // pseudo fields not counted; 0: no bound
};

/// What became of a head.
struct HeadVerdict {
  int status = 0;             // 0: fine. Else what a request is answered with.
  const char* detail = "";    // static text for the log
  bool is_malformed = false;  // RFC 9113 section 8.1.1: the stream is to be reset.

  bool is_fine() const { return status == 0; }
};

class Http2HeadReader {
 public:
  // Each begins a new list; what was read before is forgotten.
  void begin_request(HeaderBounds bounds, std::size_t uri_bytes_max);
  void begin_response(HeaderBounds bounds);
  void begin_trailers(HeaderBounds bounds);

  void add(std::string_view name, std::string_view value);

  HeadVerdict finish_request();
  HeadVerdict finish_response();
  /// Fields that may not stand in trailers are dropped.
  HeadVerdict finish_trailers();

  /// What was read; complete after a finish_ that is fine. The handler may move from it.
  RequestHead& request() { return request_; }
  ResponseHead& response() { return response_; }
  const Fields& trailers() const { return trailers_; }

  /// How many times larger than allowed the last list was, as decoded.
  std::size_t overshoot() const { return bounds_.bytes == 0 ? 0 : bytes_ / bounds_.bytes; }

  /// Larger by so much that nothing of it is worth decoding any more.
  bool is_bomb() const { return bytes_ > bomb_bytes_; }

  /// Gives memory back.
  void shrink();

 private:
  enum class Kind : std::uint8_t { kRequest, kResponse, kTrailers };

  void begin(Kind kind, HeaderBounds bounds);
  void fail(const char* detail);
  void add_pseudo(std::string_view name, std::string_view value);
  void add_request_field(Name id, std::string_view name, std::string_view value);
  void add_response_field(Name id, std::string_view name, std::string_view value);
  bool set_once(std::string& text, std::string_view value, unsigned bit);
  void settle_authority();
  void check_target();
  bool take_extended_connect();
  HeadVerdict verdict() const;

  Kind kind_ = Kind::kRequest;
  HeaderBounds bounds_;
  std::size_t uri_bytes_max_ = 0;
  std::size_t bytes_ = 0, fields_ = 0;
  std::size_t bomb_bytes_ = 0;
  unsigned seen_ = 0;  // which pseudo fields, and Host
  bool has_fields_ = false;
  bool is_too_large_ = false;
  bool has_other_expectation_ = false;
  const char* fault_ = nullptr;
  std::string host_;
  RequestHead request_;
  ResponseHead response_;
  Fields trailers_;
};

}  // namespace gatehouse::proxy
