// Who issues: the CAs, and the choice among them for a set of names.

#include <algorithm>
#include <optional>
#include <utility>

#include "daemon/config_draft.h"
#include "daemon/config_hosts.h"
#include "daemon/config_urls.h"

namespace gatehouse::daemon {

namespace {

constexpr std::string_view kBuiltInCa = "internal";
constexpr std::string_view kLetsEncrypt = "letsencrypt-prod";
constexpr std::string_view kLetsEncryptDirectory = "https://acme-v02.api.letsencrypt.org/directory";

void read_challenges(Reader& reader, const Field& field, std::vector<acme::ChallengeType>& into) {
  static constexpr Choice<acme::ChallengeType> kTypes[] = {
      {"tls-alpn-01", acme::ChallengeType::kTlsAlpn01},
      {"http-01", acme::ChallengeType::kHttp01},
      {"dns-01", std::nullopt}};
  if (!field) return;
  std::vector<acme::ChallengeType> types;
  for (const Field& item : reader.items(field)) {
    acme::ChallengeType type{};
    if (!reader.choice<acme::ChallengeType>(item, type, kTypes)) continue;
    if (std::find(types.begin(), types.end(), type) != types.end())
      reader.error(item.mark(), in_quotes(item.value.text()) + " is in the list twice");
    else
      types.push_back(type);
  }
  if (field.value.is_sequence() && field.value.size() == 0)
    reader.error(field.mark(), "\"challenges\" needs at least one", "tls-alpn-01 or http-01");
  if (!types.empty()) into = std::move(types);
}

void read_external_account(Reader& reader, const Field& field,
                           std::optional<acme::ExternalAccount>& into) {
  constexpr std::size_t kFileBytesMax = 16 * 1024;
  if (!field) return;
  Fields fields = reader.mapping(field, {"\"external_account\""});
  acme::ExternalAccount account;
  bool is_whole = reader.text(fields.need("key_id"), account.key_id);
  const Field file = fields.need("hmac_key_file");
  std::string path;
  if (reader.file(file, path)) {
    const auto text = read_file(path, kFileBytesMax);
    auto key = text ? parse_hmac_key(*text) : std::nullopt;
    // Nothing of what is in the file is said.
    if (!text)
      reader.error(file.mark(), "\"hmac_key_file\": " + text.error().message);
    else if (!key)
      reader.error(file.mark(), "\"hmac_key_file\": " + path + " does not hold a key in base64url",
                   "put there what the CA calls the HMAC or MAC key, and nothing else");
    else
      account.hmac_key = std::move(*key);
  }
  fields.finish();
  is_whole = is_whole && !account.hmac_key.empty();
  if (is_whole) into = std::move(account);
}

void refuse_dns(Reader& reader, const Field& field) {
  Fields fields = reader.mapping(field, {"\"dns\""});
  const Field update = fields.find("rfc2136");
  Fields keys = reader.mapping(update, {"\"rfc2136\""});
  std::string ignored;
  for (const std::string_view key : {"server", "zone", "key_name"})
    reader.text(keys.need(key), ignored);
  reader.file(keys.need("key_file"), ignored);
  reader.text(keys.find("algorithm"), ignored);
  keys.finish();
  fields.finish();
  reader.not_yet(field);
}

/// Challenges need the port that the CA comes to.
void check_ports(ConfigDraft& draft, const acme::Ca& ca, const Field& challenges, Mark mark) {
  const auto uses_only = [&](acme::ChallengeType type) {
    return ca.challenges.size() == 1 && ca.challenges.front() == type;
  };
  if (challenges) mark = challenges.mark();
  if (draft.config.proxy.http.empty() && uses_only(acme::ChallengeType::kHttp01))
    draft.reader.findings().warn(mark, "http-01 is answered on the plain port, and there is none",
                                 "add tls-alpn-01 here or an address to listen.http");
  if (draft.config.proxy.https.empty() && uses_only(acme::ChallengeType::kTlsAlpn01))
    draft.reader.findings().warn(mark, "tls-alpn-01 is answered on the TLS port, and there is none",
                                 "add http-01 here or an address to listen.https");
}

/// What only a CA's directory has; refused beside `internal: true`. Where its challenges are
/// chosen.
std::optional<Mark> read_acme_keys(ConfigDraft& draft, Fields& fields, acme::Ca& ca) {
  Reader& reader = draft.reader;
  read_https_url(reader, fields.need("directory", "the URL that the CA documents for ACME"),
                 ca.directory);
  read_email(reader, fields.find("email"), ca.email);
  const Field challenges = fields.find("challenges");
  read_challenges(reader, challenges, ca.challenges);
  if (fields) check_ports(draft, ca, challenges, fields.mark());
  const Field roots = fields.find("ca_file");
  if (reader.file(roots, ca.ca_file)) {
    const auto& parsed = draft.files.chain(ca.ca_file);
    if (!parsed) reader.error(roots.mark(), "\"ca_file\": " + parsed.error().message);
  }
  reader.text(fields.find("profile"), ca.profile);
  read_external_account(reader, fields.find("external_account"), ca.external_account);
  refuse_dns(reader, fields.find("dns"));
  return challenges ? std::optional<Mark>(challenges.mark()) : std::nullopt;
}

void read_issuer_entry(ConfigDraft& draft, const Field& field) {
  static constexpr std::string_view kAcmeKeys[] = {
      "directory", "email", "challenges", "ca_file", "profile", "external_account", "dns"};
  Reader& reader = draft.reader;
  acme::Ca ca;
  ca.name = field.key;
  ca.email = draft.email;
  Fields fields = reader.mapping(field, {"issuer", field.key});
  std::optional<Mark> chosen;
  reader.boolean(fields.find("internal"), ca.is_internal);
  if (ca.is_internal) {
    for (const std::string_view key : kAcmeKeys) {
      if (const Field extra = fields.find(key))
        reader.error(extra.key_mark, "an internal issuer has no " + in_quotes(key),
                     "remove it, or internal: true");
    }
    ca.email.clear();
    ca.challenges.clear();
  } else {
    chosen = read_acme_keys(draft, fields, ca);
  }
  fields.finish();
  if (ca.name == kBuiltInCa && !ca.is_internal)
    reader.error(field.key_mark, "the issuer \"internal\" is the built-in one",
                 "choose another name");
  IssuerEntry entry{field.key_mark, ca.is_internal, /*is_letsencrypt=*/false, ca.profile, chosen};
  const auto url = split_url(ca.directory);
  entry.is_letsencrypt = url && url->host.ends_with(".api.letsencrypt.org");
  draft.issuers.insert_or_assign(ca.name, std::move(entry));
  draft.issuer_names.push_back(ca.name);
  draft.config.acme.cas.push_back(std::move(ca));
}

/// The first internal CA of the file, or the built-in one, which then joins the CAs.
std::string internal_issuer(ConfigDraft& draft) {
  for (const acme::Ca& ca : draft.config.acme.cas)
    if (ca.is_internal) return ca.name;
  acme::Ca ca;
  ca.name = kBuiltInCa;
  ca.is_internal = true;
  ca.challenges.clear();
  draft.issuers[ca.name] = {Mark{}, /*is_internal=*/true, false, {}};
  draft.config.acme.cas.push_back(std::move(ca));
  return std::string(kBuiltInCa);
}

/// Of the file, else its only public CA, else Let's Encrypt when the file has no issuers.
std::vector<std::string> default_issuers(ConfigDraft& draft, Mark mark) {
  if (!draft.default_issuers.empty()) return draft.default_issuers;
  std::vector<std::string> others;
  for (const std::string& name : draft.issuer_names)
    if (!draft.issuers[name].is_internal) others.push_back(name);
  if (others.size() == 1) {
    draft.default_issuers = others;
  } else if (!draft.has_issuers) {
    acme::Ca ca;
    ca.name = kLetsEncrypt;
    ca.directory = kLetsEncryptDirectory;
    ca.email = draft.email;
    draft.issuers[ca.name] = {Mark{}, false, /*is_letsencrypt=*/true, {}};
    draft.default_issuers = {ca.name};
    draft.config.acme.cas.push_back(std::move(ca));
  } else if (!draft.has_default_complaint) {
    draft.has_default_complaint = true;
    draft.reader.error(mark, "no issuer is the default one for this name",
                       others.empty() ? "add default_issuer, or issuer: here"
                                      : "such as default_issuer: " + others.front());
  }
  return draft.default_issuers;
}

/// What no order to that CA can succeed with.
void check_names(ConfigDraft& draft, const std::vector<PlacedName>& names,
                 const std::string& issuer_name) {
  const IssuerEntry& issuer = draft.issuers[issuer_name];
  if (issuer.is_internal) return;
  Findings& findings = draft.reader.findings();
  const std::string by = "issuer " + in_quotes(issuer_name);
  for (const PlacedName& name : names) {
    if (is_wildcard(name.name)) {
      findings.error(name.mark,
                     in_quotes(name.name) + " at " + by +
                         ": wildcards need dns-01, which is not supported yet",
                     "name each host, or use an internal issuer");
    }
    if (issuer.is_letsencrypt && is_address(name.name) && issuer.profile != "shortlived") {
      findings.warn(name.mark,
                    in_quotes(name.name) + " at " + by +
                        ": Let's Encrypt signs addresses only with profile shortlived",
                    "add profile: shortlived to the issuer");
    }
  }
  constexpr std::size_t kLetsEncryptNames = 100;
  if (issuer.is_letsencrypt && names.size() > kLetsEncryptNames) {
    findings.error(
        names[kLetsEncryptNames].mark,
        std::to_string(names.size()) + " names in one certificate; Let's Encrypt takes at most 100",
        "divide them among several");
  }
}

}  // namespace

void read_issuers(ConfigDraft& draft, Fields& root) {
  const Field issuers = root.find("issuers");
  draft.has_issuers = static_cast<bool>(issuers);
  for (const Field& entry : draft.reader.entries(issuers)) read_issuer_entry(draft, entry);
  const Field defaults = root.find("default_issuer");
  for (const Field& item : draft.reader.one_or_many(defaults)) {
    const auto name = read_issuer(draft, item);
    if (!name) {
      draft.has_default_complaint = true;
      continue;
    }
    auto& chosen = draft.default_issuers;
    if (std::find(chosen.begin(), chosen.end(), *name) != chosen.end())
      draft.reader.error(item.mark(), in_quotes(*name) + " is in the list twice");
    else
      chosen.push_back(*name);
  }
  if (defaults && defaults.value.is_sequence() && defaults.value.size() == 0)
    draft.reader.error(defaults.mark(), "\"default_issuer\" names nobody",
                       "name an issuer or remove the line");
}

std::optional<std::string> read_issuer(ConfigDraft& draft, const Field& field) {
  const auto given = draft.reader.scalar(field, "the name of an issuer");
  if (!given) return std::nullopt;
  std::string name(*given);
  if (draft.issuers.contains(name)) return name;
  if (name == kBuiltInCa) return internal_issuer(draft);
  std::vector<std::string> candidates = draft.issuer_names;
  candidates.emplace_back(kBuiltInCa);
  draft.reader.error(field.mark(), "there is no issuer " + in_quotes(name),
                     draft.reader.did_you_mean(name, candidates, "declare it under issuers"));
  return std::nullopt;
}

std::vector<std::string> issuers_for(ConfigDraft& draft, const std::vector<PlacedName>& names,
                                     const std::optional<std::string>& chosen) {
  if (names.empty()) return {};
  std::vector<std::string> issuers;
  if (chosen)
    issuers = {*chosen};
  else if (is_local(names.front().name))
    issuers = {internal_issuer(draft)};
  else
    issuers = default_issuers(draft, names.front().mark);
  for (const std::string& issuer : issuers) check_names(draft, names, issuer);
  return issuers;
}

}  // namespace gatehouse::daemon
