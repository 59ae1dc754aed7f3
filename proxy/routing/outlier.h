#pragma once
// Passive ejection: when a host that keeps failing is left out, and for how long. Pure: times and
// outcomes in, verdicts out. What counts as an error is the caller's choice: no connection, reset,
// broken, malformed, too slow; never a status, because a gateway's 503 often speaks of what is
// behind it (KUBERNETES.md section 9).

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "daemon/base/clock.h"
#include "proxy/options.h"

namespace gatehouse::proxy {

/// How many hosts may be ejected at once. At least one of several, so that a small share does not
/// mean never; none of a single one, unless the operator says 100%.
constexpr std::size_t ejections_allowed(std::size_t hosts, unsigned at_most_percent) {
  const std::size_t share = hosts * at_most_percent / 100;
  return share == 0 && hosts > 1 && at_most_percent > 0 ? 1 : share;
}

/// What is known of one host.
class Outlier {
 public:
  /// An ejection lasts `time` times the number of ejections so far, and never longer than this (or
  /// than `time`). The number goes down by one for each `time` that passes without one.
  static constexpr Duration kLongest = std::chrono::seconds(300);

  /// One ejection.
  struct Term {
    std::uint32_t times = 0;  // ejected, and not forgiven, this one included
    SteadyTime until{};
  };

  void on_good() { errors_ = 0; }
  /// True: there were enough in a row; the caller ejects, if as many may be.
  bool on_error(const Ejection& rules) { return ++errors_ >= rules.consecutive_errors; }

  /// What an ejection from now on would be.
  Term next_term(const Ejection& rules, SteadyTime now) const {
    Term next = last_;
    if (now > last_.until) {
      const auto forgiven = static_cast<std::uint64_t>((now - last_.until) / rules.time);
      next.times -= static_cast<std::uint32_t>(std::min<std::uint64_t>(next.times, forgiven));
    }
    ++next.times;
    const Duration longest = std::max(kLongest, rules.time);
    next.until = now + (rules.time > longest / next.times ? longest : rules.time * next.times);
    return next;
  }
  void eject(const Term& term) {
    last_ = term;
    errors_ = 0;
    is_ejected_ = true;
  }
  void come_back() { is_ejected_ = false; }

  bool is_ejected() const { return is_ejected_; }
  SteadyTime until() const { return last_.until; }
  std::uint32_t errors() const { return errors_; }

 private:
  std::uint32_t errors_ = 0;  // in a row
  bool is_ejected_ = false;
  Term last_;  // the last ejection
};

}  // namespace gatehouse::proxy
