// The certificates that the file names: managed ones, and those that somebody else keeps, in files
// or in Secrets.

#include <algorithm>
#include <utility>

#include "daemon/base/text.h"
#include "daemon/config_draft.h"
#include "daemon/config_hosts.h"

namespace gatehouse::daemon {

namespace {

/// All keys of one entry; the form is decided by which of them are there.
struct CertificateFields {
  explicit CertificateFields(Fields& fields)
      : names(fields.find("names")),
        issuer(fields.find("issuer")),
        key(fields.find("key")),
        certificate_file(fields.find("certificate_file")),
        key_file(fields.find("key_file")),
        secret(fields.find("secret")),
        secrets(fields.find("secrets")),
        adopt(fields.find("adopt")),
        labels(fields.find("labels")),
        annotations(fields.find("annotations")),
        verify(fields.find("verify")) {}

  Field names, issuer, key, certificate_file, key_file;
  Field secret, secrets, adopt, labels, annotations, verify;
};

std::vector<PlacedName> read_names(Reader& reader, const Field& field) {
  std::vector<PlacedName> names;
  std::unordered_map<std::string, Mark> seen;
  for (const Field& item : reader.items(field)) {
    auto name = read_host(reader, item, /*may_be_any=*/false);
    if (!name) continue;
    const auto [first, is_new] = seen.try_emplace(name->name, name->mark);
    if (is_new) {
      names.push_back(std::move(*name));
    } else {
      reader.error(name->mark, in_quotes(name->name) + " is in the list twice, first on line " +
                                   std::to_string(first->second.line));
    }
  }
  if (field.value.is_sequence() && field.value.size() == 0)
    reader.error(field.mark(), "\"names\" needs at least one name");
  return names;
}

void read_managed(ConfigDraft& draft, const CertificateFields& fields, const std::string& name,
                  CertificateEntry& entry) {
  static constexpr Choice<acme::KeyType> kKeys[] = {{"ecdsa-p256", acme::KeyType::kEcdsaP256},
                                                    {"ecdsa-p384", acme::KeyType::kEcdsaP384},
                                                    {"rsa-2048", acme::KeyType::kRsa2048},
                                                    {"rsa-3072", acme::KeyType::kRsa3072},
                                                    {"rsa-4096", acme::KeyType::kRsa4096}};
  Reader& reader = draft.reader;
  const std::size_t given = fields.names.value.size();
  const std::vector<PlacedName> names = read_names(reader, fields.names);
  acme::ManagedCertificate certificate;
  certificate.name = name;
  for (const PlacedName& placed : names) {
    certificate.names.push_back(placed.name);
    entry.names.insert(placed.name);
  }
  entry.is_broken = names.empty() || names.size() != given;
  const auto chosen = read_issuer(draft, fields.issuer);
  reader.choice<acme::KeyType>(fields.key, certificate.key, kKeys);
  if (!fields.issuer && !names.empty()) {
    const bool is_first_local = is_local(names.front().name);
    const auto other = std::find_if(names.begin(), names.end(), [&](const PlacedName& placed) {
      return is_local(placed.name) != is_first_local;
    });
    if (other != names.end()) {
      reader.error(other->mark,
                   in_quotes(other->name) + " and " + in_quotes(names.front().name) +
                       " have different issuers by default",
                   "add issuer: to the certificate, or divide it");
      return;
    }
  }
  if (fields.issuer && !chosen) return;
  certificate.issuers = issuers_for(draft, names, chosen);
  draft.config.acme.certificates.push_back(std::move(certificate));
}

void warn_of_dates(ConfigDraft& draft, const Field& field, const net::CertificateFacts& facts) {
  Findings& findings = draft.reader.findings();
  if (facts.not_after <= draft.now)
    findings.warn(field.mark(), "the certificate expired at " + format_rfc3339(facts.not_after));
  else if (facts.not_before > draft.now)
    findings.warn(field.mark(),
                  "the certificate is not valid before " + format_rfc3339(facts.not_before));
}

/// Step by step, with all that there is to complain about.
std::optional<FileCertificate> read_unusual_files(ConfigDraft& draft,
                                                  const CertificateFields& fields,
                                                  const std::string& name) {
  Reader& reader = draft.reader;
  std::string chain_file, key_file;
  const bool has_chain = reader.file(fields.certificate_file, chain_file);
  const bool has_key = reader.file(fields.key_file, key_file);
  const auto* chain = has_chain ? &draft.files.chain(chain_file) : nullptr;
  const auto* key = has_key ? &draft.files.key(key_file) : nullptr;
  if (chain && !*chain)
    reader.error(fields.certificate_file.mark(), "\"certificate_file\": " + chain->error().message);
  if (key && !*key) reader.error(fields.key_file.mark(), "\"key_file\": " + key->error().message);
  if (!chain || !key || !*chain || !*key) return std::nullopt;
  auto made = draft.files.credential(name, chain_file, key_file);
  if (made) return std::move(*made);
  reader.error(fields.key_file.mark(),
               (*chain)->matches(**key)
                   ? "certificate " + in_quotes(name) + ": " + made.error().message
                   : "the key does not belong to the certificate",
               "the first certificate in the file is the one that the key made");
  return std::nullopt;
}

void read_files(ConfigDraft& draft, const CertificateFields& fields, const std::string& name,
                CertificateEntry& entry) {
  Reader& reader = draft.reader;
  entry.is_file = entry.is_broken = true;
  std::string chain_file, key_file;
  std::optional<FileCertificate> found;
  if (fields.certificate_file.value.is_scalar() && fields.key_file.value.is_scalar()) {
    chain_file = reader.resolve(fields.certificate_file.value.text());
    key_file = reader.resolve(fields.key_file.value.text());
    found = draft.files.find(name, chain_file, key_file);
  }
  if (!found) found = read_unusual_files(draft, fields, name);
  if (!found) return;
  const net::CertificateFacts& facts = found->credential->facts;
  warn_of_dates(draft, fields.certificate_file, facts);
  entry.credential = found->credential;
  entry.is_broken = false;
  draft.config.file_certificates.push_back(std::move(*found));
}

void refuse_managed(Reader& reader, const CertificateFields& fields, std::string_view where_from) {
  for (const Field* managed : {&fields.issuer, &fields.key})
    if (*managed)
      reader.error(managed->key_mark, in_quotes(managed->key) + " has no effect on a certificate " +
                                          std::string(where_from));
}

void read_certificate(ConfigDraft& draft, const Field& field) {
  Reader& reader = draft.reader;
  Fields mapping = reader.mapping(field, {"certificate", field.key});
  const CertificateFields fields(mapping);
  mapping.finish();
  CertificateEntry entry;
  entry.mark = field.key_mark;
  entry.is_broken = true;
  const std::string name(field.key);
  const bool has_files = fields.certificate_file || fields.key_file;
  const int forms = (fields.names ? 1 : 0) + (has_files ? 1 : 0) + (fields.secret ? 1 : 0);
  if (name.empty()) reader.error(field.key_mark, "a certificate needs a name");
  if (forms > 1) {
    reader.error(field.key_mark,
                 "certificate " + in_quotes(name) + " comes from more than one place",
                 "either names, or certificate_file and key_file, or secret");
  } else if (fields.names) {
    read_managed(draft, fields, name, entry);
  } else if (has_files) {
    if (!fields.certificate_file || !fields.key_file) {
      reader.error(field.key_mark, "certificate " + in_quotes(name) + " needs " +
                                       (fields.key_file ? "\"certificate_file\"" : "\"key_file\"") +
                                       " too");
    } else {
      refuse_managed(reader, fields, "from files");
      read_files(draft, fields, name, entry);
    }
  } else if (fields.secret) {
    refuse_managed(reader, fields, "from a Secret");
    read_source(draft, fields.secret, name, entry);
  } else if (forms == 0 && field.value.is_mapping()) {
    reader.error(field.key_mark, "certificate " + in_quotes(name) + " needs \"names\"",
                 "or certificate_file and key_file, or secret");
  }
  read_mirror(draft,
              {fields.secrets, fields.adopt, fields.labels, fields.annotations, fields.verify},
              name, entry.names);
  entry.is_used = static_cast<bool>(fields.secrets);
  draft.certificates.insert_or_assign(name, std::move(entry));
}

}  // namespace

void read_certificates(ConfigDraft& draft, const Field& field) {
  for (const Field& entry : draft.reader.entries(field)) read_certificate(draft, entry);
}

std::optional<PlacedName> read_host(Reader& reader, const Field& field, bool may_be_any) {
  const auto given = reader.scalar(field, "a host name");
  if (!given) return std::nullopt;
  if (*given == "*" && may_be_any) return PlacedName{"*", field.mark()};
  HostProblem problem;
  auto host = normal_host(*given, problem);
  if (host) return PlacedName{std::move(*host), field.mark()};
  reader.error(field.mark(), std::move(problem.message), std::move(problem.hint));
  return std::nullopt;
}

}  // namespace gatehouse::daemon
