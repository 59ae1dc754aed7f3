#include "proxy/protocol/http1_output.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <utility>

#include "daemon/base/text.h"

namespace gatehouse::proxy {

namespace {

/// No chunk is split smaller than this, so that their lines stay a small part of the output.
constexpr std::size_t kChunkBytesMin = 1024;

constexpr std::uint64_t bit(Name name) { return std::uint64_t{1} << static_cast<unsigned>(name); }
constexpr std::uint64_t kOwnFields = bit(Name::kConnection) | bit(Name::kContentLength) |
                                     bit(Name::kExpect) | bit(Name::kHost) | bit(Name::kKeepAlive) |
                                     bit(Name::kProxyConnection) | bit(Name::kTe) |
                                     bit(Name::kTransferEncoding) | bit(Name::kUpgrade);

char* put(char* at, std::string_view text) {
  std::memcpy(at, text.data(), text.size());
  return at + text.size();
}

}  // namespace

void Http1Output::begin_body(Framing framing, std::uint64_t length) {
  framing_ = framing;
  remaining_ = framing == Framing::kLength ? length : 0;
}

bool Http1Output::send_body(std::string_view bytes) {
  if (framing_ == Framing::kNone) {
    dropped_ += bytes.size();
    return true;
  }
  if (framing_ == Framing::kLength) {
    if (bytes.size() > remaining_) return false;
    remaining_ -= bytes.size();
  }
  body_.append(bytes);
  return true;
}

bool Http1Output::send_end(const Fields* trailers) {
  if (remaining_ > 0) return false;
  is_ended_ = true;
  if (trailers && framing_ == Framing::kChunked) trailers_ = *trailers;
  return true;
}

void Http1Output::clear() {
  head_.clear();
  body_.clear();
  finish();
}

void Http1Output::finish() {
  framing_ = Framing::kNone;
  is_ended_ = is_whole_ = has_gone_out_ = false;
  remaining_ = 0;
  dropped_ = 0;
  trailers_.clear();
}

std::size_t Http1Output::produce(FlatBuffer& out, std::size_t most) {
  std::size_t taken = std::exchange(dropped_, 0);
  if (!head_.empty()) {
    out.append(head_.view());
    head_.clear();
    has_gone_out_ = true;
  }
  while (!body_.empty() && out.size() < most) {
    std::size_t size = most - out.size();
    if (framing_ == Framing::kChunked) size = std::max(size, kChunkBytesMin);
    size = std::min(size, body_.size());
    produce_body(out, size);
    taken += size;
    has_gone_out_ = true;
  }
  if (is_ended_ && !is_whole_ && body_.empty()) produce_end(out);
  return taken;
}

void Http1Output::produce_body(FlatBuffer& out, std::size_t size) {
  if (framing_ == Framing::kChunked) {
    char digits[16];
    const auto end = std::to_chars(digits, digits + sizeof digits, size, 16).ptr;
    out.append(std::string_view(digits, static_cast<std::size_t>(end - digits)));
    out.append("\r\n");
  }
  while (size > 0) {
    const std::string_view piece = body_.front().substr(0, size);
    out.append(piece);
    size -= piece.size();
    body_.consume(piece.size());
  }
  if (framing_ == Framing::kChunked) out.append("\r\n");
}

void Http1Output::produce_end(FlatBuffer& out) {
  is_whole_ = true;
  if (framing_ != Framing::kChunked) return;
  has_gone_out_ = true;
  out.append("0\r\n");
  append_fields(out, trailers_);
  out.append("\r\n");
}

void append_fields(FlatBuffer& out, const Fields& fields) {
  // list_bytes() counts 32 bytes beside each name and value; ": " and CRLF are four.
  char* const begin = out.prepare(fields.list_bytes());
  char* at = begin;
  for (const auto field : fields) {
    if ((kOwnFields >> static_cast<unsigned>(field.id)) & 1) continue;
    at = put(at, field.name);
    at = put(at, ": ");
    at = put(at, field.value);
    at = put(at, "\r\n");
  }
  out.commit(static_cast<std::size_t>(at - begin));
}

void append_decimal(FlatBuffer& out, std::uint64_t number) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out.append(std::string_view(digits, static_cast<std::size_t>(end - digits)));
}

std::string_view http_date(const Clock& clock) {
  struct Cache {
    std::chrono::seconds second{-1};
    std::string text;
  };
  static thread_local Cache cache;
  const WallTime now = clock.wall_now();
  const auto second = std::chrono::floor<std::chrono::seconds>(now.time_since_epoch());
  if (second != cache.second || cache.text.empty()) {
    cache.second = second;
    cache.text = format_http_date(now);
  }
  return cache.text;
}

}  // namespace gatehouse::proxy
