// The certificates that the file names: managed ones, and those that the operator keeps in files.

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

void check_secret_name(Reader& reader, const Field& field) {
  const auto given = reader.scalar(field, "namespace/name");
  if (!given) return;
  const auto parts = split(*given, '/');
  if (parts.size() != 2 || parts[0].empty() || parts[1].empty())
    reader.error(field.mark(), in_quotes(field.key) + ": " + in_quotes(*given) + " is not a Secret",
                 "namespace/name, such as istio-system/istio-ingress-certs");
}

void check_texts(Reader& reader, const Field& field) {
  for (const Field& entry : reader.entries(field)) reader.scalar(entry, "text");
}

/// The mirror into Kubernetes: its types are checked, then it is refused.
void refuse_mirror(Reader& reader, const CertificateFields& fields) {
  if (fields.secret) check_secret_name(reader, fields.secret);
  for (const Field& secret : reader.items(fields.secrets)) check_secret_name(reader, secret);
  bool adopt = false;
  reader.boolean(fields.adopt, adopt);
  check_texts(reader, fields.labels);
  check_texts(reader, fields.annotations);
  Fields verify = reader.mapping(fields.verify, {"\"verify\""});
  std::string address;
  Duration within{};
  reader.text(verify.need("address"), address);
  reader.duration(verify.find("within"), within);
  verify.finish();
  for (const Field* field : {&fields.secret, &fields.secrets, &fields.adopt, &fields.labels,
                             &fields.annotations, &fields.verify})
    reader.not_yet(*field);
}

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

void read_files(ConfigDraft& draft, const CertificateFields& fields, const std::string& name,
                CertificateEntry& entry) {
  Reader& reader = draft.reader;
  entry.is_file = entry.is_broken = true;
  FileCertificate certificate;
  certificate.name = name;
  const bool has_chain = reader.file(fields.certificate_file, certificate.certificate_file);
  const bool has_key = reader.file(fields.key_file, certificate.key_file);
  if (has_chain) {
    const auto& chain = draft.files.chain(certificate.certificate_file);
    if (!chain)
      reader.error(fields.certificate_file.mark(),
                   "\"certificate_file\": " + chain.error().message);
  }
  if (has_key) {
    const auto& key = draft.files.key(certificate.key_file);
    if (!key) reader.error(fields.key_file.mark(), "\"key_file\": " + key.error().message);
  }
  if (!has_chain || !has_key || !draft.files.chain(certificate.certificate_file) ||
      !draft.files.key(certificate.key_file))
    return;
  auto credential =
      draft.files.credential(name, certificate.certificate_file, certificate.key_file);
  if (!credential) {
    const auto& chain = draft.files.chain(certificate.certificate_file);
    const auto& key = draft.files.key(certificate.key_file);
    reader.error(fields.key_file.mark(),
                 chain->matches(*key)
                     ? "certificate " + in_quotes(name) + ": " + credential.error().message
                     : "the key does not belong to the certificate",
                 "the first certificate in the file is the one that the key made");
    return;
  }
  const net::CertificateFacts& facts = (*credential)->facts;
  warn_of_dates(draft, fields.certificate_file, facts);
  entry.names.insert(facts.dns_names.begin(), facts.dns_names.end());
  entry.names.insert(facts.ip_addresses.begin(), facts.ip_addresses.end());
  entry.is_broken = false;
  certificate.credential = std::move(*credential);
  draft.config.file_certificates.push_back(std::move(certificate));
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
  refuse_mirror(reader, fields);
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
      for (const Field* managed : {&fields.issuer, &fields.key}) {
        if (*managed)
          reader.error(managed->key_mark,
                       in_quotes(managed->key) + " has no effect on a certificate from files");
      }
      read_files(draft, fields, name, entry);
    }
  } else if (forms == 0 && field.value.is_mapping()) {
    reader.error(field.key_mark, "certificate " + in_quotes(name) + " needs \"names\"",
                 "or certificate_file and key_file");
  }
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
