#include "proxy/protocol/request_id.h"

#include <cstddef>
#include <cstdint>

namespace gatehouse::proxy {

RequestId make_request_id(Random& random) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::uint64_t high = random.next(), low = random.next();
  high = (high & ~std::uint64_t{0xf000}) | 0x4000;                     // version 4
  low = (low & ~(std::uint64_t{3} << 62)) | (std::uint64_t{2} << 62);  // variant 10

  RequestId id;
  std::size_t at = 0;
  for (int digit = 0; digit < 32; ++digit) {
    if (digit == 8 || digit == 12 || digit == 16 || digit == 20) id.text[at++] = '-';
    std::uint64_t& half = digit < 16 ? high : low;
    id.text[at++] = kDigits[half >> 60];
    half <<= 4;
  }
  return id;
}

}  // namespace gatehouse::proxy
