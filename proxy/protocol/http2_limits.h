#pragma once
// Accounts of what a peer does on one HTTP/2 connection that costs us more than it (HARDENING.md
// section 3). Two token buckets: one for resets, one for frames that carry nothing ("glitches").
// Each offence is counted by its name, so that metrics and logs can say what ended a connection.
// Pure; owned by the session.
//
//   resets    200 tokens, +20/s. A stream that the peer cancels before our response head takes 1
//             (CVE-2023-44487), a reset that the peer provokes from us 2 (CVE-2025-8671): so 200
//             and +20/s of the one, 100 and +10/s of the other, or a mix.
//   glitches  2000 points, +200/s, and 4 back for each DATA frame with content that we send: a
//             client that loads at full speed answers each with WINDOW_UPDATEs and probes with
//             PINGs, honestly. Nothing is given back for a frame that is small because the peer
//             opens its window by drops (CVE-2019-9511).

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "daemon/base/clock.h"
#include "proxy/protocol/offence.h"

namespace gatehouse::proxy {

/// Tokens that come back with time.
class TokenBucket {
 public:
  TokenBucket(double most, double per_second, SteadyTime now)
      : most_(most), per_second_(per_second), tokens_(most), filled_(now) {}

  /// False: there are not that many.
  bool take(double tokens, SteadyTime now);
  void give_back(double tokens);

 private:
  double most_, per_second_, tokens_;
  SteadyTime filled_;
};

class Http2Limits {
 public:
  static constexpr unsigned kContinuationFramesMax = 8;

  explicit Http2Limits(const Clock& clock);

  /// Counts one. False: it was one too many, the connection is to be ended with ENHANCE_YOUR_CALM.
  /// `times`: it weighs that much more than one.
  [[nodiscard]] bool note(Offence offence, double times = 1);
  /// The connection ends for another reason: that is its name, unless it has one.
  void end_by(Offence offence) {
    if (!exceeded_) exceeded_ = offence;
  }
  /// We sent a DATA frame with content, not one that the peer keeps small.
  void on_data_sent() { glitches_.give_back(4); }

  std::uint32_t count(Offence offence) const { return counts_[static_cast<std::size_t>(offence)]; }
  /// What ended the connection, if it was one of these.
  std::optional<Offence> exceeded() const { return exceeded_; }

 private:
  const Clock& clock_;
  TokenBucket resets_;
  TokenBucket glitches_;
  std::array<std::uint32_t, kOffences> counts_{};
  std::optional<Offence> exceeded_;
};

}  // namespace gatehouse::proxy
