#pragma once
// What the peers of one exchange intend, derived from the seed and the exchange's number, so that
// both ends know it without telling each other.

#include <algorithm>
#include <string>
#include <string_view>

#include "daemon/base/random.h"

namespace gatehouse::proxy::sim {

/// Byte `at` of a body.
inline char body_byte(std::uint64_t key, std::size_t at) {
  return static_cast<char>(key * 167 + at * 7 + (at >> 8) * 13 + (at >> 16));
}
inline std::string body_piece(std::uint64_t key, std::size_t from, std::size_t size) {
  std::string piece(size, '\0');
  for (std::size_t i = 0; i < size; ++i) piece[i] = body_byte(key, from + i);
  return piece;
}
inline bool is_body(std::uint64_t key, std::size_t from, std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i)
    if (bytes[i] != body_byte(key, from + i)) return false;
  return true;
}

struct Plan {
  std::size_t up = 0, down = 0;             // bytes of the bodies
  bool says_up = false, says_down = false;  // Content-Length
  bool has_up_trailers = false, has_down_trailers = false;
  bool answers_early = false;  // before the request is whole
  bool has_interim = false;
  bool client_cancels = false, origin_cuts = false, origin_refuses = false;
  std::size_t at = 0;  // where it is cancelled or cut

  static Plan of(std::uint64_t seed, std::uint64_t number, bool has_faults) {
    SeededRandom random(seed * 0x9e3779b97f4a7c15u + number);
    const auto size = [&random] {
      switch (random.below(8)) {
        case 0:
        case 1:
        case 2: return random.below(1);
        case 3:
        case 4: return random.below(100);
        case 5: return random.below(5000);
        case 6: return random.below(40'000);
        default: return random.below(random.below(10) == 0 ? 600'000 : 90'000);
      }
    };
    Plan plan;
    plan.up = size();
    plan.down = size();
    plan.says_up = random.below(2) == 0;
    plan.says_down = random.below(2) == 0;
    plan.has_up_trailers = plan.up > 0 && !plan.says_up && random.below(3) == 0;
    plan.has_down_trailers = plan.down > 0 && !plan.says_down && random.below(3) == 0;
    plan.has_interim = random.below(8) == 0;
    if (!has_faults) return plan;
    plan.answers_early = random.below(10) == 0;
    plan.client_cancels = random.below(12) == 0;
    plan.origin_cuts = plan.down > 0 && random.below(12) == 0;
    plan.origin_refuses = random.below(30) == 0;
    plan.at = random.below(std::max<std::size_t>(plan.down, 1));
    return plan;
  }
};

/// What became of it, as the peers saw it. The world judges.
struct Outcome {
  bool is_over = false;   // for the client
  bool is_whole = false;  // and it got a whole 200
  bool has_sent_end = false;
  unsigned processed = 0;  // by an origin, wholly or in part
};

}  // namespace gatehouse::proxy::sim
