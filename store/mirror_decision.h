#pragma once
// What is to be done with one Secret, given what we want there and what is there: the rules of
// ownership, on one screen. Pure.
//
//   what is there                                   what we do
//   nothing                                         create
//   what we want                                    nothing
//   cert-manager's, whatever the configuration says leave it, tell whose it is
//   without our label                               leave it; `adopt`: take it over, once
//   another type, or immutable                      leave it: neither can be changed
//   ours, a newer certificate of another node       leave it, and take that certificate ourselves
//   ours, older or different                        write
//   ours, but somebody else wrote over it           write by force, once; the second time leave it

#include <optional>
#include <string>

#include "daemon/base/clock.h"
#include "daemon/net/certificate.h"
#include "store/kube_objects.h"
#include "store/options.h"

namespace gatehouse::store {

/// What we know from before about a Secret, in this process.
struct MirrorPast {
  bool was_ours = false;     // it was as we want it, or we wrote it
  bool has_adopted = false;  // it was taken over
  int overwrites = 0;        // by somebody else, that we have repaired
};

struct MirrorDecision {
  enum class Action : std::uint8_t {
    kNothing,   // it is as it should be
    kWrite,     // create or change it, without force
    kAdopt,     // by force, since the configuration says so
    kRepair,    // by force, since somebody wrote over what was ours
    kLeave,     // it is not ours to change; `reason` says why
    kTakeOurs,  // another node has put a newer certificate there
  };
  Action action = Action::kNothing;
  std::string reason;  // for people
  std::string owner;   // whose it is, of kLeave and kRepair; may be empty
  bool is_fight = false;
};

/// A usable pair in a Secret: parsed, matching, named `certificate`. Errors say what is wrong.
Result<net::CredentialPtr> credential_in(const Secret& secret, const std::string& certificate);

/// The whole Secret that we want. `ca_pem` goes into ca.crt, unless it is empty.
struct MirrorSource {
  net::CredentialPtr credential;
  std::string ca;      // issuer, as in the configuration
  std::string ca_pem;  // root of a private CA
};
Result<Secret> wanted_secret(const MirrorTarget& target, const MirrorSource& source,
                             const std::string& node);

/// What a visitor of these names would complain about now; empty: nothing.
std::string complaint(const net::CertificateFacts& facts, const std::vector<std::string>& names,
                      WallTime now);

/// Why this certificate is never written there; empty: it may be.
std::string unfit(const MirrorTarget& target, const net::Credential& credential, WallTime now);

MirrorDecision decide(const MirrorTarget& target, const Secret& wanted,
                      const net::Credential& credential, const std::optional<Secret>& found,
                      const MirrorPast& past, WallTime now);

/// The Secret carries our label, and nobody but us has written into it.
bool is_of_gatehouse(const Secret& secret);
/// Who else it may belong to, for people; empty: nobody is known.
std::string owner_of(const Secret& secret);

}  // namespace gatehouse::store
