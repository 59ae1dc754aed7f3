// What an issuer has outside its manifest: roots, and keys in Secrets.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "daemon/base/text.h"
#include "tests/daemon/import_text.h"
#include "tests/support/certificates.h"
#include "tests/support/temporary_directory.h"

namespace gatehouse::daemon {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kHmacKey = "c2VjcmV0IG9mIHRoZSBjdXN0b21lcg";

const std::string& account_pem() {
  static const std::string pem = *net::testing::make_key().to_pem();
  return pem;
}

/// An issuer `le` of the namespace shop, and a certificate of it.
std::string issuer(const std::string& acme, const std::string& kind = "Issuer",
                   const std::string& name = "le",
                   const std::string& group = "cert-manager.io/v1") {
  return "---\napiVersion: " + group + "\nkind: " + kind + "\nmetadata: {name: " + name +
         ", namespace: shop}\nspec: {acme: {server: 'https://ca.example/dir', email: "
         "me@a.example, " +
         acme + "}}\n---\napiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c-" +
         name + ", namespace: shop}\nspec: {secretName: s-" + name + ", issuerRef: {name: " + name +
         ", kind: " + kind + "}, dnsNames: [a.example]}\n";
}

std::string secret(const std::string& data, const std::string& name = "le-key",
                   const std::string& name_space = "shop") {
  return "---\napiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata: {name: " + name +
         ", namespace: " + name_space + "}\n" + data + "\n";
}

std::string secret_of(const std::string& pem, const std::string& name = "le-key") {
  return secret("data: {tls.key: " + to_base64(pem) + "}", name);
}

ImportOptions with_keys() {
  ImportOptions options;
  options.has_directory = options.takes_keys = true;
  return options;
}

ImportOptions with_directory() {
  ImportOptions options;
  options.has_directory = true;
  return options;
}

constexpr const char* kAccount = "privateKeySecretRef: {name: le-key}";
constexpr const char* kExternal =
    "externalAccountBinding: {keyID: '7', keyAlgorithm: HS256, keySecretRef: {name: le-key, key: "
    "hmac}}";

/// What all that may be seen of an import says.
std::string said(const Imported& imported) {
  std::string out = format_report(imported) + report_json(imported) + imported.config;
  for (const Diagnostic& error : imported.errors) out += format(error);
  return out;
}

/// Written beside a result that is then read as the daemon reads it.
ConfigReading reading_of(const Imported& imported) {
  const TemporaryDirectory directory;
  for (const ImportedFile& file : imported.files) std::ofstream(directory / file.name) << file.text;
  return read_config_text(imported.config, directory / "gatehouse.yaml");
}

std::string errors_of(const ConfigReading& reading) {
  std::string out;
  for (const Diagnostic& error : reading.report.errors) out += format(error);
  return out;
}

// ---- roots ------------------------------------------------------------------------------------

TEST(ImportRoots, BecomeAFileBesideTheResult) {
  const std::string roots = net::testing::make_authority("One").root.to_pem() +
                            net::testing::make_authority("Two").root.to_pem();
  const Imported imported =
      import_text(issuer("caBundle: " + to_base64("# ours\n" + roots)), with_directory());
  EXPECT_EQ(fate_of(imported, "spec.acme.caBundle"), "translated: ca_file: le-ca.pem");
  ASSERT_EQ(imported.files.size(), 1u);
  EXPECT_EQ(imported.files[0].name, "le-ca.pem");
  EXPECT_EQ(imported.files[0].text, roots);
  EXPECT_FALSE(imported.files[0].is_secret);
  const ConfigReading reading = reading_of(imported);
  ASSERT_TRUE(reading.config) << errors_of(reading);
  EXPECT_THAT(reading.config->acme.cas[0].ca_file, HasSubstr("/le-ca.pem"));
}

TEST(ImportRoots, AreBase64InLinesToo) {
  std::string base64 = to_base64(net::testing::make_authority().root.to_pem());
  base64.insert(64, "\n      ");
  const Imported imported = import_text(issuer("caBundle: '" + base64 + "'"), with_directory());
  EXPECT_EQ(imported.files.size(), 1u);
}

TEST(ImportRoots, NeedAnOutput) {
  const Imported imported =
      import_text(issuer("caBundle: " + to_base64(net::testing::make_authority().root.to_pem())));
  EXPECT_THAT(fate_of(imported, "spec.acme.caBundle"), HasSubstr("refused: needs --output"));
  EXPECT_THAT(imported.config, HasSubstr("  # ca_file: le-ca.pem    # the roots in PEM"));
  EXPECT_TRUE(imported.files.empty());
  EXPECT_EQ(check(imported), "");
}

TEST(ImportRoots, AreCertificatesAndNothingElse) {
  const std::string root = net::testing::make_authority().root.to_pem();
  for (const std::string& bundle : {std::string("bm9uZQ=="), std::string("'not base64'"),
                                    to_base64(account_pem()), to_base64(root + account_pem())}) {
    const Imported imported = import_text(issuer("caBundle: " + bundle), with_directory());
    EXPECT_THAT(fate_of(imported, "spec.acme.caBundle"), HasSubstr("refused: not certificates"));
    EXPECT_TRUE(imported.files.empty());
    EXPECT_EQ(check(imported), "");
  }
}

TEST(ImportRoots, NeverLeadOutOfTheDirectory) {
  const std::string acme = "caBundle: " + to_base64(net::testing::make_authority().root.to_pem());
  const Imported imported =
      import_text(issuer(acme, "Issuer", "'../../x'") + issuer(acme, "Issuer", "'.a/b'") +
                      issuer(acme, "Issuer", "_a_b") + issuer(acme, "Issuer", "ca.example"),
                  with_directory());
  std::vector<std::string> names;
  for (const ImportedFile& file : imported.files) names.push_back(file.name);
  EXPECT_THAT(names, testing::ElementsAre("_._.._x-ca.pem", "_a_b-ca.pem", "_a_b-2-ca.pem",
                                          "ca.example-ca.pem"));
}

// ---- external accounts ------------------------------------------------------------------------

TEST(ImportExternalAccount, LeavesItsKeyToTheOperator) {
  for (const ImportOptions& options : {ImportOptions{}, with_directory()}) {
    const Imported imported = import_text(
        issuer(kExternal) + secret("stringData: {hmac: " + std::string(kHmacKey) + "}"), options);
    EXPECT_FALSE(imported.has_refused());
    EXPECT_EQ(fate_of(imported, "spec.acme.externalAccountBinding.keyID"), "used");
    EXPECT_THAT(fate_of(imported, "spec.acme.externalAccountBinding.keyAlgorithm"),
                HasSubstr("dropped: HMAC with SHA-256"));
    EXPECT_EQ(fate_of(imported, "spec.acme.externalAccountBinding.keySecretRef.name"),
              "translated: put hmac of Secret shop/le-key into le-eab.key; --with-keys does that");
    EXPECT_THAT(fate_of(imported, "stringData.hmac"), HasSubstr("dropped: only what issuers"));
    EXPECT_THAT(imported.config,
                HasSubstr("    external_account: {key_id: \"7\", hmac_key_file: le-eab.key}\n"));
    EXPECT_THAT(imported.config, HasSubstr("  # put hmac of Secret shop/le-key into le-eab.key"));
    EXPECT_TRUE(imported.files.empty());
    EXPECT_THAT(check(imported), HasSubstr("le-eab.key"));  // It is missed, not forgotten.
  }
}

TEST(ImportExternalAccount, TakesItsKeyAlong) {
  const std::string base64 = to_base64(std::string(kHmacKey) + "\n");
  for (const std::string& data :
       {"data: {hmac: " + base64 + ", other: eA==}",
        "data: {hmac: eA==}\nstringData: {hmac: " + std::string(kHmacKey) + "}"}) {
    const Imported imported = import_text(issuer(kExternal) + secret(data), with_keys());
    EXPECT_FALSE(imported.has_refused()) << format_report(imported);
    ASSERT_EQ(imported.files.size(), 1u);
    EXPECT_EQ(imported.files[0].name, "le-eab.key");
    EXPECT_EQ(imported.files[0].text, std::string(kHmacKey) + "\n");
    EXPECT_TRUE(imported.files[0].is_secret);
    EXPECT_EQ(fate_of(imported, "spec.acme.externalAccountBinding.keySecretRef.key"),
              "translated: hmac_key_file: le-eab.key");
    const std::string field =
        data.find("stringData") == data.npos ? "data.hmac" : "stringData.hmac";
    EXPECT_EQ(fate_of(imported, field), "used: in the file le-eab.key");
    const ConfigReading reading = reading_of(imported);
    ASSERT_TRUE(reading.config) << errors_of(reading);
    ASSERT_TRUE(reading.config->acme.cas[0].external_account);
    EXPECT_EQ(reading.config->acme.cas[0].external_account->key_id, "7");
    EXPECT_EQ(reading.config->acme.cas[0].external_account->hmac_key, "secret of the customer");
  }
}

TEST(ImportExternalAccount, NeedsAnOutputForItsKey) {
  ImportOptions options;
  options.takes_keys = true;
  const Imported imported = import_text(
      issuer(kExternal) + secret("stringData: {hmac: " + std::string(kHmacKey) + "}"), options);
  EXPECT_THAT(fate_of(imported, "spec.acme.externalAccountBinding.keySecretRef.name"),
              HasSubstr("refused: needs --output"));
  EXPECT_THAT(imported.config, HasSubstr("  # put hmac of Secret shop/le-key into le-eab.key"));
  EXPECT_TRUE(imported.files.empty());
}

TEST(ImportExternalAccount, SaysWhatIsMissing) {
  for (const char* binding :
       {"keyID: k", "keyID: k, keySecretRef: {name: le-key}", "keyID: k, keySecretRef: {key: hmac}",
        "keySecretRef: {name: le-key, key: hmac}"}) {
    const Imported imported =
        import_text(issuer("externalAccountBinding: {" + std::string(binding) + "}"), with_keys());
    EXPECT_THAT(format_report(imported), HasSubstr("refused: Issuer shop/le: "
                                                   "spec.acme.externalAccountBinding"));
    EXPECT_EQ(check(imported), "");
  }
}

// ---- accounts ---------------------------------------------------------------------------------

TEST(ImportAccount, IsMadeAnewWithoutTheWord) {
  const Imported imported =
      import_text(issuer(kAccount) + secret_of(account_pem()), with_directory());
  EXPECT_EQ(fate_of(imported, "spec.acme.privateKeySecretRef.name"),
            "dropped: a new account is made with the first order; --with-keys takes the key along");
  EXPECT_THAT(fate_of(imported, "data[\"tls.key\"]"), HasSubstr("dropped: only what issuers"));
  EXPECT_TRUE(imported.accounts.empty());
  EXPECT_FALSE(imported.has_refused());
}

TEST(ImportAccount, KeepsItsKeyWhereTheDaemonLooksForIt) {
  for (const net::KeyKind kind : {net::KeyKind::kEcdsaP256, net::KeyKind::kRsa2048}) {
    const std::string pem = *net::testing::make_key(kind).to_pem();
    const Imported imported = import_text(issuer(kAccount) + secret_of(pem), with_keys());
    EXPECT_FALSE(imported.has_refused()) << format_report(imported);
    EXPECT_EQ(fate_of(imported, "spec.acme.privateKeySecretRef.name"),
              "translated: its account's key, kept in /var/lib/gatehouse");
    EXPECT_EQ(fate_of(imported, "data[\"tls.key\"]"), "used: kept in /var/lib/gatehouse");
    ASSERT_EQ(imported.accounts.size(), 1u);
    EXPECT_EQ(imported.accounts[0].key_pem, pem);
    const ConfigReading reading = reading_of(imported);
    ASSERT_TRUE(reading.config) << errors_of(reading);
    EXPECT_EQ(imported.accounts[0].directory, reading.config->acme.cas[0].directory);
    EXPECT_EQ(imported.accounts[0].email, reading.config->acme.cas[0].email);
    EXPECT_TRUE(imported.files.empty());
  }
}

/// As cert-manager writes it: PKCS#1.
TEST(ImportAccount, TakesTheOldFormOfRsaKeys) {
  const net::PrivateKey key = net::testing::make_key(net::KeyKind::kRsa2048);
  const net::BioPtr bio(BIO_new(BIO_s_mem()));
  ASSERT_EQ(PEM_write_bio_PrivateKey_traditional(bio.get(), key.native(), nullptr, nullptr, 0,
                                                 nullptr, nullptr),
            1);
  char* bytes = nullptr;
  const auto size = static_cast<std::size_t>(BIO_get_mem_data(bio.get(), &bytes));
  const std::string pem(bytes, size);
  ASSERT_THAT(pem, HasSubstr("BEGIN RSA PRIVATE KEY"));
  const Imported imported = import_text(issuer(kAccount) + secret_of(pem), with_keys());
  ASSERT_EQ(imported.accounts.size(), 1u);
  EXPECT_EQ(imported.accounts[0].key_pem, *key.to_pem());
}

TEST(ImportAccount, IsKeptInTheStateThatIsSaid) {
  ImportOptions options = with_keys();
  options.state = "/srv/gate house";
  const Imported imported = import_text(issuer(kAccount) + secret_of(account_pem()), options);
  EXPECT_THAT(imported.config, HasSubstr("\nstate: \"/srv/gate house\"\n"));
  EXPECT_EQ(fate_of(imported, "data[\"tls.key\"]"), "used: kept in /srv/gate house");
  const ConfigReading reading = reading_of(imported);
  ASSERT_TRUE(reading.config) << errors_of(reading);
  EXPECT_EQ(reading.config->store.state_directory, "/srv/gate house");
}

TEST(ImportAccount, IsRefusedWithTheReason) {
  const std::string p384 = *net::testing::make_key(net::KeyKind::kEcdsaP384).to_pem();
  const std::string good = "data: {tls.key: " + to_base64(account_pem()) + "}";
  for (const auto& [more, reason] : std::vector<std::pair<std::string, std::string>>{
           {"",
            "Secret shop/le-key is not among the files: add what `kubectl get secret -n shop "
            "le-key -o yaml` says"},
           {secret(good, "le-key", "other"), "Secret shop/le-key is not among the files"},
           {secret(good) + secret(good), "which Secret le-key is meant? It is among the files 2 "},
           {secret("data: {other: eA==}"), "Secret shop/le-key has no \"tls.key\""},
           {secret("immutable: true"), "Secret shop/le-key has no \"tls.key\""},
           {secret("data: {tls.key: '%'}"), "Secret shop/le-key: \"tls.key\" is not base64"},
           {secret("data: {tls.key: [a]}"), "its \"tls.key\": reading the account key: no PRIVATE"},
           {secret_of("text"), "its \"tls.key\": reading the account key: no PRIVATE KEY block"},
           {secret_of(p384), "its \"tls.key\": an account key must be ECDSA P-256 or RSA"}}) {
    const Imported imported = import_text(issuer(kAccount) + more, with_keys());
    EXPECT_THAT(fate_of(imported, "spec.acme.privateKeySecretRef.name"),
                HasSubstr("refused: " + reason));
    EXPECT_TRUE(imported.accounts.empty());
    EXPECT_EQ(check(imported), "");
  }
}

TEST(ImportAccount, OfAClusterIssuerIsInAnyNamespaceThatIsClear) {
  const std::string data = "data: {tls.key: " + to_base64(account_pem()) + "}";
  const std::string cluster = issuer(kAccount, "ClusterIssuer");
  EXPECT_EQ(import_text(cluster + secret(data, "le-key", "anywhere"), with_keys()).accounts.size(),
            1u);
  for (const auto& [text, reason] : std::vector<std::pair<std::string, std::string>>{
           {cluster, "add what `kubectl get secret -n cert-manager le-key -o yaml` says"},
           {issuer(kAccount, "ClusterIssuer", "le", "certmanager.k8s.io/v1alpha1"),
            "add what `kubectl get secret -n kube-system le-key -o yaml` says"},
           {secret(data, "le-key", "a") + secret(data, "le-key", "b") + cluster,
            "which Secret le-key is meant? It is among the files 2 times: m.yaml:2, m.yaml:8"}}) {
    const Imported imported = import_text(text, with_keys());
    EXPECT_THAT(fate_of(imported, "spec.acme.privateKeySecretRef.name"), HasSubstr(reason));
    EXPECT_TRUE(imported.accounts.empty());
  }
}

TEST(ImportAccount, HasTheKeyOfTheSecretThatIsNamed) {
  const Imported imported =
      import_text(issuer("privateKeySecretRef: {name: le-key, key: a}") +
                      secret("data: {tls.key: eA==, a: " + to_base64(account_pem()) + "}"),
                  with_keys());
  EXPECT_EQ(imported.accounts.size(), 1u);
  EXPECT_EQ(fate_of(imported, "data.a"), "used: kept in /var/lib/gatehouse");
  EXPECT_THAT(fate_of(imported, "data[\"tls.key\"]"), HasSubstr("dropped: "));
}

TEST(ImportAccount, IsOnePerServerAndEmail) {
  const std::string other_pem = *net::testing::make_key().to_pem();
  const std::string two = issuer(kAccount) +
                          issuer("privateKeySecretRef: {name: two-key}", "Issuer", "two") +
                          secret_of(account_pem());
  std::string other_mail = two;
  other_mail.replace(other_mail.rfind("me@"), 3, "us@");
  EXPECT_EQ(import_text(two + secret_of(account_pem(), "two-key"), with_keys()).accounts.size(),
            1u);
  EXPECT_EQ(import_text(other_mail + secret_of(other_pem, "two-key"), with_keys()).accounts.size(),
            2u);
  const Imported clash = import_text(two + secret_of(other_pem, "two-key"), with_keys());
  EXPECT_THAT(format_report(clash),
              HasSubstr("refused: Issuer shop/two: spec.acme.privateKeySecretRef.name: another "
                        "issuer has the same server and email, and another key"));
  ASSERT_EQ(clash.accounts.size(), 1u);
  EXPECT_EQ(clash.accounts[0].key_pem, account_pem());
}

TEST(ImportAccount, HasAnIssuer) {
  std::string text = issuer(std::string(kAccount) + ", " + kExternal + ", caBundle: eA==") +
                     secret_of(account_pem());
  text.replace(text.find("https"), 5, "http");
  const Imported imported = import_text(text, with_keys());
  for (const char* field : {"privateKeySecretRef.name", "externalAccountBinding.keyID", "caBundle"})
    EXPECT_EQ(fate_of(imported, std::string("spec.acme.") + field),
              "refused: that issuer could not be translated");
  EXPECT_TRUE(imported.accounts.empty());
  EXPECT_TRUE(imported.files.empty());
  EXPECT_EQ(check(imported), "");
}

// ---- secrecy, and the report ------------------------------------------------------------------

TEST(ImportKeys, AreNeverSaid) {
  const std::string base64 = to_base64(account_pem());
  const std::string text =
      issuer(std::string(kAccount) + ", " + kExternal) +
      secret("data: {tls.key: " + base64 + "}\nstringData: {hmac: " + std::string(kHmacKey) +
             ", more: hunter2}");
  const Imported imported = import_text(text, with_keys());
  EXPECT_EQ(imported.accounts.size(), 1u);
  EXPECT_EQ(imported.files.size(), 1u);
  for (const std::string& hidden : {base64.substr(40, 40), account_pem().substr(40, 20),
                                    std::string(kHmacKey), std::string("hunter2")})
    EXPECT_THAT(said(imported), Not(HasSubstr(hidden)));
}

TEST(ImportKeys, AreNotInTheLineOfAComplaint) {
  for (const std::string& head :
       {std::string("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"),
        std::string("kind: SecretList\napiVersion: v1\nmetadata: {}\n")})
    for (const std::string& broken :
         {std::string("stringData: {a: hunter2, a: hunter2}\n"),
          std::string("items: [{stringData: {a: hunter2}}]\n"),
          std::string("stringData: {a: hunter2\n"), std::string("data: !!x hunter2\n")}) {
      const Imported imported = import_text(head + broken);
      if (imported.errors.empty()) continue;  // Sound, of that kind.
      EXPECT_THAT(said(imported), HasSubstr("m.yaml:")) << broken;
      EXPECT_THAT(said(imported), Not(HasSubstr("hunter2"))) << broken;
    }
  // Elsewhere it is shown.
  EXPECT_THAT(said(import_text("kind: Service\nkind: of-mine\n")), HasSubstr(" | kind: of-mine"));
}

TEST(ImportKeys, HaveAFateForEachFieldOfASecret) {
  const std::string text =
      issuer(std::string(kAccount) + ", " + kExternal) +
      secret("immutable: true\ndata: {tls.key: " + to_base64(account_pem()) +
             ", x: eA==}\nstringData: {hmac: " + std::string(kHmacKey) + ", y: ''}");
  for (const ImportOptions& options : {ImportOptions{}, with_keys()}) {
    const Imported imported = import_text(text, options);
    EXPECT_EQ(imported.fields.size(), scalars_of(text).size());
    for (const char* field : {"immutable", "data.x", "stringData.y"})
      EXPECT_THAT(fate_of(imported, field), HasSubstr("dropped: ")) << field;
  }
}

}  // namespace
}  // namespace gatehouse::daemon
