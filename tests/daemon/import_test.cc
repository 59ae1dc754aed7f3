#include "daemon/import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "daemon/config_reader.h"
#include "tests/daemon/import_text.h"

namespace gatehouse::daemon {
namespace {

using testing::HasSubstr;
using testing::Not;

// ---- the table: issuers -----------------------------------------------------------------------

std::string issuer(const std::string& spec, const std::string& version = "cert-manager.io/v1") {
  return "apiVersion: " + version +
         "\nkind: ClusterIssuer\nmetadata: {name: le, namespace: kube-system}\nspec: " + spec +
         "\n---\napiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c}\n"
         "spec: {secretName: s, issuerRef: {name: le, kind: ClusterIssuer}, dnsNames: "
         "[a.example]}\n";
}

TEST(ImportIssuer, LeadsToTheDirectoryOfToday) {
  for (const auto& [given, expected] : std::vector<std::pair<std::string, std::string>>{
           {"https://acme-v01.api.letsencrypt.org/directorr", "https://acme-v02"},
           {"https://acme-v01.api.letsencrypt.org/directory", "https://acme-v02"},
           {"https://acme-staging.api.letsencrypt.org/directory", "https://acme-staging-v02"},
           {"https://acme-v02.api.letsencrypt.org/dir", "https://acme-v02"}}) {
    const Imported imported = import_text(issuer("{acme: {server: '" + given + "', http01: {}}}"));
    EXPECT_THAT(imported.config,
                HasSubstr("directory: \"" + expected + ".api.letsencrypt.org/directory\""));
    EXPECT_THAT(fate_of(imported, "spec.acme.server"), HasSubstr("translated: "));
    EXPECT_EQ(check(imported), "");
  }
}

TEST(ImportIssuer, KeepsADirectoryThatItDoesNotKnow) {
  const Imported imported = import_text(
      issuer("{acme: {server: 'https://ca.example/acme/dir', email: me@a.example, profile: p, "
             "solvers: [{http01: {ingress: {class: x}}}]}}"));
  EXPECT_THAT(imported.config, HasSubstr("directory: \"https://ca.example/acme/dir\"\n"
                                         "    email: me@a.example\n    profile: p\n"
                                         "    challenges: [http-01]\n"));
  EXPECT_EQ(fate_of(imported, "spec.acme.server"), "used");
  EXPECT_EQ(fate_of(imported, "spec.acme.email"), "used");
  EXPECT_EQ(fate_of(imported, "spec.acme.profile"), "used");
  EXPECT_THAT(fate_of(imported, "spec.acme.solvers[0].http01.ingress.class"),
              HasSubstr("translated: challenges: [http-01]"));
  EXPECT_THAT(fate_of(imported, "metadata.namespace"),
              HasSubstr("dropped: a ClusterIssuer belongs to no namespace"));
  EXPECT_FALSE(imported.has_refused());
}

TEST(ImportIssuer, SaysWhatItMakesOfEachField) {
  for (const auto& [acme, field, expected] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"privateKeySecretRef: {name: k}", "privateKeySecretRef.name", "dropped: a new account"},
           {"preferredChain: X", "preferredChain", "dropped: the chain"},
           {"caBundle: Zm9v", "caBundle", "refused: not certificates"},
           {"skipTLSVerify: true", "skipTLSVerify", "refused: the CA is verified"},
           {"skipTLSVerify: false", "skipTLSVerify", "dropped: nothing here"},
           {"externalAccountBinding: {keyID: k}", "externalAccountBinding.keyID",
            "refused: it needs keyID"},
           {"dns01: {providers: [{name: x}]}", "dns01.providers[0].name", "refused: dns-01"},
           {"solvers: [{dns01: {route53: {}}, selector: {dnsZones: [z]}}]",
            "solvers[0].dns01.route53", "refused: dns-01"},
           {"solvers: [{http01: {}, selector: {dnsZones: [z]}}]", "solvers[0].selector.dnsZones[0]",
            "dropped: every host"},
           {"email: nobody", "email", "dropped: not an address"},
           {"novelty: 1", "novelty", "dropped: nothing here acts on it"}}) {
    const Imported imported =
        import_text(issuer("{acme: {server: 'https://ca.example/dir', " + acme + "}}"));
    EXPECT_THAT(fate_of(imported, "spec.acme." + field), HasSubstr(expected)) << acme;
    EXPECT_EQ(check(imported), "");
  }
}

TEST(ImportIssuer, MakesTheBuiltInCaOfSelfSigned) {
  const Imported imported = import_text(issuer("{selfSigned: {}}"));
  EXPECT_THAT(imported.config, HasSubstr("  le:\n    internal: true\n"));
  EXPECT_THAT(fate_of(imported, "spec.selfSigned"), HasSubstr("translated: internal: true"));
}

TEST(ImportIssuer, ReadsTheSecretsOfOneThatItCannotBe) {
  for (const char* spec :
       {"{ca: {secretName: s}}", "{vault: {server: 'https://v'}}",
        "{acme: {server: 'http://plain.example/dir'}}", "{acme: {email: a@b}}"}) {
    const Imported imported = import_text(issuer(spec));
    EXPECT_TRUE(imported.has_refused()) << spec;
    EXPECT_THAT(imported.config, HasSubstr("secret: default/s\n")) << spec;
    EXPECT_THAT(fate_of(imported, "spec.issuerRef.name"), HasSubstr("refused: ")) << spec;
    EXPECT_EQ(check(imported), "");
  }
}

// ---- the table: certificates ------------------------------------------------------------------

constexpr const char* kIssuer =
    "apiVersion: certmanager.k8s.io/v1alpha1\nkind: ClusterIssuer\nmetadata: {name: le}\n"
    "spec: {acme: {server: 'https://acme-v02.api.letsencrypt.org/directory', http01: {}}}\n---\n";

std::string certificate(const std::string& more) {
  return std::string(kIssuer) +
         "apiVersion: cert-manager.io/v1\nkind: Certificate\n"
         "metadata: {name: web, namespace: shop}\n"
         "spec: {secretName: web-tls, issuerRef: {name: le, kind: ClusterIssuer}" +
         more + "}\n";
}

TEST(ImportCertificate, JoinsItsNamesAndMirrorsItsSecret) {
  const Imported imported =
      import_text(certificate(", commonName: a.example, dnsNames: [B.example, c.example]"));
  EXPECT_THAT(imported.config, HasSubstr("  web:\n    names: [b.example, c.example, a.example]\n"
                                         "    issuer: le\n    secrets: [shop/web-tls]"));
  EXPECT_THAT(fate_of(imported, "spec.secretName"),
              HasSubstr("translated: secrets: [shop/web-tls"));
  EXPECT_THAT(fate_of(imported, "spec.commonName"), HasSubstr("translated: joins the names"));
  EXPECT_EQ(fate_of(imported, "spec.dnsNames[0]"), "used");
  EXPECT_EQ(check(imported), "");
}

TEST(ImportCertificate, SaysWhatItMakesOfEachField) {
  for (const auto& [more, field, expected] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"duration: 2160h", "duration", "dropped: the CA decides"},
           {"renewBefore: 360h", "renewBefore", "dropped: renewed when the CA"},
           {"renewBeforePercentage: 30", "renewBeforePercentage", "dropped: renewed"},
           {"usages: [server auth]", "usages[0]", "dropped: the CA decides"},
           {"subject: {organizations: [x]}", "subject.organizations[0]", "dropped: public CAs"},
           {"keystores: {jks: {create: true}}", "keystores.jks.create", "dropped: the Secret gets"},
           {"additionalOutputFormats: [{type: DER}]", "additionalOutputFormats[0].type",
            "dropped: the Secret gets"},
           {"isCA: true", "isCA", "refused: no CA certificates"},
           {"isCA: false", "isCA", "dropped: "},
           {"uris: ['spiffe://x/y']", "uris[0]", "refused: a web server's"},
           {"emailAddresses: [a@b.c]", "emailAddresses[0]", "refused: a web server's"},
           {"privateKey: {rotationPolicy: Never}", "privateKey.rotationPolicy",
            "dropped: a new key"},
           {"privateKey: {algorithm: Ed25519}", "privateKey.algorithm", "refused: browsers"},
           {"secretTemplate: {labels: {team: edge}}", "secretTemplate.labels.team", "used"},
           {"secretTemplate: {labels: {app.kubernetes.io/managed-by: helm}}",
            "secretTemplate.labels[\"app.kubernetes.io/managed-by\"]", "dropped: says whose"},
           {"acme: {config: [{http01: {ingressClass: none}, domains: [a.example]}]}",
            "acme.config[0].domains[0]", "dropped: one of the names"},
           {"acme: {config: [{domains: [other.example]}]}", "acme.config[0].domains[0]",
            "dropped: not one of"},
           {"acme: {config: [{dns01: {provider: p}}]}", "acme.config[0].dns01.provider",
            "refused: dns-01"},
           {"acme: {config: [{http01: {ingress: x}}]}", "acme.config[0].http01.ingress",
            "dropped: challenges are answered in-process"}}) {
    const Imported imported = import_text(certificate(", dnsNames: [a.example], " + more));
    EXPECT_THAT(fate_of(imported, "spec." + field), HasSubstr(expected)) << more;
    EXPECT_EQ(check(imported), "") << more;
  }
}

TEST(ImportCertificate, HasTheKeyThatWasAskedFor) {
  for (const auto& [more, key] : std::vector<std::pair<std::string, std::string>>{
           {"privateKey: {algorithm: ECDSA}", "ecdsa-p256"},
           {"privateKey: {algorithm: ECDSA, size: 384}", "ecdsa-p384"},
           {"privateKey: {algorithm: ECDSA, size: 521}", "ecdsa-p384"},
           {"privateKey: {algorithm: RSA}", "rsa-2048"},
           {"privateKey: {size: 4096}", "rsa-4096"},
           {"privateKey: {algorithm: RSA, size: 8192}", "rsa-4096"},
           {"keyAlgorithm: rsa, keySize: 3072", "rsa-3072"},
           {"keyAlgorithm: ecdsa", "ecdsa-p256"}})
    EXPECT_THAT(import_text(certificate(", dnsNames: [a.example], " + more)).config,
                HasSubstr("    key: " + key + "\n"))
        << more;
  EXPECT_THAT(import_text(certificate(", dnsNames: [a.example]")).config, Not(HasSubstr("key: ")));
}

TEST(ImportCertificate, IsReadFromItsSecretWhenItIsAWildcard) {
  const Imported imported = import_text(certificate(", dnsNames: ['*.a.example', a.example]"));
  EXPECT_TRUE(imported.has_refused());
  EXPECT_THAT(imported.config, HasSubstr("  web:\n    secret: shop/web-tls\n"));
  EXPECT_THAT(fate_of(imported, "spec.dnsNames[0]"), HasSubstr("refused: wildcards need dns-01"));
  EXPECT_EQ(fate_of(imported, "spec.dnsNames[1]"), "used");
}

TEST(ImportCertificate, IsReadFromItsSecretWhenItsIssuerIsNotThere) {
  const Imported imported = import_text(
      "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c}\n"
      "spec: {secretName: s, issuerRef: {name: le}, dnsNames: [a.example]}\n");
  EXPECT_THAT(fate_of(imported, "spec.issuerRef.name"),
              HasSubstr("refused: there is no such Issuer in the files"));
  EXPECT_THAT(imported.config, HasSubstr("secret: default/s\n"));
}

TEST(ImportCertificate, HasASecretOfItsOwn) {
  std::string twice = certificate(", dnsNames: [a.example]");
  std::string other = twice.substr(twice.find("---\n"));
  other.replace(other.find("name: web"), 9, "name: two");
  const Imported imported = import_text(twice + other);
  EXPECT_THAT(fate_of(imported, "spec.secretName"), HasSubstr("refused: another Certificate"));
  EXPECT_EQ(check(imported), "");
}

TEST(ImportCertificate, TakesAnIssuerOfItsOwnNamespaceOnly) {
  const std::string text =
      "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: le, namespace: a}\n"
      "spec: {acme: {server: 'https://ca.example/a'}}\n---\n"
      "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: le, namespace: b}\n"
      "spec: {acme: {server: 'https://ca.example/b'}}\n---\n"
      "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c, namespace: b}\n"
      "spec: {secretName: s, issuerRef: {name: le}, dnsNames: [a.example]}\n";
  EXPECT_THAT(import_text(text).config, HasSubstr("    names: [a.example]\n    issuer: b-le\n"));
}

// ---- the report -------------------------------------------------------------------------------

TEST(Import, FindsEveryScalarOfTheManifestsOfThe2018Article) {
  std::vector<ManifestFile> files = article();
  const Imported imported = import_manifests(files);
  EXPECT_FALSE(imported.has_refused());
  EXPECT_EQ(check(imported), "");
  std::set<std::string> reported;
  for (const ImportedField& field : imported.fields)
    EXPECT_TRUE(reported
                    .insert(field.file + ":" + std::to_string(field.mark.line) + ":" +
                            std::to_string(field.mark.column))
                    .second)
        << "twice: " << field.field;
  std::size_t count = 0;
  for (const ManifestFile& file : files)
    for (const Mark& mark : scalars_of(file.text)) {
      ++count;
      EXPECT_TRUE(reported.contains(file.name + ":" + std::to_string(mark.line) + ":" +
                                    std::to_string(mark.column)))
          << file.name << ":" << mark.line << ":" << mark.column;
    }
  EXPECT_EQ(count, imported.fields.size());
  EXPECT_GT(count, 100u);
}

TEST(Import, MakesOneConfigurationOfTheArticle) {
  const Imported imported = import_manifests(article());
  for (const char* part :
       {"  # was https://acme-v01.api.letsencrypt.org/directorr: ACMEv1 was shut in 2021, and the "
        "path is /directory\n",
        "    email: \"staging+me@domain.com\"\n",
        "    names: [www.mydomain.com, mobile.mydomain.com]\n    issuer: letsencrypt-staging\n"
        "    secrets: [istio-system/istio-ingress-certs]",
        "  helloworld-v2: {endpoints: "
        "[\"http://helloworld-v2.default.svc.cluster.local:8080\"]}\n",
        "  - host: mobile.mydomain.com\n    certificate: istio-ingress-certs\n    http: serve"})
    EXPECT_THAT(imported.config, HasSubstr(part));
  EXPECT_THAT(imported.config, Not(HasSubstr("acme-challenge")));
  EXPECT_THAT(imported.config, Not(HasSubstr("8089")));
  EXPECT_THAT(fate_of(imported, "spec.acme.server"), HasSubstr("translated: ACMEv1 was shut"));
}

TEST(Import, SaysWhereAFieldStands) {
  const std::string report = format_report(import_text(certificate(", dnsNames: [a.example]")));
  EXPECT_THAT(report,
              HasSubstr("m.yaml:9:20: translated: Certificate shop/web: spec.secretName: "));
  EXPECT_THAT(report, HasSubstr(" fields: "));
  EXPECT_THAT(report_json(import_text(certificate(", dnsNames: [a.example]"))),
              HasSubstr("\"field\":\"spec.secretName\""));
}

TEST(Import, NeverSaysWhatASecretHolds) {
  const Imported imported = import_text(
      certificate(", dnsNames: [a.example]") +
      "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {tls.key: c2VjcmV0}\n"
      "stringData: {password: hunter2}\n");
  const std::string all = format_report(imported) + imported.config;
  EXPECT_THAT(all, HasSubstr("data[\"tls.key\"]"));
  EXPECT_THAT(all, Not(HasSubstr("c2VjcmV0")));
  EXPECT_THAT(all, Not(HasSubstr("hunter2")));
}

TEST(Import, ShowsNothingThatATerminalActsOn) {
  const std::string tls = "{secretName: \"s\\e[31m\", hosts: [a.example]}";
  const Imported imported = import_text(
      "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: \"i\\a\"}\n"
      "spec: {\"a\\tb\": c, tls: [" +
      tls + ", " + tls +
      "], rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, "
      "backend: {service: {name: s, port: {number: 80}}}}]}}]}\n");
  ASSERT_TRUE(imported.errors.empty());
  const std::string report = format_report(imported);
  for (const char* text : {"Ingress default/i?: ", "Secret default/s?[31m", "certificate: s?[31m",
                           "spec[\"a\\x09b\"]"})
    EXPECT_THAT(report, HasSubstr(text));
  EXPECT_TRUE(std::all_of(report.begin(), report.end(), [](char c) {
    return c == '\n' || (c >= 0x20 && c < 0x7f);
  })) << report;
}

TEST(Import, TakesListsAndJson) {
  const Imported imported = import_text(
      R"({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [)"
      R"({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"},)"
      R"( "spec": {"rules": [{"host": "a.example", "http": {"paths": [{"path": "/", "pathType":)"
      R"( "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}]})");
  EXPECT_THAT(imported.config, HasSubstr("host: a.example"));
  EXPECT_THAT(fate_of(imported, "metadata.resourceVersion"),
              HasSubstr("dropped: only for Kubernetes"));
  EXPECT_EQ(check(imported), "");
}

TEST(Import, DropsWhatIsOfNoConsequenceAndRefusesOtherRouting) {
  const std::string ingress = certificate(", dnsNames: [a.example]") + "---\n";
  EXPECT_THAT(fate_of(import_text(ingress + "apiVersion: apps/v1\nkind: Deployment\nmetadata: "
                                            "{name: d}\nspec: {replicas: 3}\n"),
                      "spec.replicas"),
              HasSubstr("dropped: of no consequence"));
  for (const char* kind : {"VirtualService", "IngressRoute", "HTTPProxy"})
    EXPECT_THAT(fate_of(import_text(ingress + "apiVersion: x/v1\nkind: " + kind +
                                    "\nmetadata: {name: d}\nspec: {hosts: [a]}\n"),
                        "spec.hosts[0]"),
                HasSubstr("refused: leads requests"));
}

TEST(Import, KeepsCommentsInTheirLine) {
  const Imported imported = import_text(
      "apiVersion: cert-manager.io/v1\nkind: ClusterIssuer\n"
      "metadata: {name: \"x\\nvhosts: []\\u0085y: z\"}\n"
      "spec: {acme: {server: 'https://ca.example/dir'}}\n---\n" +
      certificate(", dnsNames: [a.example]"));
  EXPECT_EQ(check(imported), "");
}

TEST(Import, HasNothingToServeWithoutSites) {
  const Imported imported = import_text(
      "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80}]}\n");
  EXPECT_EQ(imported.config, "");
  EXPECT_THAT(fate_of(imported, "spec.ports[0].port"), HasSubstr("dropped: the Service stays"));
}

TEST(Import, ComplainsAboutWhatIsNoManifest) {
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {"a: [", "m.yaml:2:1: error: "},
           {"- a\n", "m.yaml:1:1: error: not an object of Kubernetes"},
           {"text", "m.yaml:1:1: error: not an object of Kubernetes"},
           {"kind: Service\nmetadata: {name: s}\n",
            "m.yaml:1:1: error: an object without apiVersion"},
           {"apiVersion: v1\nmetadata: {name: s}\n", "m.yaml:1:1: error: an object without kind"},
           {"apiVersion: v1\nkind: Service\n---\n\napiVersion: v1\nkind: Service\n",
            "m.yaml:5:1: error: an object without metadata.name"},
           {"apiVersion: v1\nkind: List\nitems: [3]\n", "m.yaml:3:9: error: not an object"},
           {"apiVersion: v1\nkind: A\nkind: B\n",
            "m.yaml:3:1: error: key \"kind\" is here twice"}}) {
    const Imported imported = import_text(text);
    std::string errors;
    for (const Diagnostic& error : imported.errors) errors += format(error);
    EXPECT_THAT(errors, HasSubstr(expected)) << text;
    EXPECT_EQ(imported.config, "");
  }
}

TEST(Import, PassesOverEmptyDocuments) {
  const Imported imported = import_text("# nothing\n---\n---\n" +
                                        certificate(", dnsNames: [a.example]") + "---\n# end\n");
  EXPECT_TRUE(imported.errors.empty());
  EXPECT_EQ(check(imported), "");
}

}  // namespace
}  // namespace gatehouse::daemon
