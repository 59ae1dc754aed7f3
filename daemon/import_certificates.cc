// Certificates of cert-manager, of all its versions, and those that an Ingress or a Gateway only
// names by their Secret.

#include <algorithm>

#include "daemon/config_hosts.h"
#include "daemon/import_draft.h"

namespace gatehouse::daemon {

namespace {

/// The prefixes of cert-manager's annotations: today's, and that before 0.11.
constexpr std::string_view kPrefixes[] = {"cert-manager.io/", "certmanager.k8s.io/"};

void add_name(std::vector<std::string>& names, std::string name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
}

void read_names(const Item& spec, ImportedCertificate& certificate) {
  for (const std::string_view list : {"dnsNames", "ipAddresses"}) {
    for (const Item& item : spec.at(list).items()) {
      const auto name = import_host(item);
      if (!name) continue;
      item.used();
      add_name(certificate.names, *name);
    }
  }
  const Item common = spec.at("commonName");
  HostProblem problem;
  if (const auto name = normal_host(common.text(), problem); common && name) {
    const bool is_there = std::find(certificate.names.begin(), certificate.names.end(), *name) !=
                          certificate.names.end();
    if (is_there)
      common.used("one of the names");
    else
      common.translated("joins the names");
    add_name(certificate.names, *name);
  } else if (common) {
    common.dropped("not a host: visitors look at the names alone");
  }
  for (const std::string_view other : {"uris", "emailAddresses", "uriSANs", "emailSANs"})
    spec.at(other).refused("a web server's certificate has names and addresses only");
}

/// cert-manager's default is rsa-2048; ours is ecdsa-p256, as browsers like it.
void read_key(const Item& algorithm, const Item& size, ImportedCertificate& certificate) {
  std::string text(algorithm.text());
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const std::string bits(size.text());
  if (text.empty() && bits.empty()) return;
  std::string key;
  if (text == "ecdsa") {
    key = bits == "384" || bits == "521" ? "ecdsa-p384" : "ecdsa-p256";
  } else if (text == "rsa" || text.empty()) {
    key = bits == "4096" || bits == "8192" ? "rsa-4096" : bits == "3072" ? "rsa-3072" : "rsa-2048";
  } else {
    algorithm.refused("browsers do not take such keys; ecdsa-p256 instead");
    return;
  }
  certificate.key_type = key;
  algorithm.translated("key: " + key);
  if (bits == "521" || bits == "8192")
    size.translated("the largest that browsers take: " + key);
  else
    size.translated("key: " + key);
}

void read_pairs(const Item& from, ImportedRoute::Pairs& into) {
  for (const Item& entry : from.entries()) {
    const std::string_view key = entry.key();
    if (key.find("cert-manager.io/") != key.npos || key == "app.kubernetes.io/managed-by" ||
        key.starts_with("gatehouse/")) {
      entry.dropped("says whose Secret it is, which is Gatehouse's now");
      continue;
    }
    into.emplace_back(key, entry.text());
    entry.used("on the mirrored Secret");
  }
}

/// What this version of ours decides by itself, or has no use for.
void judge_rest(const Item& spec) {
  for (const std::string_view key : {"renewBefore", "renewBeforePercentage"})
    spec.at(key).dropped("renewed when the CA suggests it (ARI), else at two thirds of its life");
  spec.at("duration").dropped("the CA decides how long it is valid");
  spec.at("usages").dropped("the CA decides: server authentication");
  for (const std::string_view key : {"subject", "literalSubject", "organization"})
    spec.at(key).dropped("public CAs leave it out");
  for (const std::string_view key : {"keyEncoding", "revisionHistoryLimit"})
    spec.at(key).dropped("of no consequence here");
  for (const std::string_view key : {"keystores", "additionalOutputFormats"})
    spec.at(key).dropped("the Secret gets tls.crt and tls.key in PEM, nothing else");
  if (spec.at("isCA").is("true")) spec.at("isCA").refused("no CA certificates are issued here");
  for (const std::string_view key : {"nameConstraints", "otherNames"})
    spec.at(key).refused("not in a web server's certificate");
  const Item key = spec.at("privateKey");
  key.dropped("a new key with each certificate, kept in PEM");
}

/// Per-domain solvers, until cert-manager 0.11.
void read_old_solvers(const Item& acme, const ImportedCertificate& certificate) {
  acme.dropped("nothing here acts on it");
  for (const Item& config : acme.at("config").items()) {
    config.at("http01").dropped(std::string(kInProcess));
    config.at("dns01").refused("dns-01 is not supported yet");
    for (const Item& item : config.at("domains").items()) {
      const std::string name(item.text());
      if (certificate.covers(name))
        item.dropped("one of the names, each of which is answered for");
      else
        item.dropped("not one of the certificate's names: it never had an effect");
    }
  }
}

const ImportedIssuer* read_issuer(ImportDraft& draft, Manifest& manifest, const Item& reference) {
  const Item name = reference.at("name"), kind = reference.at("kind"),
             group = reference.at("group");
  const std::string_view wanted = kind ? kind.text() : "Issuer";
  if (group && !group.is("cert-manager.io") && !group.is("certmanager.k8s.io")) {
    group.refused("an issuer of somebody else's");
    return nullptr;
  }
  const ImportedIssuer* issuer = find_issuer(draft, wanted, manifest.name_space(), name.text());
  if (issuer == nullptr) {
    (name ? name : reference)
        .refused("there is no such " + std::string(wanted) + " in the files: add its file");
    return nullptr;
  }
  group.used();
  kind.used();
  if (issuer->can_issue)
    name.used();
  else
    name.refused("that issuer could not be translated");
  return issuer;
}

/// Wildcards need dns-01 at any CA but the built-in one.
bool refuse_wildcards(const Item& spec, const ImportedCertificate& certificate) {
  bool has_one = std::any_of(certificate.names.begin(), certificate.names.end(), is_wildcard);
  for (const Item& item : spec.at("dnsNames").items())
    if (is_wildcard(item.text())) item.refused("wildcards need dns-01, which is not supported yet");
  if (has_one && is_wildcard(spec.at("commonName").text()))
    spec.at("commonName").refused("wildcards need dns-01, which is not supported yet");
  return has_one;
}

void read_instead(ImportedCertificate& certificate, std::string why) {
  certificate.is_read = true;
  certificate.notes.push_back(why + ": read from the Secret, which somebody else has to fill");
}

}  // namespace

bool ImportedCertificate::covers(const std::string& host) const {
  return is_covered({names.begin(), names.end()}, host);
}

std::optional<std::string> import_host(const Item& item) {
  HostProblem problem;
  auto name = normal_host(item.text(), problem);
  if (!name) item.refused(problem.message);
  return name;
}

void import_certificate(ImportDraft& draft, Manifest& manifest) {
  const Item spec = manifest.spec();
  ImportedCertificate certificate;
  certificate.origin = manifest.title() + " (" + manifest.origin() + ")";
  read_names(spec, certificate);
  judge_rest(spec);
  const Item key = spec.at("privateKey");
  read_key(key ? key.at("algorithm") : spec.at("keyAlgorithm"),
           key ? key.at("size") : spec.at("keySize"), certificate);
  read_old_solvers(spec.at("acme"), certificate);
  const Item extra = spec.at("secretTemplate");
  read_pairs(extra.at("labels"), certificate.labels);
  read_pairs(extra.at("annotations"), certificate.annotations);
  const ImportedIssuer* issuer = read_issuer(draft, manifest, spec.at("issuerRef"));

  if (issuer == nullptr || !issuer->can_issue)
    read_instead(certificate, "its issuer could not be translated");
  else if (!issuer->is_internal && refuse_wildcards(spec, certificate))
    read_instead(certificate, "a wildcard needs dns-01, which is not supported yet");
  else
    certificate.issuer = issuer->key;
  const Item secret = spec.at("secretName");
  if (!secret.text().empty())
    certificate.secret = manifest.name_space() + "/" + std::string(secret.text());
  if (certificate.names.empty() && !certificate.is_read) {
    spec.refused("it has no names");
    return;
  }
  if (certificate.is_read && certificate.secret.empty()) {
    spec.refused("it cannot be issued here, and names no Secret");
    return;
  }
  const bool is_taken =
      !certificate.secret.empty() &&
      std::any_of(draft.certificates.begin(), draft.certificates.end(),
                  [&](const auto& other) { return other.secret == certificate.secret; });
  if (is_taken) return secret.all_refused("another Certificate is in that Secret");
  if (certificate.is_read)
    secret.translated("read, not written");
  else
    secret.translated("secrets: [" + certificate.secret + "], mirrored");
  certificate.key = ImportDraft::free_key(draft.certificates, manifest.name(),
                                          manifest.name_space() + "-" + manifest.name());
  draft.certificates.push_back(std::move(certificate));
}

const ImportedIssuer* annotated_issuer(ImportDraft& draft, Manifest& owner, bool has_tls) {
  const ImportedIssuer* found = nullptr;
  for (const Item& entry : owner.annotations().entries()) {
    std::string_view rest = entry.key();
    bool is_ours = false;
    for (const std::string_view prefix : kPrefixes) {
      if (!rest.starts_with(prefix)) continue;
      rest.remove_prefix(prefix.size());
      is_ours = true;
    }
    if (!is_ours) continue;
    if (rest == "acme-challenge-type") {
      if (entry.is("dns01"))
        entry.refused("dns-01 is not supported yet");
      else
        entry.dropped(std::string(kInProcess));
    } else if (rest != "cluster-issuer" && rest != "issuer") {
      entry.dropped("a certificate's details are decided here or by the CA");
    } else if (!has_tls) {
      entry.dropped("without tls nothing is issued for it");
    } else {
      const std::string kind = rest == "issuer" ? "Issuer" : "ClusterIssuer";
      found = find_issuer(draft, kind, owner.name_space(), entry.text());
      if (found == nullptr)
        entry.refused("there is no such " + kind + " in the files: add its file");
      else if (!found->can_issue)
        entry.refused("that issuer could not be translated");
      else
        entry.used();
    }
  }
  return found;
}

std::string certificate_in_secret(ImportDraft& draft, Manifest& owner, const Item& secret_name,
                                  const std::string& name_space,
                                  const std::vector<std::string>& names) {
  const ImportedIssuer* issuer = annotated_issuer(draft, owner, /*has_tls=*/true);
  const std::string name(secret_name.text());
  const std::string secret = name_space + "/" + name;
  const std::string at_istio = "istio-system/" + name;
  for (const std::string& place : {secret, at_istio}) {
    for (ImportedCertificate& known : draft.certificates) {
      if (known.secret != place) continue;
      if (issuer != nullptr && !known.is_read)
        for (const std::string& host : names) add_name(known.names, host);
      secret_name.translated("certificate: " + known.key +
                             (place == secret ? "" : ", which Istio reads from istio-system"));
      return known.key;
    }
  }
  ImportedCertificate certificate;
  certificate.origin = owner.title() + " (" + owner.origin() + ")";
  certificate.secret = secret;
  certificate.names = names;
  const bool has_wildcard = std::any_of(names.begin(), names.end(), is_wildcard);
  if (issuer != nullptr && issuer->can_issue && (issuer->is_internal || !has_wildcard) &&
      !names.empty()) {
    certificate.issuer = issuer->key;
    secret_name.translated("secrets: [" + secret + "], issued here and mirrored");
  } else {
    const bool is_unasked = issuer == nullptr || names.empty();
    read_instead(certificate,
                 is_unasked ? "no issuer or name is said" : "it cannot be issued here");
    if (is_unasked)
      secret_name.translated("read from the Secret " + secret);
    else
      secret_name.refused(
          "cannot be issued here (a wildcard, or its issuer); read from the Secret");
  }
  certificate.key =
      ImportDraft::free_key(draft.certificates, name, owner.name_space() + "-" + name);
  draft.certificates.push_back(certificate);
  return certificate.key;
}

}  // namespace gatehouse::daemon
