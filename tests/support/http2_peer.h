#pragma once
// The other end of an HTTP/2 session, made by hand: frames and header blocks as bytes, the
// session's output taken apart, and handlers that write down what they are told.

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/protocol/http2_client_session.h"
#include "proxy/protocol/http2_server_session.h"
#include "tests/support/fake_clock.h"

namespace gatehouse::proxy {

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
inline constexpr int kEndStream = 1, kEndHeaders = 4;

inline std::string big_endian(std::uint64_t number, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(number >> (8 * i) & 0xff);
  return text;
}

inline std::string frame(FrameType type, int flags, StreamId stream, std::string_view payload) {
  return big_endian(payload.size(), 3) + static_cast<char>(type) + static_cast<char>(flags) +
         big_endian(stream, 4) + std::string(payload);
}

/// RFC 7541 section 5.1 with a prefix of 7 bits: a string's length, Huffman off.
inline std::string hpack_text(std::string_view text) {
  std::string out;
  std::size_t left = text.size();
  if (left < 127) {
    out += static_cast<char>(left);
  } else {
    out += '\x7f';
    for (left -= 127; left >= 128; left /= 128) out += static_cast<char>(left % 128 + 128);
    out += static_cast<char>(left);
  }
  return out + std::string(text);
}

using FieldList = std::vector<std::pair<std::string, std::string>>;

/// All literals without indexing: the table stays empty.
inline std::string header_block(const FieldList& fields) {
  std::string block;
  for (const auto& [name, value] : fields)
    block += std::string(1, '\0') + hpack_text(name) + hpack_text(value);
  return block;
}

inline std::string headers(StreamId stream, const FieldList& fields, bool ended = true) {
  return frame(FrameType::kHeaders, kEndHeaders | (ended ? kEndStream : 0), stream,
               header_block(fields));
}

inline FieldList get_fields(std::string path = "/") {
  return {{":method", "GET"}, {":scheme", "https"}, {":authority", "a.example"}, {":path", path}};
}
inline FieldList post_fields(FieldList more = {}) {
  FieldList fields = {
      {":method", "POST"}, {":scheme", "https"}, {":authority", "a.example"}, {":path", "/"}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

inline std::string get(StreamId stream) { return headers(stream, get_fields()); }
inline std::string post(StreamId stream, FieldList more = {}) {
  return headers(stream, post_fields(std::move(more)), false);
}
inline std::string data(StreamId stream, std::string_view bytes, bool ended = false) {
  return frame(FrameType::kData, ended ? kEndStream : 0, stream, bytes);
}
inline std::string rst(StreamId stream, Http2Error error = Http2Error::kCancel) {
  return frame(FrameType::kRstStream, 0, stream, big_endian(static_cast<std::uint32_t>(error), 4));
}
inline std::string settings(std::string_view entries = {}) {
  return frame(FrameType::kSettings, 0, 0, entries);
}
inline std::string setting(int id, std::uint32_t value) {
  return big_endian(static_cast<std::uint64_t>(id), 2) + big_endian(value, 4);
}
inline std::string settings_ack() { return frame(FrameType::kSettings, 1, 0, {}); }
inline std::string window_update(StreamId stream, std::uint32_t by) {
  return frame(FrameType::kWindowUpdate, 0, stream, big_endian(by, 4));
}
inline std::string ping(std::string_view eight = "pingping") {
  return frame(FrameType::kPing, 0, 0, eight);
}

struct SeenFrame {
  FrameHead head;
  std::string payload;

  std::uint32_t number(std::size_t at) const {
    std::uint32_t value = 0;
    for (std::size_t i = at; i < at + 4; ++i)
      value = value << 8 | static_cast<unsigned char>(payload.at(i));
    return value;
  }
};

/// Output of a session, as the peer sees it. Header blocks are decoded in order.
class SeenOutput {
 public:
  SeenOutput() { nghttp2_hd_inflate_new(&inflater_); }
  ~SeenOutput() { nghttp2_hd_inflate_del(inflater_); }
  SeenOutput(const SeenOutput&) = delete;
  SeenOutput& operator=(const SeenOutput&) = delete;

  void add(std::string_view bytes) {
    pending_ += bytes;
    if (expects_preface && pending_.size() >= kPreface.size()) {
      pending_.erase(0, kPreface.size());
      expects_preface = false;
    }
    while (!expects_preface && pending_.size() >= FrameHead::kBytes) {
      Http2FrameScanner scanner(0);
      std::string_view rest = pending_;
      const auto piece = scanner.next(rest);
      if (scanner.head().length + FrameHead::kBytes > pending_.size()) return;
      SeenFrame seen{scanner.head(), std::string(piece->bytes.substr(FrameHead::kBytes))};
      pending_.erase(0, piece->bytes.size());
      note(std::move(seen));
    }
  }

  const SeenFrame* last(FrameType type) const {
    for (auto at = frames.rbegin(); at != frames.rend(); ++at)
      if (at->head.type == type) return &*at;
    return nullptr;
  }
  std::size_t count(FrameType type) const {
    std::size_t count = 0;
    for (const auto& seen : frames) count += seen.head.type == type ? 1u : 0u;
    return count;
  }
  /// The code of the GOAWAY that was sent; nothing: none was.
  std::optional<Http2Error> goaway() const {
    const SeenFrame* seen = last(FrameType::kGoaway);
    if (!seen) return std::nullopt;
    return static_cast<Http2Error>(seen->number(4));
  }
  /// The code of the RST_STREAM for that stream.
  std::optional<Http2Error> reset_of(StreamId stream) const {
    for (const auto& seen : frames)
      if (seen.head.type == FrameType::kRstStream && seen.head.stream == stream)
        return static_cast<Http2Error>(seen.number(0));
    return std::nullopt;
  }
  std::string body_of(StreamId stream) const {
    std::string body;
    for (const auto& seen : frames)
      if (seen.head.type == FrameType::kData && seen.head.stream == stream) body += seen.payload;
    return body;
  }
  /// "name: value" lines of the heads of that stream.
  std::string heads_of(StreamId stream) const {
    std::string text;
    for (const auto& [id, line] : lines_)
      if (id == stream) text += line + "\n";
    return text;
  }
  bool has_ended(StreamId stream) const {
    for (const auto& seen : frames)
      if (seen.head.stream == stream && seen.head.has(FrameHead::kEndStream) &&
          (seen.head.type == FrameType::kData || seen.head.type == FrameType::kHeaders))
        return true;
    return false;
  }
  /// What WINDOW_UPDATE frames have opened: 0 for the connection.
  std::uint64_t window_opened(StreamId stream) const {
    std::uint64_t opened = 0;
    for (const auto& seen : frames)
      if (seen.head.type == FrameType::kWindowUpdate && seen.head.stream == stream)
        opened += seen.number(0);
    return opened;
  }

  std::vector<SeenFrame> frames;
  bool expects_preface = false;

 private:
  void note(SeenFrame seen) {
    const bool is_block =
        seen.head.type == FrameType::kHeaders || seen.head.type == FrameType::kContinuation;
    if (is_block) decode(seen);
    frames.push_back(std::move(seen));
  }
  void decode(const SeenFrame& seen) {
    auto* in = reinterpret_cast<const std::uint8_t*>(seen.payload.data());
    std::size_t left = seen.payload.size();
    const bool is_last = seen.head.has(FrameHead::kEndHeaders);
    for (;;) {
      nghttp2_nv field;
      int flags = 0;
      const auto used =
          nghttp2_hd_inflate_hd2(inflater_, &field, &flags, in, left, is_last ? 1 : 0);
      if (used < 0) return lines_.emplace_back(seen.head.stream, "broken block"), void();
      in += used;
      left -= static_cast<std::size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0)
        lines_.emplace_back(seen.head.stream,
                            std::string(reinterpret_cast<char*>(field.name), field.namelen) + ": " +
                                std::string(reinterpret_cast<char*>(field.value), field.valuelen));
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
        nghttp2_hd_inflate_end_headers(inflater_);
        return;
      }
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && left == 0) return;
    }
  }

  nghttp2_hd_inflater* inflater_ = nullptr;
  std::string pending_;
  std::vector<std::pair<StreamId, std::string>> lines_;
};

inline std::string text_of(const Fields& fields) {
  std::string text;
  for (const auto field : fields)
    text += std::string(field.name) + "=" + std::string(field.value) + ";";
  return text;
}

/// A server session whose peer is the test. The token of a stream is its id + 1000.
class ServerWorld : public ServerEvents {
 public:
  explicit ServerWorld(Limits with = {}) : limits(with) { flush(); }

  /// Preface and empty settings.
  void begin(std::string_view entries = {}) {
    feed(std::string(kPreface) + settings(entries) + settings_ack());
  }
  bool feed(std::string_view bytes) {
    const bool goes_on = session.feed(bytes);
    flush();
    return goes_on;
  }
  void flush() {
    FlatBuffer out;
    for (bool more = true; more; out.clear()) {
      more = session.produce(out, 64 * 1024);
      seen.add(out.view());
    }
  }
  void respond(StreamId stream, int status, std::string_view body = {}) {
    ResponseHead head;
    head.status = status;
    head.content_length = body.size();
    session.send_response(stream, head, body.empty());
    if (body.empty()) return;
    session.send_body(stream, body);
    session.send_end(stream, nullptr);
  }
  /// How many times that line was written down.
  std::size_t told(std::string_view line) const {
    std::size_t count = 0;
    for (const auto& one : log) count += one == line ? 1u : 0u;
    return count;
  }
  std::string transcript() const {
    std::string all;
    for (const auto& line : log) all += line + "\n";
    return all;
  }

  StreamToken on_request(StreamId stream, RequestHead& head, bool ended) override {
    log.push_back("request " + std::to_string(stream) + " " + head.method + " " + head.scheme +
                  "://" + head.authority + head.path + (ended ? " ended" : ""));
    heads.push_back(head);
    if (answers && ended) respond(stream, 200, "ok");
    return stream + 1000;
  }
  void on_request_body(StreamToken token, std::string_view bytes) override {
    body_bytes += bytes.size();
    bodies += bytes;
    if (acknowledges) session.acknowledge(static_cast<StreamId>(token - 1000), bytes.size());
  }
  void on_request_end(StreamToken token, const Fields* trailers) override {
    log.push_back("end " + std::to_string(token - 1000) +
                  (trailers ? " trailers " + text_of(*trailers) : ""));
  }
  void on_response_taken(StreamToken, std::size_t bytes) override { taken += bytes; }
  void on_closed(StreamToken token, Reset reason) override {
    log.push_back("closed " + std::to_string(token - 1000) + " " + std::string(to_string(reason)));
  }
  void on_refused(const RequestHead&, int status, std::string_view detail) override {
    log.push_back("refused " + std::to_string(status) + " " + std::string(detail));
  }

  Limits limits;
  FakeClock clock;
  Http2ServerSession session{limits, clock, *this};
  SeenOutput seen;
  bool answers = false, acknowledges = true;
  std::vector<std::string> log;
  std::vector<RequestHead> heads;
  std::string bodies;
  std::size_t body_bytes = 0, taken = 0;
};

/// A client session whose peer is the test.
class ClientWorld : public ClientEvents {
 public:
  explicit ClientWorld(Limits with = {}) : limits(with) {
    seen.expects_preface = true;
    flush();
  }

  void begin() { feed(settings() + settings_ack()); }
  bool feed(std::string_view bytes) {
    const bool goes_on = session.feed(bytes);
    flush();
    return goes_on;
  }
  void flush() {
    FlatBuffer out;
    for (bool more = true; more; out.clear()) {
      more = session.produce(out, 64 * 1024);
      seen.add(out.view());
    }
  }
  StreamId send(StreamToken token, bool ended = true) {
    RequestHead head;
    head.method = ended ? "GET" : "POST";
    head.scheme = "https";
    head.authority = "b.example";
    head.path = "/p";
    return session.send_request(head, ended, token);
  }
  std::size_t told(std::string_view line) const {
    std::size_t count = 0;
    for (const auto& one : log) count += one == line ? 1u : 0u;
    return count;
  }
  std::string transcript() const {
    std::string all;
    for (const auto& line : log) all += line + "\n";
    return all;
  }

  void on_interim(StreamToken token, ResponseHead& head) override {
    log.push_back("interim " + std::to_string(token) + " " + std::to_string(head.status));
  }
  void on_response(StreamToken token, ResponseHead& head, bool ended) override {
    log.push_back("response " + std::to_string(token) + " " + std::to_string(head.status) +
                  (ended ? " ended" : ""));
    last_response = head;
  }
  void on_response_body(StreamToken, std::string_view bytes) override {
    bodies += bytes;
    body_bytes += bytes.size();
  }
  void on_response_end(StreamToken token, const Fields* trailers) override {
    log.push_back("end " + std::to_string(token) +
                  (trailers ? " trailers " + text_of(*trailers) : ""));
  }
  void on_request_taken(StreamToken, std::size_t bytes) override { taken += bytes; }
  void on_failed(StreamToken token, const Failure& failure) override {
    log.push_back("failed " + std::to_string(token) + " " + std::string(to_string(failure.reason)) +
                  " " + failure.detail + (failure.is_retryable ? " retryable" : "") +
                  (failure.was_sent ? " sent" : ""));
  }

  Limits limits;
  FakeClock clock;
  Http2ClientSession session{limits, clock, *this, "https"};
  SeenOutput seen;
  std::vector<std::string> log;
  ResponseHead last_response;
  std::string bodies;
  std::size_t body_bytes = 0, taken = 0;
};

}  // namespace gatehouse::proxy
