// What an issuer of ACME has outside its manifest: the roots of its CA, which become a file beside
// the configuration, and keys in Secrets, which go along only when that is asked for: the HMAC key
// of an external account becomes a file, too, and the account's key goes into the store, so that
// its thumbprint, and with it what the CA has authorized, stays.

#include <algorithm>
#include <utility>

#include "acme/jws.h"
#include "daemon/base/text.h"
#include "daemon/config_fields.h"
#include "daemon/import_draft.h"
#include "daemon/net/certificate.h"
#include "store/options.h"

namespace gatehouse::daemon {

namespace {

constexpr std::string_view kNoIssuer = "that issuer could not be translated";
constexpr std::string_view kNeedsOutput = "needs --output: it goes into a file beside the result";

/// A value of a Secret, and the field that it stands in.
struct SecretValue {
  Item item;
  std::string bytes;
};

/// Base64 as it stands in manifests, perhaps in several lines.
std::optional<std::string> decoded(std::string_view base64) {
  std::string text(base64);
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  return from_base64(text);
}

/// A name that no other file of the result has. Names of objects are text from strangers: what
/// remains of one never leads out of the directory.
std::string file_name(const ImportDraft& draft, const std::string& issuer, std::string_view end) {
  const auto is_plain = [](char c) { return is_alpha(c) || is_digit(c) || c == '-' || c == '_'; };
  std::string stem = issuer;
  for (std::size_t i = 0; i < stem.size(); ++i)
    if (!is_plain(stem[i]) && (stem[i] != '.' || i == 0)) stem[i] = '_';
  const auto is_taken = [&](const std::string& name) {
    return std::any_of(draft.files.begin(), draft.files.end(),
                       [&](const ImportedFile& file) { return file.name == name; });
  };
  std::string name = stem + std::string(end);
  for (int i = 2; is_taken(name); ++i) name = stem + "-" + std::to_string(i) + std::string(end);
  return name;
}

/// What it is called: Issuers mean a Secret of their own namespace, ClusterIssuers one of
/// cert-manager's, which was kube-system's at first.
std::string secret_title(const Manifest& issuer, const std::string& name) {
  if (issuer.kind() == "Issuer") return issuer.name_space() + "/" + name;
  return (issuer.group() == "certmanager.k8s.io" ? "kube-system/" : "cert-manager/") + name;
}

/// The Secret that an issuer means. A ClusterIssuer's is known by its name alone: which namespace
/// is cert-manager's own is not said in manifests.
Result<Manifest*> find_secret(const ImportDraft& draft, const Manifest& issuer,
                              const std::string& name) {
  std::vector<Manifest*> found;
  const auto [first, last] = draft.secrets.equal_range(name);
  for (auto entry = first; entry != last; ++entry)
    if (issuer.kind() != "Issuer" || entry->second->name_space() == issuer.name_space())
      found.push_back(entry->second);
  if (found.size() == 1) return found.front();
  const std::string title = secret_title(issuer, name);
  if (found.empty()) {
    std::string words = title;
    std::replace(words.begin(), words.end(), '/', ' ');
    return Error{Fault::kNotFound, "Secret " + title +
                                       " is not among the files: add what `kubectl get secret -n " +
                                       words + " -o yaml` says"};
  }
  std::string all;
  for (const Manifest* one : found) all += (all.empty() ? "" : ", ") + one->origin();
  return Error{Fault::kConflict, "which Secret " + name + " is meant? It is among the files " +
                                     std::to_string(found.size()) + " times: " + all};
}

Result<SecretValue> read_secret(const ImportDraft& draft, const Manifest& issuer,
                                const std::string& name, const std::string& key) {
  auto secret = find_secret(draft, issuer, name);
  if (!secret) return std::move(secret).error();
  const std::string where = "Secret " + (*secret)->name_space() + "/" + name;
  // Kubernetes writes stringData over data.
  if (const Item text = (*secret)->root().at("stringData").at(key); text)
    return SecretValue{text, std::string(text.text())};
  const Item data = (*secret)->root().at("data").at(key);
  if (!data) return Error{Fault::kNotFound, where + " has no " + in_quotes(key)};
  auto bytes = decoded(data.text());
  if (!bytes) return Error{Fault::kInvalid, where + ": " + in_quotes(key) + " is not base64"};
  return SecretValue{data, std::move(*bytes)};
}

Result<SecretValue> read_hmac_key(const ImportDraft& draft, const Manifest& issuer,
                                  const std::string& name, const std::string& key) {
  auto value = read_secret(draft, issuer, name, key);
  if (!value) return value;
  if (!parse_hmac_key(value->bytes))
    return Error{Fault::kInvalid, "its " + in_quotes(key) + " is not an HMAC key in base64url"};
  if (!draft.options.has_directory) return Error{Fault::kInvalid, std::string(kNeedsOutput)};
  if (!value->bytes.ends_with('\n')) value->bytes += '\n';
  return value;
}

}  // namespace

void import_secret(Manifest& manifest) {
  manifest.root().all_dropped("only what issuers refer to is read, and only with --with-keys");
}

void import_ca_bundle(ImportDraft& draft, const Item& bundle, ImportedIssuer& issuer) {
  if (!bundle) return;
  if (!issuer.can_issue) return bundle.refused(std::string(kNoIssuer));
  const auto pem = decoded(bundle.text());
  const auto roots = net::CertificateChain::from_pem(pem ? *pem : std::string());
  const std::string name = file_name(draft, issuer.key, "-ca.pem");
  if (!roots)
    bundle.refused("not certificates in PEM, in base64: " + roots.error().message);
  else if (!draft.options.has_directory)
    bundle.refused(std::string(kNeedsOutput));
  if (!roots || !draft.options.has_directory) {
    issuer.notes.push_back("ca_file: " + name + "    # the roots in PEM that were its caBundle");
    return;
  }
  bundle.translated("ca_file: " + name);
  issuer.ca_file = name;
  // What is not a certificate (a key that got there) does not go into a file that all may read.
  draft.files.push_back({name, roots->to_pem(), /*is_secret=*/false});
}

void import_external_account(ImportDraft& draft, const Item& account, ImportedIssuer& issuer) {
  if (!account) return;
  account.at("keyAlgorithm").dropped("HMAC with SHA-256 always, as CAs take it");
  if (!issuer.can_issue) return account.refused(std::string(kNoIssuer));
  const Item id = account.at("keyID"), reference = account.at("keySecretRef");
  const std::string name(reference.at("name").text()), key(reference.at("key").text());
  if (id.text().empty() || name.empty() || key.empty()) {
    issuer.notes.push_back("the CA wants external_account: {key_id: ..., hmac_key_file: ...}");
    return account.refused("it needs keyID, and name and key of keySecretRef");
  }
  id.used();
  issuer.key_id = id.text();
  issuer.hmac_key_file = file_name(draft, issuer.key, "-eab.key");
  if (draft.options.takes_keys) {
    const auto value = read_hmac_key(draft, *issuer.from, name, key);
    if (value) {
      reference.translated("hmac_key_file: " + issuer.hmac_key_file);
      value->item.used("in the file " + issuer.hmac_key_file);
      return draft.files.push_back({issuer.hmac_key_file, value->bytes, /*is_secret=*/true});
    }
    reference.refused(value.error().message);
  }
  const auto secret = find_secret(draft, *issuer.from, name);
  const std::string todo =
      "put " + key + " of Secret " +
      (secret ? (*secret)->name_space() + "/" + name : secret_title(*issuer.from, name)) +
      " into " + issuer.hmac_key_file;
  reference.translated(todo + "; --with-keys does that");
  issuer.notes.push_back(todo + ", which Gatehouse's user alone may read");
}

void import_account_key(ImportDraft& draft, const Item& reference, const ImportedIssuer& issuer) {
  if (!reference) return;
  if (!draft.options.takes_keys)
    return reference.dropped(
        "a new account is made with the first order; --with-keys takes the key along");
  if (!issuer.can_issue) return reference.refused(std::string(kNoIssuer));
  const Item given = reference.at("key");
  const std::string name(reference.at("name").text());
  const std::string key = given.text().empty() ? "tls.key" : std::string(given.text());
  auto value = read_secret(draft, *issuer.from, name, key);
  if (!value) return reference.refused(value.error().message);
  const auto parsed = acme::AccountKey::from_pem(value->bytes);
  const auto pem = parsed ? parsed->to_pem() : parsed.error();
  if (!pem) return reference.refused("its " + in_quotes(key) + ": " + pem.error().message);
  const auto known =
      std::find_if(draft.accounts.begin(), draft.accounts.end(), [&](const ImportedAccount& other) {
        return other.directory == issuer.directory && other.email == issuer.email;
      });
  if (known != draft.accounts.end() && known->key_pem != *pem)
    return reference.refused("another issuer has the same server and email, and another key");
  if (known == draft.accounts.end())
    draft.accounts.push_back({issuer.directory, issuer.email, *pem});
  const std::string state =
      draft.options.state.empty() ? store::Options{}.state_directory : draft.options.state;
  reference.translated("its account's key, kept in " + state);
  value->item.used("kept in " + state);
}

}  // namespace gatehouse::daemon
