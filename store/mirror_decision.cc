#include "store/mirror_decision.h"

#include <algorithm>

#include "daemon/base/text.h"

namespace gatehouse::store {

namespace {

using Action = MirrorDecision::Action;

constexpr const char* kManagedBy = "app.kubernetes.io/managed-by";
constexpr const char* kCertManagerLabel = "controller.cert-manager.io/fao";
constexpr const char* kCertManagerName = "cert-manager.io/certificate-name";
constexpr const char* kNode = "gatehouse/node";  // Differs between nodes that agree.

bool has_our_label(const Secret& secret) { return secret.label(kManagedBy) == kFieldManager; }

bool has_all(const std::map<std::string, std::string>& there,
             const std::map<std::string, std::string>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& pair) {
    if (pair.first == kNode) return true;
    const auto found = there.find(pair.first);
    return found != there.end() && found->second == pair.second;
  });
}

/// Others' keys beside ours are theirs.
bool has_our_data(const Secret& there, const Secret& wanted) {
  return has_all(there.data, wanted.data);
}

bool is_as_wanted(const Secret& there, const Secret& wanted) {
  return there.type == wanted.type && has_our_data(there, wanted) &&
         has_all(there.labels, wanted.labels) && has_all(there.annotations, wanted.annotations);
}

MirrorDecision leave(std::string reason, std::string owner) {
  return {Action::kLeave, std::move(reason), std::move(owner), false};
}

}  // namespace

bool is_of_gatehouse(const Secret& secret) {
  return has_our_label(secret) &&
         std::all_of(secret.data_managers.begin(), secret.data_managers.end(),
                     [](const std::string& manager) { return manager == kFieldManager; });
}

std::string owner_of(const Secret& secret) {
  if (const auto name = secret.annotation(kCertManagerName); !name.empty())
    return "cert-manager (Certificate " + name + ")";
  if (!secret.label(kCertManagerLabel).empty()) return "cert-manager";
  std::string owners;
  for (const std::string& manager : secret.data_managers) {
    if (manager == kFieldManager) continue;
    if (!owners.empty()) owners += ", ";
    owners += manager;
  }
  if (!owners.empty()) return owners;
  const std::string label = secret.label(kManagedBy);
  return label == kFieldManager ? "" : label;
}

Result<net::CredentialPtr> credential_in(const Secret& secret, const std::string& certificate) {
  const std::string* chain_pem = secret.find("tls.crt");
  const std::string* key_pem = secret.find("tls.key");
  const std::string what = "Secret " + secret.at.to_string();
  if (!chain_pem || !key_pem)
    return Error{Fault::kInvalid, what + " has no " + (chain_pem ? "tls.key" : "tls.crt")};
  auto chain = net::CertificateChain::from_pem(*chain_pem);
  if (!chain) return std::move(chain).error().in(what + ": tls.crt");
  auto key = net::PrivateKey::from_pem(*key_pem);
  if (!key) return std::move(key).error().in(what + ": tls.key");
  auto credential = net::make_credential(certificate, std::move(*chain), std::move(*key));
  if (!credential) return std::move(credential).error().in(what);
  return credential;
}

Result<Secret> wanted_secret(const MirrorTarget& target, const MirrorSource& source,
                             const std::string& node) {
  auto key = source.credential->key.to_pem();
  if (!key) return std::move(key).error();
  const auto& facts = source.credential->facts;
  Secret wanted;
  wanted.at = target.secret;
  wanted.data = {{"tls.crt", source.credential->chain.to_pem()}, {"tls.key", std::move(*key)}};
  if (!source.ca_pem.empty()) wanted.data.emplace("ca.crt", source.ca_pem);
  wanted.labels = target.labels;
  wanted.labels[kManagedBy] = kFieldManager;
  wanted.annotations = target.annotations;
  wanted.annotations["gatehouse/certificate"] = target.certificate;
  wanted.annotations["gatehouse/sha256"] = facts.fingerprint_sha256_hex;
  wanted.annotations["gatehouse/not-after"] = format_rfc3339(facts.not_after);
  if (!source.ca.empty()) wanted.annotations["gatehouse/issuer"] = source.ca;
  wanted.annotations[kNode] = node;
  return wanted;
}

std::string complaint(const net::CertificateFacts& facts, const std::vector<std::string>& names,
                      WallTime now) {
  if (facts.not_after <= now)
    return "the certificate expired at " + format_rfc3339(facts.not_after);
  if (facts.not_before > now)
    return "the certificate is not valid before " + format_rfc3339(facts.not_before);
  for (const std::string& name : names)
    if (!facts.covers(name)) return "the certificate does not cover " + name;
  return "";
}

std::string unfit(const MirrorTarget& target, const net::Credential& credential, WallTime now) {
  if (credential.is_temporary) return "there is no certificate yet";
  if (!credential.chain.matches(credential.key)) return "the key does not belong to it";
  return complaint(credential.facts, target.names, now);
}

MirrorDecision decide(const MirrorTarget& target, const Secret& wanted,
                      const net::Credential& credential, const std::optional<Secret>& found,
                      const MirrorPast& past, WallTime now) {
  if (!found) return {Action::kWrite, "there is none", "", false};
  const std::string owner = owner_of(*found);
  if (!found->label(kCertManagerLabel).empty() || !found->annotation(kCertManagerName).empty())
    return leave("cert-manager would write over it again; delete its Certificate first", owner);
  const bool is_ours = has_our_label(*found) || past.was_ours;
  if (!is_ours && !target.adopts) return leave("it is not ours; adopt: true takes it over", owner);
  if (found->type != wanted.type)
    return leave("it has the type " + found->type + ", which cannot be changed", owner);
  if (is_as_wanted(*found, wanted)) return {};
  if (found->is_immutable) return leave("it is immutable", owner);
  if (!is_ours) {
    if (past.has_adopted) return leave("it was taken over once, and is another's again", owner);
    return {Action::kAdopt, "taken over from " + (owner.empty() ? "nobody known" : owner), owner,
            false};
  }
  if (is_of_gatehouse(*found)) {
    // Another node of ours was faster: the newest one wins, everywhere. What is not valid yet by
    // our clock was by that node's, and ours may be behind.
    const auto there = credential_in(*found, target.certificate);
    const auto begins = there ? (*there)->facts.not_before : WallTime{};
    if (there && begins > credential.facts.not_before &&
        unfit(target, **there, std::max(now, begins)).empty())
      return {Action::kTakeOurs, "another node has put a newer one there", "", false};
    return {Action::kWrite, "it is older or different", "", false};
  }
  // Their label or annotation beside our data is no overwriting; their conflict will say whose.
  if (has_our_label(*found) && has_our_data(*found, wanted))
    return {Action::kWrite, "labels or annotations differ", owner, false};
  if (past.overwrites > 0) {
    MirrorDecision stop = leave("it was written over again after it was repaired", owner);
    stop.is_fight = true;
    return stop;
  }
  return {Action::kRepair, "it was written over", owner, false};
}

}  // namespace gatehouse::store
