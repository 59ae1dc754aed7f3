#pragma once
// When to renew, when to try again, when to ask for renewal information. Pure: facts, a time and
// chance in, a time out; the keeper keeps the answers in the store, so that a restart repeats
// nothing. The numbers follow Let's Encrypt's integration guide and RFC 9773.

#include <optional>
#include <string>

#include "acme/attempt.h"
#include "acme/authority.h"
#include "daemon/base/clock.h"
#include "daemon/base/random.h"
#include "store/certificate_store.h"

namespace gatehouse::acme {

/// No two issuances of one name within this, whatever a window or a clock says.
inline constexpr Duration kIssuanceFloor = 1h;
/// The longest wait that a Retry-After may cause; a longer one is a clock that jumped.
inline constexpr Duration kHoldMax = 31 * 24h;
/// Failed attempts at one CA before the next one gets its turn.
inline constexpr int kAttemptsPerCa = 3;

/// Validity of the certificate that is served.
struct Validity {
  WallTime not_before{}, not_after{};
  bool holds_at(WallTime now) const { return not_before <= now && now < not_after; }
};

/// Two thirds of life; half of it below ten days.
WallTime fallback_renewal(Validity validity);
/// The same, up to 2 % of life earlier: names that were issued together spread out.
WallTime spread_renewal(Validity validity, Random& random);

/// RFC 9773 section 4.2: an end that is not after the start is no answer, and neither is a window
/// that opens when the certificate is over.
bool is_usable(WallTime start, WallTime end, Validity validity);
/// A uniform random moment of the window, before the certificate's end.
WallTime choose_moment(WallTime start, WallTime end, Validity validity, Random& random);

/// The answer's window into the row, with a new moment when the window changed. An unusable answer
/// takes the window away. Also sets when to ask again.
void apply_ari(store::AriFacts& ari, const AriAnswer& answer, Validity validity, WallTime now,
               Random& random);
/// An error of the CA: a temporary one doubles the wait, 1 min up to 6 h; a long-term one (the CA
/// does not know the certificate, or answers nonsense) waits 6 h. The last window stays.
void apply_ari_failure(store::AriFacts& ari, const Error& error, WallTime now, Random& random);
/// RFC 9773 section 4.3.2: never for a certificate that expired.
bool wants_ari_poll(const store::AriFacts& ari, Validity validity, WallTime now);

/// When a certificate that is in order is renewed: inside its window, else the fallback moment.
WallTime renewal_moment(const store::AriFacts* ari, Validity validity, Random& random);

/// What the wait after a failure depends on.
struct FailureContext {
  int attempts = 1;     // failed in a row, this one included
  int ca_attempts = 1;  // of these at the CA that just failed
  int ca_count = 1;     // issuers that the certificate may use
  bool has_valid_certificate = false;
};
/// 1, 10, 100 minutes; then daily, or hourly for transient problems while nothing valid is served.
/// With several CAs each one gets its three attempts first. +-10 % of jitter.
Duration retry_delay(Reaction reaction, const FailureContext& context, Random& random);
/// The same as a time, and never before the CA's Retry-After (plus up to a minute of spread).
WallTime next_attempt(const AttemptFailure& failure, const FailureContext& context, WallTime now,
                      Random& random);

/// A stored time that a jump of the clock made absurd: brought back to at most `most` from now.
WallTime within(WallTime stored, WallTime now, Duration most);
/// Until when the floor forbids another issuance; nothing when it does not.
std::optional<WallTime> floor_until(std::optional<WallTime> last_issued, WallTime now);

}  // namespace gatehouse::acme
