#include "proxy/protocol/request_id.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace gatehouse::proxy {

namespace {

/// The eight hexadecimal digits of a word: each nibble in a byte of its own, all made text at once.
void put_digits(char* to, std::uint32_t word) {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  std::uint64_t nibbles = word;
  nibbles = (nibbles << 16 | nibbles) & 0x0000ffff0000ffff;
  nibbles = (nibbles << 8 | nibbles) & 0x00ff00ff00ff00ff;
  nibbles = (nibbles << 4 | nibbles) & 0x0f0f0f0f0f0f0f0f;
  const std::uint64_t is_letter = (nibbles + kOnes * 6) >> 4 & kOnes;
  const std::uint64_t text = nibbles + kOnes * '0' + is_letter * ('a' - '0' - 10);
  constexpr bool is_little = std::endian::native == std::endian::little;
  const std::uint64_t in_order = is_little ? __builtin_bswap64(text) : text;  // highest digit first
  std::memcpy(to, &in_order, sizeof in_order);
}

}  // namespace

RequestId make_request_id(Random& random) {
  std::uint64_t high = random.next(), low = random.next();
  high = (high & ~std::uint64_t{0xf000}) | 0x4000;                     // version 4
  low = (low & ~(std::uint64_t{3} << 62)) | (std::uint64_t{2} << 62);  // variant 10

  char digits[32];
  put_digits(digits, static_cast<std::uint32_t>(high >> 32));
  put_digits(digits + 8, static_cast<std::uint32_t>(high));
  put_digits(digits + 16, static_cast<std::uint32_t>(low >> 32));
  put_digits(digits + 24, static_cast<std::uint32_t>(low));
  RequestId id;
  char* const to = id.text;
  std::memcpy(to, digits, 8);
  std::memcpy(to + 9, digits + 8, 4);
  std::memcpy(to + 14, digits + 12, 4);
  std::memcpy(to + 19, digits + 16, 4);
  std::memcpy(to + 24, digits + 20, 12);
  to[8] = to[13] = to[18] = to[23] = '-';
  return id;
}

}  // namespace gatehouse::proxy
