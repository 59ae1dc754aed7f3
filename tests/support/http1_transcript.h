#pragma once
// What Http1Parser says about some bytes, as text: to compare verdicts, and to show that they don't
// depend on how the bytes were split.

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "proxy/protocol/http1_parser.h"

namespace gatehouse::proxy {

class Http1Transcript {
 public:
  explicit Http1Transcript(Http1Parser::Role role, const MessageLimits& limits = {},
                           bool to_head = false)
      : role_(role), parser_(role, limits) {
    parser_.expect_response(to_head);
  }

  /// False: the parser has failed, the rest is not looked at.
  bool feed(std::string_view bytes) {
    while (!is_over_) {
      switch (parser_.next(bytes)) {
        case Http1Parser::Event::kNeedMore: return true;
        case Http1Parser::Event::kHead:
          role_ == Role::kRequest ? add_request() : add_response();
          last_ = "ok";
          break;
        case Http1Parser::Event::kBody: body_ += parser_.body(); break;
        case Http1Parser::Event::kEnd: add_end(); break;
        case Http1Parser::Event::kError:
          is_over_ = true;
          flush_body();
          last_ = std::to_string(parser_.violation().status) + " " + parser_.violation().detail;
          text_ += "error " + last_ + "\n";
          break;
      }
    }
    return false;
  }
  /// The connection ends here.
  void end() {
    if (!is_over_ && parser_.on_end_of_input()) feed({});
  }

  /// "ok": at least one head, and no more than that is missing. "more": no head yet, or half a
  /// body. Else "400 detail".
  std::string verdict() const {
    if (is_over_) return last_;
    return last_.empty() || is_in_body_ || parser_.is_mid_head() ? "more" : last_;
  }
  std::string text() {
    flush_body();
    return text_ + (is_over_ ? "" : verdict());
  }
  Http1Parser& parser() { return parser_; }

 private:
  using Role = Http1Parser::Role;

  void add_fields(const Fields& fields) {
    for (const auto field : fields)
      text_.append("  ").append(field.name).append(": ").append(field.value).append("\n");
  }
  void add_flags() {
    is_in_body_ = parser_.has_body();
    if (parser_.has_body()) text_ += "  [body]";
    if (!parser_.is_persistent()) text_ += "  [close]";
    text_ += "\n";
  }
  void add_request() {
    const RequestHead& head = parser_.request();
    text_ += "request " + head.method + " " + head.scheme + "|" + head.authority + "|" + head.path;
    if (head.version == HttpVersion::kHttp10) text_ += " 1.0";
    if (head.content_length) text_ += " length=" + std::to_string(*head.content_length);
    if (head.te_trailers) text_ += " te";
    if (head.expects_continue) text_ += " expect";
    if (!head.upgrade.empty()) text_ += " upgrade=" + head.upgrade;
    add_flags();
    add_fields(head.fields);
  }
  void add_response() {
    const ResponseHead& head = parser_.response();
    text_ += "response " + std::to_string(head.status);
    if (head.content_length) text_ += " length=" + std::to_string(*head.content_length);
    add_flags();
    add_fields(head.fields);
  }
  void add_end() {
    flush_body();
    is_in_body_ = false;
    text_ += "end\n";
    if (parser_.trailers()) add_fields(*parser_.trailers());
  }
  void flush_body() {
    if (!body_.empty()) text_ += "body " + body_ + "\n";
    body_.clear();
  }

  Role role_;
  Http1Parser parser_;
  bool is_over_ = false, is_in_body_ = false;
  std::string text_, body_, last_;
};

/// The transcript of bytes that come in pieces of at most `piece`; 0: random pieces from that seed.
inline std::string transcript_in_pieces(Http1Parser::Role role, std::string_view bytes,
                                        std::size_t piece, std::uint32_t seed = 1,
                                        const MessageLimits& limits = {}, bool to_head = false) {
  Http1Transcript transcript(role, limits, to_head);
  std::minstd_rand random(seed);
  while (!bytes.empty()) {
    const std::size_t size =
        std::min<std::size_t>(bytes.size(), piece != 0 ? piece : 1 + random() % 40);
    const std::string copy(bytes.substr(0, size));  // So that a kept view shows under ASan.
    if (!transcript.feed(copy)) break;
    bytes.remove_prefix(size);
  }
  transcript.end();
  return transcript.text();
}

}  // namespace gatehouse::proxy
