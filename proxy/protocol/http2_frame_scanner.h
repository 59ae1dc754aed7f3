#pragma once
// Finds the frames in a stream of HTTP/2 bytes (RFC 9113 section 4.1), so that the session can
// judge each one by its header before nghttp2 acts on it, and knows whether input stopped inside
// one. It looks at no payload and copies nothing but a header that comes in pieces. Pure.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace gatehouse::proxy {

enum class FrameType : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoaway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

struct FrameHead {
  static constexpr std::size_t kBytes = 9;
  static constexpr std::uint8_t kAck = 0x1, kEndStream = 0x1, kEndHeaders = 0x4, kPadded = 0x8,
                                kPriority = 0x20;
  std::uint32_t length = 0;
  FrameType type = FrameType::kData;
  std::uint8_t flags = 0;
  std::uint32_t stream = 0;

  bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
};

class Http2FrameScanner {
 public:
  /// What may be handed on next. When `begins`, it starts with a frame header, which is head().
  struct Piece {
    std::string_view bytes;
    bool begins = false;
  };

  /// `preface_bytes`: what comes before the first frame (24 from a client).
  explicit Http2FrameScanner(std::size_t preface_bytes)
      : preface_left_(preface_bytes), is_before_preface_(preface_bytes != 0) {}

  /// Takes a piece off the front of `input`. Nothing: all is taken; the begin of a header may be
  /// kept inside. A piece never reaches beyond its frame and is valid until the next call.
  std::optional<Piece> next(std::string_view& input);

  const FrameHead& head() const { return head_; }
  /// Input stopped inside a header block, or between its frames.
  bool is_mid_block() const {
    return is_in_block_ || (payload_left_ > 0 && (head_.type == FrameType::kHeaders ||
                                                  head_.type == FrameType::kContinuation));
  }
  /// Input stopped inside the preface, a frame or a header block.
  bool is_mid_frame() const {
    return (preface_left_ > 0 && !is_before_preface_) || header_size_ > 0 || payload_left_ > 0 ||
           is_in_block_;
  }

 private:
  void begin_frame(const char* header);
  Piece take(std::string_view& input, std::size_t size);

  std::size_t preface_left_;
  bool is_before_preface_;  // Not a byte has come.
  bool is_in_block_ = false;
  std::size_t header_size_ = 0;
  std::size_t payload_left_ = 0;
  std::array<char, FrameHead::kBytes> header_{};
  FrameHead head_;
};

}  // namespace gatehouse::proxy
