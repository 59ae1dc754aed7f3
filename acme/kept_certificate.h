#pragma once
// One configured certificate as the keeper sees it: what is wanted, what is served, what is known
// about its renewal; and the decision what to do next, when, at which CA. No I/O: the keeper acts
// on the decision and writes the facts down.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "acme/options.h"
#include "acme/renewal.h"
#include "daemon/base/clock.h"
#include "daemon/base/random.h"
#include "daemon/net/certificate.h"
#include "store/certificate_store.h"

namespace gatehouse::acme {

/// What CAs told us with Retry-After: (ca, certificate) to time; an empty certificate means all.
using Holds = std::map<std::pair<std::string, std::string>, WallTime>;
/// Until when that CA may not be asked for that certificate; nothing when it may.
std::optional<WallTime> held_until(const Holds& holds, const std::string& ca,
                                   const std::string& certificate, WallTime now);

enum class JobKind : std::uint8_t {
  kIssue,    // get a certificate: the first one, a renewal, or another try
  kPollAri,  // ask the CA for the renewal window
  kSave,     // write down a certificate that the store refused before
};

/// The next thing to do for a certificate. There is always one.
struct Job {
  JobKind kind = JobKind::kIssue;
  WallTime when{};
  std::string ca;      // whom it asks; empty for kSave
  std::string reason;  // for people: why then
};

struct KeptCertificate {
  ManagedCertificate wanted;
  net::CredentialPtr current;  // null until there is one
  std::string current_ca;      // who issued it; empty for an import
  store::RenewalFacts facts;
  store::AriFacts ari;  // of the current leaf, and of no other

  std::optional<store::CertificateRecord> unsaved;
  Error unsaved_error;
  WallTime save_at{};

  bool resumes_order = false;  // an order was in flight when the process ended
  bool wants_now = false;      // an operator asked: past schedule and floor

  Validity validity() const;
  bool is_valid_at(WallTime now) const { return current && validity().holds_at(now); }
  /// Why the current certificate cannot stay; empty when it can.
  std::string_view misfit() const;

  /// Takes a new leaf: its window starts unknown.
  void adopt(net::CredentialPtr credential, std::string ca);
  /// Brings facts.next_try up to date; true when it changed and is to be written down.
  bool schedule(WallTime now, Random& random);
  /// After schedule(). Never in contradiction to a hold.
  Job next_job(const Holds& holds, WallTime now) const;
  /// The next attempt at a certificate, apart from polls and saves.
  Job issue_job(const Holds& holds, WallTime now) const;
  /// The issuer whose turn it is, that is not held back; empty: all are.
  std::string pick_ca(const Holds& holds, WallTime now) const;

 private:
  WallTime planned_renewal(WallTime now, Random& random) const;
};

}  // namespace gatehouse::acme
