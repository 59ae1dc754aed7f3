#include "acme/kept_certificate.h"

#include <algorithm>

namespace gatehouse::acme {
namespace {

constexpr Duration kRetryMax = 27h;      // The longest wait of the schedule, with jitter.
constexpr Duration kDoubtfulWait = 24h;  // After a certificate that was due when it came.

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

WallTime after(WallTime from, Duration by) {
  return from + std::chrono::duration_cast<WallTime::duration>(by);
}

}  // namespace

std::optional<WallTime> held_until(const Holds& holds, const std::string& ca,
                                   const std::string& certificate, WallTime now) {
  std::optional<WallTime> until;
  for (const auto& name : {std::string(), certificate}) {
    const auto hold = holds.find({ca, name});
    if (hold == holds.end()) continue;
    const WallTime end = within(hold->second, now, kHoldMax);
    if (end > now && (!until || end > *until)) until = end;
  }
  return until;
}

Validity KeptCertificate::validity() const {
  return current ? Validity{current->facts.not_before, current->facts.not_after} : Validity{};
}

std::string_view KeptCertificate::misfit() const {
  if (!current) return "there is none yet";
  for (const auto& name : wanted.names)
    if (!current->facts.covers(name)) return "it does not cover all names";
  if (!current_ca.empty() && !contains(wanted.issuers, current_ca)) return "its issuer is another";
  return "";
}

void KeptCertificate::adopt(net::CredentialPtr credential, std::string ca) {
  current = std::move(credential);
  current_ca = std::move(ca);
  // A window belongs to a leaf: one that is inherited has caused five certificates in ten seconds.
  if (ari.ari_id != current->facts.ari_id) ari = store::AriFacts{};
  ari.ari_id = current->facts.ari_id;
}

WallTime KeptCertificate::planned_renewal(WallTime now, Random& random) const {
  const Validity valid = validity();
  const WallTime latest = fallback_renewal(valid);
  // Due when it came: a clock or a CA is wrong, and another certificate would not be better.
  if (facts.last_issued && *facts.last_issued <= now && latest <= *facts.last_issued)
    return after(*facts.last_issued, kDoubtfulWait);
  // A window that was over before this leaf was issued is about another one, whatever its key says.
  const bool is_known = facts.last_issued && *facts.last_issued <= now;
  const bool has_window = ari.start && ari.end && ari.chosen &&
                          is_usable(*ari.start, *ari.end, valid) &&
                          !(is_known && *ari.end <= *facts.last_issued);
  if (has_window) return *ari.chosen;
  const bool is_spread = facts.next_try && *facts.next_try <= latest &&
                         *facts.next_try >= after(latest, (valid.not_before - latest) / 20);
  return is_spread ? *facts.next_try : spread_renewal(valid, random);
}

bool KeptCertificate::schedule(WallTime now, Random& random) {
  WallTime next = now;
  if (facts.attempts > 0)
    next = within(facts.next_try.value_or(now), now, kRetryMax);
  else if (misfit().empty())
    next = planned_renewal(now, random);
  else if (facts.next_try && *facts.next_try < now)
    next = *facts.next_try;
  next = std::chrono::floor<std::chrono::milliseconds>(next);  // as the store keeps it
  if (facts.next_try == next) return false;
  facts.next_try = next;
  return true;
}

std::string KeptCertificate::pick_ca(const Holds& holds, WallTime now) const {
  const auto& issuers = wanted.issuers;
  const auto first = std::find(issuers.begin(), issuers.end(), facts.ca);
  const std::size_t start =
      first == issuers.end() ? 0 : static_cast<std::size_t>(first - issuers.begin());
  for (std::size_t i = 0; i < issuers.size(); ++i) {
    const auto& ca = issuers[(start + i) % issuers.size()];
    if (!held_until(holds, ca, wanted.name, now)) return ca;
  }
  return "";
}

Job KeptCertificate::issue_job(const Holds& holds, WallTime now) const {
  Job job{JobKind::kIssue, facts.next_try.value_or(now), "", ""};
  if (facts.attempts > 0)
    job.reason = "retry after a failure";
  else if (const auto why = misfit(); !why.empty())
    job.reason = why;
  else
    job.reason = ari.chosen ? "renewal in the window that the CA suggests" : "renewal";
  if (resumes_order || wants_now) {
    job.when = now;
    job.reason = wants_now ? "asked for" : "an order in flight is resumed";
  } else if (const auto floor = floor_until(facts.last_issued, now); floor && *floor > job.when) {
    job.when = *floor;
    job.reason += "; not within an hour of the last one";
  }
  job.ca = pick_ca(holds, std::max(job.when, now));
  if (!job.ca.empty() || wanted.issuers.empty()) return job;
  // Everybody asked us to wait: the one that may be asked first.
  std::optional<WallTime> soonest;
  for (const auto& ca : wanted.issuers) {
    const auto until = held_until(holds, ca, wanted.name, now);
    if (!until || (soonest && *until >= *soonest)) continue;
    soonest = until;
    job.ca = ca;
  }
  if (soonest && *soonest > job.when) {
    job.when = *soonest;
    job.reason = "the CA asked to wait";
  }
  return job;
}

Job KeptCertificate::next_job(const Holds& holds, WallTime now) const {
  Job next = issue_job(holds, now);
  if (next.when <= now) return next;
  if (unsaved && within(save_at, now, 1h) < next.when)
    next = Job{JobKind::kSave, within(save_at, now, 1h), "", "the store refused the certificate"};
  if (!current || current_ca.empty() || ari.ari_id.empty() || now >= validity().not_after ||
      !contains(wanted.issuers, current_ca))
    return next;
  WallTime poll = ari.next_poll ? within(*ari.next_poll, now, 25h) : now;
  if (const auto hold = held_until(holds, current_ca, "", now)) poll = std::max(poll, *hold);
  if (poll < next.when) next = Job{JobKind::kPollAri, poll, current_ca, "renewal information"};
  return next;
}

}  // namespace gatehouse::acme
