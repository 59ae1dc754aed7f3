// The keeper in a cluster: the holder of the Lease issues, everybody else takes what it shares. And
// what comes from Secrets before a first order.

#include <algorithm>
#include <utility>

#include "acme/keeper.h"
#include "acme/keeper_entry.h"
#include "daemon/base/log.h"
#include "daemon/base/text.h"

namespace gatehouse::acme {

bool Keeper::is_shared(const std::string& ca) const {
  const auto found = authorities_.find(ca);
  return found != authorities_.end() && !found->second->is_local();
}

bool Keeper::is_held_back(const Job& job) const {
  if (!parts_.fleet || job.kind == JobKind::kSave || !is_shared(job.ca)) return false;
  return !parts_.fleet->may_issue();
}

bool Keeper::is_awaited(const Entry& entry) const {
  return awaited_.contains(entry.kept.wanted.name) &&
         !entry.kept.is_valid_at(parts_.loop.clock().wall_now());
}

void Keeper::await_restore(const std::set<std::string>& names) {
  awaited_.insert(names.begin(), names.end());
}

void Keeper::let_go(const std::string& name) {
  if (awaited_.erase(name) == 0) return;
  const auto found = entries_.find(name);
  if (found != entries_.end()) plan(*found->second);
}

void Keeper::on_fleet_changed(const std::vector<std::string>& left) {
  for (const auto& name : left)
    if (const auto found = entries_.find(name); found != entries_.end())
      found->second->kept.resumes_order = true;
  const bool may_issue = parts_.fleet && parts_.fleet->may_issue();
  for (auto next = entries_.begin(); next != entries_.end();) {
    auto& entry = *(next++)->second;  // cancel() may erase it
    if (entry.job && !may_issue && is_shared(entry.job->ca))
      cancel(entry);
    else
      plan(entry);
  }
}

void Keeper::offer(store::LoadedCertificate shared) {
  const auto found = entries_.find(shared.credential->name);
  if (found == entries_.end() || found->second->is_dropped || is_stopped_) return;
  auto& entry = *found->second;
  auto& kept = entry.kept;
  const auto& facts = shared.credential->facts;
  const auto& wanted = kept.wanted;
  if (std::none_of(wanted.issuers.begin(), wanted.issuers.end(),
                   [this](const std::string& ca) { return is_shared(ca); }))
    return;
  const auto is_covered = [&facts](const std::string& name) { return facts.covers(name); };
  if (!std::all_of(wanted.names.begin(), wanted.names.end(), is_covered)) return;
  if (parts_.loop.clock().wall_now() >= facts.not_after) return;
  if (kept.current) {
    const auto& ours = kept.current->facts;
    if (ours.fingerprint_sha256_hex == facts.fingerprint_sha256_hex) return;
    if (kept.misfit().empty() && ours.not_before >= facts.not_before) return;
  }
  if (!entry.job) {
    take(entry, std::move(shared));
    plan(entry);
    return;
  }
  // An order in flight has nothing to get any more; what is being written down comes first.
  const bool is_at_ca = !entry.job->ca.empty();
  entry.offered = std::move(shared);
  if (is_at_ca) cancel(entry);
}

void Keeper::take(Entry& entry, store::LoadedCertificate shared) {
  auto& kept = entry.kept;
  const WallTime now = parts_.loop.clock().wall_now();
  const std::string name = kept.wanted.name;
  store::CertificateRecord record;
  record.name = name;
  record.names = kept.wanted.names;
  record.chain_pem = shared.credential->chain.to_pem();
  record.ca = shared.ca;
  record.issued_at = shared.issued_at;
  if (auto pem = shared.credential->key.to_pem()) record.key_pem = std::move(*pem);
  kept.adopt(shared.credential, shared.ca);
  kept.facts = store::RenewalFacts{};
  kept.facts.name = name;
  kept.facts.last_issued = shared.issued_at;
  kept.resumes_order = kept.wants_now = false;
  kept.schedule(now, parts_.random);
  kept.unsaved = std::move(record);  // That ends an order of ours, too, in one transaction.
  kept.unsaved_error = {};
  kept.save_at = now;
  on_certificate_(shared.credential);
  show(entry);
  parts_.metrics
      .counter("gatehouse_certificates_received_total", "Certificates that another node got",
               {{"ca", shared.ca}})
      .add();
  log(Level::kInfo, "certificate.received")
      .with("name", name)
      .with("ca", shared.ca)
      .with("serial", shared.credential->facts.serial_hex)
      .with("not_after", format_rfc3339(shared.credential->facts.not_after));
}

std::vector<store::LoadedCertificate> Keeper::shareable() const {
  std::vector<store::LoadedCertificate> all;
  for (const auto& [name, entry] : entries_) {
    const auto& kept = entry->kept;
    if (entry->is_dropped || !kept.current || !is_shared(kept.current_ca)) continue;
    all.push_back({kept.current, kept.current_ca, kept.facts.last_issued.value_or(WallTime{})});
  }
  return all;
}

}  // namespace gatehouse::acme
