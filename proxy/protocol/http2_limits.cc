#include "proxy/protocol/http2_limits.h"

#include <algorithm>
#include <chrono>

namespace gatehouse::proxy {

namespace {

enum class Bucket : std::uint8_t { kResets, kGlitches, kNone };

struct Rule {
  std::string_view name;
  Bucket bucket;
  double cost;
};

/// In the order of Offence.
constexpr std::array<Rule, kOffences> kRules = {{
    {"rapid_reset", Bucket::kResets, 1},
    {"provoked_reset", Bucket::kResets, 2},
    {"ping", Bucket::kGlitches, 1},
    {"settings", Bucket::kGlitches, 5},
    {"priority", Bucket::kGlitches, 1},
    {"empty_data", Bucket::kGlitches, 2},
    {"window_update", Bucket::kGlitches, 1},
    {"unknown_frame", Bucket::kGlitches, 1},
    {"table_size", Bucket::kGlitches, 5},
    {"late_frame", Bucket::kGlitches, 1},
    {"refused_head", Bucket::kGlitches, 10},
    {"continuation", Bucket::kNone, 0},
    {"head_timeout", Bucket::kNone, 0},
}};

const Rule& rule_of(Offence offence) { return kRules[static_cast<std::size_t>(offence)]; }

}  // namespace

bool TokenBucket::take(double tokens, SteadyTime now) {
  const double seconds = std::chrono::duration<double>(now - filled_).count();
  if (seconds > 0) {
    tokens_ = std::min(most_, tokens_ + seconds * per_second_);
    filled_ = now;
  }
  if (tokens_ < tokens) return false;
  tokens_ -= tokens;
  return true;
}

void TokenBucket::give_back(double tokens) { tokens_ = std::min(most_, tokens_ + tokens); }

std::string_view to_string(Offence offence) { return rule_of(offence).name; }

Http2Limits::Http2Limits(const Clock& clock)
    : clock_(clock),
      resets_(200, 20, clock.steady_now()),
      glitches_(2000, 200, clock.steady_now()) {}

bool Http2Limits::note(Offence offence) {
  ++counts_[static_cast<std::size_t>(offence)];
  const Rule& rule = rule_of(offence);
  bool is_within = false;
  switch (rule.bucket) {
    case Bucket::kResets: is_within = resets_.take(rule.cost, clock_.steady_now()); break;
    case Bucket::kGlitches: is_within = glitches_.take(rule.cost, clock_.steady_now()); break;
    case Bucket::kNone: break;
  }
  if (!is_within && !exceeded_) exceeded_ = offence;
  return is_within;
}

}  // namespace gatehouse::proxy
