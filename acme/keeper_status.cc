// The keeper's facts for operators. Read-only.

#include "acme/keeper.h"
#include "acme/keeper_entry.h"

namespace gatehouse::acme {
namespace {

/// Half of the time for renewing is used up: thresholds follow the lifetime, never fixed days.
bool is_late(const KeptCertificate& kept, WallTime now) {
  const Validity validity = kept.validity();
  WallTime renewal = fallback_renewal(validity);
  if (kept.ari.chosen && *kept.ari.chosen<validity.not_after&& * kept.ari.chosen> renewal)
    renewal = *kept.ari.chosen;
  return now > renewal && now - renewal > (validity.not_after - renewal) / 2;
}

CertificateStatus::State state_of(const KeptCertificate& kept, WallTime now) {
  using State = CertificateStatus::State;
  if (!kept.current) return State::kNone;
  if (now >= kept.validity().not_after) return State::kExpired;
  return is_late(kept, now) ? State::kLate : State::kValid;
}

std::string action_of(const KeptCertificate& kept) {
  if (kept.resumes_order) return "resume";
  if (kept.facts.attempts > 0) return "retry";
  return kept.misfit().empty() ? "renew" : "issue";
}

}  // namespace

std::string_view to_string(CertificateStatus::State state) {
  using State = CertificateStatus::State;
  switch (state) {
    case State::kNone: return "none";
    case State::kValid: return "valid";
    case State::kLate: return "late";
    case State::kExpired: return "expired";
  }
  return "unknown";
}

CertificateStatus Keeper::status_of(const Entry& entry) const {
  const auto& kept = entry.kept;
  const WallTime now = parts_.loop.clock().wall_now();
  CertificateStatus status;
  status.name = kept.wanted.name;
  status.names = kept.wanted.names;
  status.state = state_of(kept, now);
  if (kept.current) {
    status.ca = kept.current_ca;
    status.key_kind = kept.current->facts.key_kind;
    status.serial = kept.current->facts.serial_hex;
    status.not_before = kept.current->facts.not_before;
    status.not_after = kept.current->facts.not_after;
  }
  status.last_issued = kept.facts.last_issued;
  const Job issue = kept.issue_job(holds_, now);
  status.next_action = action_of(kept);
  status.next_time = issue.when;
  status.next_ca = issue.ca;
  status.next_reason = issue.reason;
  if (!authorities_.contains(issue.ca)) status.next_reason = "no issuer is configured for it";
  if (is_held_back(issue)) status.next_reason = parts_.fleet->reason();
  if (is_awaited(entry)) status.next_reason = "its Secrets are read first";
  status.failures = kept.facts.attempts;
  status.last_error = kept.facts.last_error;
  status.is_in_progress = entry.job && !entry.step.empty();
  if (status.is_in_progress) {
    status.step = entry.step;
    status.step_ca = entry.step_ca;
    status.step_since = entry.step_since;
  }
  if (kept.unsaved) status.not_saved = kept.unsaved_error.message;
  status.explanation_url = kept.ari.explanation_url;
  return status;
}

std::vector<CertificateStatus> Keeper::status() const {
  std::vector<CertificateStatus> all;
  for (const auto& [name, entry] : entries_)
    if (!entry->is_dropped) all.push_back(status_of(*entry));
  return all;
}

}  // namespace gatehouse::acme
