#include "acme/renewal.h"

#include <algorithm>

namespace gatehouse::acme {
namespace {

constexpr Duration kShortLife = 10 * 24h;
constexpr Duration kDay = 24h;
constexpr Duration kAriPollDefault = 6h;  // Let's Encrypt asks for at least twice a day.
constexpr Duration kAriPollMin = 1min, kAriPollMax = kDay;
constexpr Duration kAriErrorMax = 6h;
constexpr Duration kRateLimitDefault = 1h;  // Limited, but the CA did not say for how long.

// Dates of certificates come from outside: differences of extreme ones must not overflow.
constexpr Duration kLifeMax = 50 * 365 * 24h;

Duration between(WallTime from, WallTime to) {
  using std::chrono::duration_cast;
  using std::chrono::seconds;
  const auto seconds_apart = duration_cast<seconds>(to.time_since_epoch()) -
                             duration_cast<seconds>(from.time_since_epoch());
  const seconds most = duration_cast<seconds>(kLifeMax);
  if (seconds_apart >= most) return kLifeMax;
  if (seconds_apart <= -most) return -kLifeMax;
  return to - from;
}

Duration portion(Duration of, double part) {
  return Duration{static_cast<Duration::rep>(static_cast<double>(of.count()) * part)};
}

/// As the store keeps it: a time that is read back must equal the one that was written.
WallTime whole(WallTime time) { return std::chrono::floor<std::chrono::milliseconds>(time); }

/// +-10 %.
Duration jittered(Duration wait, Random& random) {
  return portion(wait, 0.9 + 0.2 * random.fraction());
}

WallTime advance(WallTime from, Duration by) {
  constexpr WallTime kFirst{std::chrono::hours(-24 * 365 * 200)};
  constexpr WallTime kLast{std::chrono::hours(24 * 365 * 230)};
  return std::clamp(from, kFirst, kLast) + std::chrono::duration_cast<WallTime::duration>(by);
}

}  // namespace

std::string_view to_string(Reaction reaction) {
  switch (reaction) {
    case Reaction::kRetrySoon: return "retry_soon";
    case Reaction::kTransient: return "transient";
    case Reaction::kPersistent: return "persistent";
    case Reaction::kRateLimited: return "rate_limited";
    case Reaction::kAccount: return "account";
  }
  return "unknown";
}

WallTime fallback_renewal(Validity validity) {
  const Duration life = std::max(between(validity.not_before, validity.not_after), Duration{0});
  return advance(validity.not_before, life < kShortLife ? life / 2 : life / 3 * 2);
}

WallTime spread_renewal(Validity validity, Random& random) {
  const Duration life = std::max(between(validity.not_before, validity.not_after), Duration{0});
  return whole(advance(fallback_renewal(validity), -portion(life, 0.02 * random.fraction())));
}

bool is_usable(WallTime start, WallTime end, Validity validity) {
  return start < end && start < validity.not_after;
}

WallTime choose_moment(WallTime start, WallTime end, Validity validity, Random& random) {
  const WallTime last = std::min(end, validity.not_after);
  return whole(advance(start, portion(between(start, last), random.fraction())));
}

void apply_ari(store::AriFacts& ari, const AriAnswer& answer, Validity validity, WallTime now,
               Random& random) {
  ari.failures = 0;
  ari.explanation_url = answer.explanation_url;
  const Duration wait = answer.retry_after
                            ? std::clamp(*answer.retry_after, kAriPollMin, kAriPollMax)
                            : jittered(kAriPollDefault, random);
  ari.next_poll = advance(now, wait);
  if (!is_usable(answer.start, answer.end, validity)) {
    ari.start.reset();
    ari.end.reset();
    ari.chosen.reset();
    return;
  }
  // An unchanged window keeps its moment: choosing again at each poll would favour early ones.
  const WallTime start = whole(answer.start), end = whole(answer.end);
  if (ari.chosen && ari.start == start && ari.end == end) return;
  ari.start = start;
  ari.end = end;
  ari.chosen = choose_moment(answer.start, answer.end, validity, random);
}

void apply_ari_failure(store::AriFacts& ari, const Error& error, WallTime now, Random& random) {
  const bool is_long_term = error.fault == Fault::kNotFound || error.fault == Fault::kInvalid ||
                            error.fault == Fault::kProtocol || error.fault == Fault::kUnsupported;
  Duration wait = kAriErrorMax;
  if (!is_long_term && ari.failures < 9)
    wait = std::min<Duration>(1min * (1 << ari.failures), wait);
  ari.failures = std::min(ari.failures + 1, 100);
  ari.next_poll = advance(now, portion(wait, 1.0 - 0.1 * random.fraction()));
}

bool wants_ari_poll(const store::AriFacts& ari, Validity validity, WallTime now) {
  if (ari.ari_id.empty() || now >= validity.not_after) return false;
  return !ari.next_poll || *ari.next_poll <= now;
}

WallTime renewal_moment(const store::AriFacts* ari, Validity validity, Random& random) {
  if (ari && ari->start && ari->end && ari->chosen && is_usable(*ari->start, *ari->end, validity))
    return *ari->chosen;
  return spread_renewal(validity, random);
}

Duration retry_delay(Reaction reaction, const FailureContext& context, Random& random) {
  constexpr Duration kSteps[] = {1min, 10min, 100min};
  const int ca_count = std::max(context.ca_count, 1);
  const int at_this_ca = std::clamp(context.ca_attempts, 1, kAttemptsPerCa);
  if (context.attempts < kAttemptsPerCa * ca_count && at_this_ca == kAttemptsPerCa)
    return jittered(kSteps[0], random);  // The next CA has not had its turn yet.
  if (context.attempts <= kAttemptsPerCa * ca_count)
    return jittered(kSteps[at_this_ca - 1], random);
  const bool is_transient = reaction == Reaction::kTransient || reaction == Reaction::kRetrySoon;
  return jittered(is_transient && !context.has_valid_certificate ? Duration{1h} : kDay, random);
}

WallTime next_attempt(const AttemptFailure& failure, const FailureContext& context, WallTime now,
                      Random& random) {
  Duration wait = retry_delay(failure.reaction, context, random);
  if (failure.reaction == Reaction::kAccount) wait = std::max(wait, portion(kDay, 0.9));
  if (failure.reaction == Reaction::kRateLimited && !failure.not_before)
    wait = std::max(wait, jittered(kRateLimitDefault, random));
  const WallTime scheduled = whole(advance(now, wait));
  if (!failure.not_before) return scheduled;
  const WallTime allowed = within(*failure.not_before, now, kHoldMax);
  return std::max(scheduled, advance(allowed, portion(1min, random.fraction())));
}

WallTime within(WallTime stored, WallTime now, Duration most) {
  return between(now, stored) > most ? advance(now, most) : stored;
}

std::optional<WallTime> floor_until(std::optional<WallTime> last_issued, WallTime now) {
  // An issuance in the future means that the clock was set back: then it says nothing.
  if (!last_issued || *last_issued > now) return std::nullopt;
  const WallTime until = advance(*last_issued, kIssuanceFloor);
  return until > now ? std::optional(until) : std::nullopt;
}

}  // namespace gatehouse::acme
