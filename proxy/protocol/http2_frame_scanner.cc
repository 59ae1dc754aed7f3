#include "proxy/protocol/http2_frame_scanner.h"

#include <algorithm>
#include <cstring>

namespace gatehouse::proxy {

void Http2FrameScanner::begin_frame(const char* header) {
  const auto byte = [header](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(header[i]));
  };
  head_.length = byte(0) << 16 | byte(1) << 8 | byte(2);
  head_.type = static_cast<FrameType>(header[3]);
  head_.flags = static_cast<std::uint8_t>(header[4]);
  // RFC 9113 section 4.1: the reserved bit is ignored.
  head_.stream = (byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8)) & 0x7fffffffu;
  payload_left_ = head_.length;
  if (head_.type == FrameType::kHeaders || head_.type == FrameType::kContinuation ||
      head_.type == FrameType::kPushPromise)
    is_in_block_ = !head_.has(FrameHead::kEndHeaders);
}

Http2FrameScanner::Piece Http2FrameScanner::take(std::string_view& input, std::size_t size) {
  const Piece piece{input.substr(0, size), false};
  input.remove_prefix(size);
  return piece;
}

std::optional<Http2FrameScanner::Piece> Http2FrameScanner::next(std::string_view& input) {
  if (input.empty()) return std::nullopt;
  if (preface_left_ > 0) {
    is_before_preface_ = false;
    const std::size_t size = std::min(preface_left_, input.size());
    preface_left_ -= size;
    return take(input, size);
  }
  if (payload_left_ > 0) {
    const std::size_t size = std::min(payload_left_, input.size());
    payload_left_ -= size;
    return take(input, size);
  }
  if (header_size_ == 0 && input.size() >= FrameHead::kBytes) {
    begin_frame(input.data());
    const std::size_t payload = std::min(payload_left_, input.size() - FrameHead::kBytes);
    payload_left_ -= payload;
    Piece piece = take(input, FrameHead::kBytes + payload);
    piece.begins = true;
    return piece;
  }
  const std::size_t size = std::min(FrameHead::kBytes - header_size_, input.size());
  std::memcpy(header_.data() + header_size_, input.data(), size);
  header_size_ += size;
  input.remove_prefix(size);
  if (header_size_ < FrameHead::kBytes) return std::nullopt;
  header_size_ = 0;
  begin_frame(header_.data());
  return Piece{{header_.data(), header_.size()}, true};
}

}  // namespace gatehouse::proxy
