#include "proxy/protocol/http2_limits.h"

#include <algorithm>
#include <chrono>

namespace gatehouse::proxy {

namespace {

enum class Bucket : std::uint8_t { kResets, kGlitches, kNone };

struct Rule {
  Bucket bucket = Bucket::kNone;
  double cost = 0;
};

/// Offences without a rule end the connection at once.
constexpr Rule rule_of(Offence offence) {
  switch (offence) {
    case Offence::kRapidReset: return {Bucket::kResets, 1};
    case Offence::kProvokedReset: return {Bucket::kResets, 2};
    case Offence::kPing:
    case Offence::kPriority:
    case Offence::kWindowUpdate:
    case Offence::kUnknownFrame:
    case Offence::kLateFrame: return {Bucket::kGlitches, 1};
    case Offence::kEmptyData: return {Bucket::kGlitches, 2};
    case Offence::kSettings:
    case Offence::kTableSize: return {Bucket::kGlitches, 5};
    case Offence::kRefusedHead: return {Bucket::kGlitches, 10};
    case Offence::kStalledStream: return {Bucket::kGlitches, 20};
    default: return {};
  }
}

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

Http2Limits::Http2Limits(const Clock& clock)
    : clock_(clock),
      resets_(200, 20, clock.steady_now()),
      glitches_(2000, 200, clock.steady_now()) {}

bool Http2Limits::note(Offence offence, double times) {
  ++counts_[static_cast<std::size_t>(offence)];
  const Rule rule = rule_of(offence);
  bool is_within = false;
  switch (rule.bucket) {
    case Bucket::kResets: is_within = resets_.take(times * rule.cost, clock_.steady_now()); break;
    case Bucket::kGlitches:
      is_within = glitches_.take(times * rule.cost, clock_.steady_now());
      break;
    case Bucket::kNone: break;
  }
  if (!is_within) end_by(offence);
  return is_within;
}

}  // namespace gatehouse::proxy
