#pragma once
// The outcome of one attempt to get a certificate: a credential, or why not and what that means for
// the schedule. Issuers decide the reaction (ACME problem types, acme/problem.h); renewal.h turns
// it into a time.

#include <boost/system/result.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/net/certificate.h"

namespace gatehouse::acme {

enum class Reaction : std::uint8_t {
  kRetrySoon,   // Nothing is wrong: a changed order (without `replaces`) or a lost nonce. At once.
  kTransient,   // dns, connection, tls, serverInternal, 5xx, our own disk: 1, 10, 100 minutes.
  kPersistent,  // caa, unauthorized, rejectedIdentifier, badCSR...: a person must change something.
  kRateLimited,  // 429, 503 with Retry-After, rateLimited: not before the CA's time.
  kAccount,      // userActionRequired, externalAccountRequired: the whole account waits.
};
std::string_view to_string(Reaction reaction);

struct AttemptFailure {
  Reaction reaction = Reaction::kTransient;
  Error error;                         // for people, plain language
  std::string problem_type;            // without the urn prefix: "caa"; empty when no problem
  std::optional<WallTime> not_before;  // the CA's Retry-After
  bool is_ca_wide = false;             // holds all names of this CA back, not only this one
  bool is_replaced_already = false;    // 409 alreadyReplaced: never send this `replaces` again
};

/// Only so that boost::system::result accepts AttemptFailure: nobody calls .value().
[[noreturn]] inline void throw_exception_from_error(const AttemptFailure& failure,
                                                    const boost::source_location& where) {
  gatehouse::throw_exception_from_error(failure.error, where);
}

/// The credential's name is the ManagedCertificate's.
using AttemptResult = boost::system::result<net::CredentialPtr, AttemptFailure>;

}  // namespace gatehouse::acme
