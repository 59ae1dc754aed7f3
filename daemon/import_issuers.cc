// Issuers and ClusterIssuers of cert-manager, of all its versions.

#include <algorithm>

#include "daemon/config_urls.h"
#include "daemon/import_draft.h"

namespace gatehouse::daemon {

namespace {

constexpr std::string_view kDirectory = ".api.letsencrypt.org/directory";

/// Let's Encrypt's directories have one path each, and those of ACMEv1 were shut in June 2021.
void read_server(const Item& server, ImportedIssuer& issuer) {
  const std::string given(server.text());
  const auto url = split_url(given);
  if (!url || url->scheme != "https" || url->host.empty() || url->userinfo) {
    server.refused("not an https URL: a CA's directory is one");
    return;
  }
  std::string host;
  if (url->host == "acme-v01.api.letsencrypt.org" || url->host == "acme-v02.api.letsencrypt.org")
    host = "acme-v02";
  if (url->host == "acme-staging.api.letsencrypt.org" ||
      url->host == "acme-staging-v02.api.letsencrypt.org")
    host = "acme-staging-v02";
  issuer.can_issue = true;
  issuer.directory = host.empty() ? given : "https://" + host + std::string(kDirectory);
  if (issuer.directory == given) {
    server.used();
    return;
  }
  const bool was_v1 = url->host.find("-v02") == url->host.npos;
  std::string why = was_v1 ? "ACMEv1 was shut in 2021" : "";
  if (url->rest != "/directory")
    why += std::string(why.empty() ? "" : ", and ") + "the path is /directory";
  server.translated(why + ": " + issuer.directory);
  issuer.notes.push_back("was " + given + ": " + why);
}

bool is_mail_address(std::string_view text) {
  const auto at = text.find('@');
  return at != text.npos && at > 0 && at + 1 < text.size() && text.rfind('@') == at &&
         text.find_first_of(" \t,<>") == text.npos && !text.starts_with("mailto:");
}

/// `http01: {}` of the old form, `solvers` of the new one.
void read_solvers(const Item& acme, ImportedIssuer& issuer) {
  bool has_http = false, has_dns = false;
  const auto refuse_dns = [&](const Item& dns) {
    dns.refused("dns-01 is not supported yet");
    has_dns = true;
  };
  if (const Item http = acme.at("http01"); http) {
    http.translated("challenges: [http-01], answered in-process");
    has_http = true;
  }
  if (const Item dns = acme.at("dns01"); dns) refuse_dns(dns);
  for (const Item& solver : acme.at("solvers").items()) {
    const Item http = solver.at("http01"), dns = solver.at("dns01");
    if (dns) {
      refuse_dns(dns);
      solver.at("selector").refused("chooses what dns-01 is for, which is not supported yet");
    }
    if (!http) continue;
    http.translated("challenges: [http-01], answered in-process");
    solver.at("selector").dropped("every host's http-01 is answered here");
    has_http = true;
  }
  if (has_dns)
    issuer.notes.push_back("dns-01 is not supported yet: wildcards cannot be issued" +
                           std::string(has_http ? "" : ", other names by http-01"));
}

void read_acme(ImportDraft& draft, const Item& acme, ImportedIssuer& issuer) {
  acme.dropped("nothing here acts on it");
  const Item server = acme.at("server"), email = acme.at("email"), profile = acme.at("profile");
  if (server)
    read_server(server, issuer);
  else
    acme.refused("it has no server");
  if (is_mail_address(email.text())) {
    issuer.email = email.text();
    email.used();
  } else if (email) {
    email.dropped("not an address");
  }
  if (!profile.text().empty()) {
    issuer.profile = profile.text();
    profile.used();
  }
  acme.at("preferredChain").dropped("the chain that the CA offers first is served");
  if (const Item skip = acme.at("skipTLSVerify"); skip.is("true"))
    skip.refused("the CA is verified always: name its roots as ca_file");
  import_ca_bundle(draft, acme.at("caBundle"), issuer);
  import_external_account(draft, acme.at("externalAccountBinding"), issuer);
  import_account_key(draft, acme.at("privateKeySecretRef"), issuer);
  read_solvers(acme, issuer);
}

}  // namespace

const ImportedIssuer* find_issuer(const ImportDraft& draft, std::string_view kind,
                                  std::string_view name_space, std::string_view name) {
  for (const ImportedIssuer& issuer : draft.issuers) {
    const bool is_same_place = kind == "ClusterIssuer" || issuer.from->name_space() == name_space;
    if (issuer.from->kind() == kind && issuer.from->name() == name && is_same_place) return &issuer;
  }
  return nullptr;
}

void import_issuer(ImportDraft& draft, Manifest& manifest) {
  ImportedIssuer issuer;
  issuer.from = &manifest;
  std::string name = manifest.name();
  if (name == "internal") name = "internal-" + manifest.name_space();  // The built-in one's name.
  issuer.key = ImportDraft::free_key(draft.issuers, name, manifest.name_space() + "-" + name);
  const Item spec = manifest.spec(), acme = spec.at("acme"), self_signed = spec.at("selfSigned");
  if (acme) {
    read_acme(draft, acme, issuer);
  } else if (spec.at("selfSigned").is_mapping()) {
    self_signed.translated("internal: true, the built-in CA");
    issuer.is_internal = issuer.can_issue = true;
  } else {
    spec.refused("an issuer is acme or selfSigned here; a CA of your own that speaks ACME will do");
  }
  draft.issuers.push_back(std::move(issuer));
}

}  // namespace gatehouse::daemon
