#pragma once
// Chance as an argument: jitter, request ids, load balancing. Never for secrets (those come from
// OpenSSL alone). A fixed seed makes a test repeatable.

#include <cstdint>
#include <random>

namespace gatehouse {

class Random {
 public:
  virtual ~Random() = default;
  virtual std::uint64_t next() = 0;

  /// Uniform in [0, bound); 0 when bound is 0. The bias of the multiplication is below 2^-32 here.
  std::uint64_t below(std::uint64_t bound) {
    __extension__ using Wide = unsigned __int128;  // not ISO C++; said to -Wpedantic
    return static_cast<std::uint64_t>((static_cast<Wide>(next()) * bound) >> 64);
  }
  /// Uniform in [0, 1).
  double fraction() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
};

/// xoshiro256**: fast, good, not cryptographic.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(std::uint64_t seed) {
    for (auto& word : state_) {  // splitmix64
      seed += 0x9e3779b97f4a7c15u;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      word = z ^ (z >> 31);
    }
  }
  /// Seeded by the system.
  SeededRandom() : SeededRandom(from_system()) {}

  std::uint64_t next() override {
    const std::uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate(state_[3], 45);
    return result;
  }

 private:
  static std::uint64_t rotate(std::uint64_t x, int by) { return x << by | x >> (64 - by); }
  static std::uint64_t from_system() {
    std::random_device device;
    return std::uint64_t{device()} << 32 | device();
  }
  std::uint64_t state_[4];
};

}  // namespace gatehouse
