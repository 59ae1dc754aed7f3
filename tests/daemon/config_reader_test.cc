#include "daemon/config_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/temporary_directory.h"

namespace gatehouse::daemon {
namespace {

using namespace std::chrono_literals;

const std::string kSource = GATEHOUSE_SOURCE_DIR;
const std::string kFiles = kSource + "/tests/config_errors/files/";
// The certificates of the fixtures are valid then, but for the expired one.
const WallTime kNow{std::chrono::seconds(1'811'808'000)};

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

ConfigReading read_text(const std::string& text) {
  return read_config_text(text, kSource + "/tests/config_errors/test.yaml", kNow);
}

/// The configuration of a text that must be good.
Config good(const std::string& text) {
  ConfigReading reading = read_text(text);
  EXPECT_TRUE(reading.config) << format(reading.report);
  return reading.config ? std::move(*reading.config) : Config{};
}

/// "host>certificate" for all, "|" between.
std::string hosts_of(const Config& config) {
  std::string out;
  for (const auto& entry : config.host_certificates)
    out += (out.empty() ? "" : " | ") + entry.host + " > " + entry.certificate;
  return out;
}

/// "name: names < issuers" for all.
std::string certificates_of(const Config& config) {
  std::string out;
  for (const auto& certificate : config.acme.certificates) {
    out += (out.empty() ? "" : " | ") + certificate.name + ":";
    for (const std::string& name : certificate.names) out += " " + name;
    out += " <";
    for (const std::string& issuer : certificate.issuers) out += " " + issuer;
  }
  return out;
}

constexpr const char* kSmallest =
    "vhosts:\n  - host: www.mydomain.com\n    backend: http://127.0.0.1:8080\n";

TEST(ConfigReader, HasTheDefaultsOfTheDesign) {
  const Config config = good(kSmallest);
  EXPECT_EQ(config.store.state_directory, "/var/lib/gatehouse");
  ASSERT_EQ(config.proxy.https.size(), 1u);
  EXPECT_EQ(config.proxy.https[0].text, "[::]:443");
  ASSERT_EQ(config.proxy.http.size(), 1u);
  EXPECT_EQ(config.proxy.http[0].text, "[::]:80");
  EXPECT_EQ(config.admin.listen.text, "127.0.0.1:9180");
  EXPECT_EQ(config.admin.socket, "/run/gatehouse/control.sock");
  EXPECT_EQ(config.log_level, Level::kInfo);
  EXPECT_EQ(config.proxy.access_log_format, proxy::AccessLogFormat::kEnvoy);
  EXPECT_EQ(config.proxy.access_log_path, "stdout");
  EXPECT_EQ(config.proxy.tls_profile, proxy::TlsProfile::kIntermediate);
}

TEST(ConfigReader, AsksLetsEncryptWhenThereAreNoIssuers) {
  const Config config = good("email: me@mydomain.com\n" + std::string(kSmallest));
  ASSERT_EQ(config.acme.cas.size(), 1u);
  EXPECT_EQ(config.acme.cas[0].directory, "https://acme-v02.api.letsencrypt.org/directory");
  EXPECT_EQ(config.acme.cas[0].email, "me@mydomain.com");
  EXPECT_EQ(certificates_of(config), "www.mydomain.com: www.mydomain.com < letsencrypt-prod");
}

TEST(ConfigReader, ServesLocalNamesFromTheInternalCa) {
  const Config config = good(
      "vhosts: [{hosts: [localhost, app.localhost, 127.0.0.1, \"::1\"], backend: \"http://a\"}]");
  EXPECT_EQ(certificates_of(config), "localhost: localhost app.localhost 127.0.0.1 ::1 < internal");
  ASSERT_EQ(config.acme.cas.size(), 1u);
  EXPECT_TRUE(config.acme.cas[0].is_internal);
}

TEST(ConfigReader, UsesTheInternalCaOfTheFile) {
  const Config config =
      good("issuers: {mine: {internal: true}}\nvhosts: [{host: localhost, backend: \"http://a\"}]");
  EXPECT_EQ(certificates_of(config), "localhost: localhost < mine");
}

TEST(ConfigReader, DividesAVhostWithLocalAndPublicNames) {
  const Config config =
      good("vhosts: [{hosts: [localhost, www.a.example, \"*\"], backend: \"http://a\"}]");
  EXPECT_EQ(certificates_of(config),
            "www.a.example: www.a.example < letsencrypt-prod | localhost: localhost < internal");
  EXPECT_EQ(hosts_of(config),
            "www.a.example > www.a.example | localhost > localhost | * > www.a.example");
}

TEST(ConfigReader, GivesAVhostItsIssuerForAllItsNames) {
  const Config config = good(
      "issuers: {a: {directory: \"https://a.example/d\"}, b: {directory: "
      "\"https://b.example/d\"}}\n"
      "vhosts: [{hosts: [localhost, x.example], issuer: b, backend: \"http://a\"}]");
  EXPECT_EQ(certificates_of(config), "localhost: localhost x.example < b");
}

TEST(ConfigReader, TriesDefaultIssuersInOrder) {
  const Config config = good(
      "issuers: {a: {directory: \"https://a.example/d\"}, b: {directory: "
      "\"https://b.example/d\"}}\n"
      "default_issuer: [b, a]\n" +
      std::string(kSmallest));
  EXPECT_EQ(certificates_of(config), "www.mydomain.com: www.mydomain.com < b a");
}

TEST(ConfigReader, TakesTheOnlyPublicIssuerAsDefault) {
  const Config config =
      good("issuers: {local: {internal: true}, a: {directory: \"https://a.example/d\"}}\n" +
           std::string(kSmallest));
  EXPECT_EQ(certificates_of(config), "www.mydomain.com: www.mydomain.com < a");
}

TEST(ConfigReader, JoinsHostsWithTheirNamedCertificate) {
  const Config config = good(
      "certificates: {shop: {names: [shop.example, \"*.shop.example\"], issuer: internal, key: "
      "rsa-2048}}\nvhosts: [{hosts: [a.shop.example, \"*.shop.example\"], certificate: shop, "
      "backend: \"http://a\"}]");
  EXPECT_EQ(hosts_of(config), "a.shop.example > shop | *.shop.example > shop");
  ASSERT_EQ(config.acme.certificates.size(), 1u);
  EXPECT_EQ(config.acme.certificates[0].key, acme::KeyType::kRsa2048);
}

TEST(ConfigReader, LoadsCertificatesFromFiles) {
  const Config config = good(
      "certificates: {shop: {certificate_file: files/chain.pem, key_file: files/key.pem}}\n"
      "vhosts: [{host: a.shop.example, certificate: shop, backend: \"http://a\"}]");
  ASSERT_EQ(config.file_certificates.size(), 1u);
  EXPECT_EQ(config.file_certificates[0].certificate_file, kFiles + "chain.pem");
  ASSERT_TRUE(config.file_certificates[0].credential);
  EXPECT_EQ(config.file_certificates[0].credential->name, "shop");
  EXPECT_TRUE(config.acme.cas.empty());
}

TEST(ConfigReader, GivesEachCertificateOfSharedFilesItsName) {
  const Config config = good(
      "certificates:\n  a: {certificate_file: files/chain.pem, key_file: files/key.pem}\n"
      "  b: {certificate_file: files/chain.pem, key_file: files/key.pem}\n"
      "vhosts:\n  - {host: a.shop.example, certificate: a, backend: \"http://a\"}\n"
      "  - {host: b.shop.example, certificate: b, backend: \"http://a\"}\n");
  ASSERT_EQ(config.file_certificates.size(), 2u);
  EXPECT_EQ(config.file_certificates[0].credential->name, "a");
  EXPECT_EQ(config.file_certificates[1].credential->name, "b");
}

TEST(ConfigReader, MakesOneBackendOfEqualUrls) {
  const Config config = good(
      "vhosts:\n  - {host: a.example, backend: \"http://127.0.0.1:8080\"}\n"
      "  - {host: b.example, backend: \"http://127.0.0.1:8080\"}\n");
  ASSERT_EQ(config.proxy.backends.size(), 1u);
  EXPECT_EQ(config.proxy.backends[0].name, "http://127.0.0.1:8080");
  EXPECT_EQ(config.proxy.backends[0].endpoints[0].port, 8080);
}

TEST(ConfigReader, ReadsAllKindsOfEndpoints) {
  const Config config = good(
      "backends: {b: {endpoints: [http://One, \"https://[::1]:8443\", \"unix:run/b.sock\"]}}\n"
      "vhosts: [{host: a.example, backend: b}]");
  const auto& endpoints = config.proxy.backends[0].endpoints;
  ASSERT_EQ(endpoints.size(), 3u);
  EXPECT_EQ(endpoints[0].host, "one");
  EXPECT_EQ(endpoints[0].port, 80);
  EXPECT_EQ(endpoints[1].host, "::1");
  EXPECT_TRUE(endpoints[1].is_tls);
  EXPECT_EQ(endpoints[2].unix_path, kSource + "/tests/config_errors/run/b.sock");
}

TEST(ConfigReader, ReadsRoutesWithTheirActions) {
  const Config config = good(R"(
backends: {a: {endpoints: ["http://a"]}, b: {endpoints: ["http://b"]}}
vhosts:
  - host: a.example
    http: serve
    routes:
      - {match: {path: /api/}, backend: b}
      - {match: {exact: /x}, redirect: {to: /y}}
      - {match: {regex: "/r.*"}, respond: {status: 204}}
      - {split: [{backend: a, weight: 90}, {backend: b, weight: 10}], upgrade: off, early_data: false}
)");
  const proxy::Vhost& vhost = config.proxy.vhosts[0];
  EXPECT_EQ(vhost.http, proxy::PlainPolicy::kServe);
  ASSERT_EQ(vhost.routes.size(), 4u);
  EXPECT_EQ(vhost.routes[0].match.kind, proxy::PathMatch::Kind::kPrefix);
  EXPECT_EQ(vhost.routes[0].match.text, "/api");
  EXPECT_EQ(vhost.routes[0].split[0].backend, 1u);
  EXPECT_EQ(vhost.routes[1].redirect->to, "/y");
  EXPECT_EQ(vhost.routes[1].redirect->status, 308);
  EXPECT_EQ(vhost.routes[2].respond->status, 204);
  EXPECT_EQ(vhost.routes[3].match.kind, proxy::PathMatch::Kind::kAny);
  EXPECT_EQ(vhost.routes[3].split[1].weight, 10u);
}

TEST(ConfigReader, ReadsWhenARouteTriesAgain) {
  const auto route_with = [](const std::string& keys) {
    return good("vhosts:\n  - {host: localhost, routes: [{backend: \"http://127.0.0.1:1\", " +
                keys + "}]}\n")
        .proxy.vhosts[0]
        .routes[0];
  };
  EXPECT_FALSE(route_with("timeout: 15s").retries);
  EXPECT_EQ(route_with("timeout: 15s").timeout, 15s);
  const proxy::Retries all =
      *route_with(
           "retries: {attempts: 4, on: [connect, reset, 5xx, 503, gateway-error, "
           "grpc-unavailable, grpc-cancelled], per_try: 2s, budget: 30%}")
           .retries;
  EXPECT_EQ(all.attempts, 4u);
  EXPECT_TRUE(all.on_connect && all.on_reset && all.on_5xx);
  EXPECT_EQ(all.on_status, (std::vector<int>{503, 502, 503, 504}));
  EXPECT_EQ(all.on_grpc_status, (std::vector<int>{14, 1}));
  EXPECT_EQ(all.per_try, 2s);
  EXPECT_EQ(all.budget_percent, 30u);
  const proxy::Retries few = *route_with("retries: {attempts: 1}").retries;
  EXPECT_TRUE(few.on_connect && few.on_reset);
  EXPECT_FALSE(few.on_5xx);
  const proxy::Retries one = *route_with("retries: {on: [reset]}").retries;
  EXPECT_FALSE(one.on_connect);
}

TEST(ConfigReader, TakesAnEmptyListForNoPlainPort) {
  EXPECT_TRUE(good("listen: {http: []}\n" + std::string(kSmallest)).proxy.http.empty());
}

TEST(ConfigReader, ReadsLimits) {
  const Config config =
      good("limits: {header_timeout: 1m30s, body_bytes: 10MiB, header_bytes: 2048, streams: 7}\n" +
           std::string(kSmallest));
  EXPECT_EQ(config.proxy.limits.header_timeout, 90s);
  EXPECT_EQ(config.proxy.limits.body_bytes, 10u * 1024 * 1024);
  EXPECT_EQ(config.proxy.limits.header_bytes, 2048u);
  EXPECT_EQ(config.proxy.limits.streams, 7u);
}

TEST(ConfigReader, ReadsWorkers) {
  const std::string vhosts = "vhosts: [{host: a.example, backend: \"http://127.0.0.1:8080\"}]\n";
  EXPECT_EQ(good(vhosts).proxy.workers, 1u);
  EXPECT_EQ(good("workers: 4\n" + vhosts).proxy.workers, 4u);
  EXPECT_EQ(good("workers: auto\n" + vhosts).proxy.workers, 0u);  // as many as the daemon finds
}

TEST(ConfigReader, SaysWhyAFileCannotBeRead) {
  const ConfigReading reading = read_config("/nonexistent/gatehouse.yaml");
  EXPECT_FALSE(reading.config);
  EXPECT_EQ(format(reading.report),
            "/nonexistent/gatehouse.yaml: error: No such file or directory\n");
}

TEST(ConfigReader, FindsTheControlSocketOfAFileThatIsWrongElsewhere) {
  TemporaryDirectory directory;
  const std::string path = directory / "gatehouse.yaml";
  std::ofstream(path) << "admin: {socket: control.sock}\nvhosts: nonsense\n";
  const auto socket = read_control_socket(path);
  ASSERT_TRUE(socket);
  EXPECT_EQ(*socket, directory / "control.sock");
}

TEST(ConfigReader, ReadsTenThousandVhosts) {
  std::string text = "vhosts:\n";
  for (int i = 0; i < 10'000; ++i)
    text +=
        "  - {host: site" + std::to_string(i) + ".example, backend: \"http://127.0.0.1:8080\"}\n";
  const Config config = good(text);
  EXPECT_EQ(config.proxy.vhosts.size(), 10'000u);
  EXPECT_EQ(config.acme.certificates.size(), 10'000u);
}

// The files of conf/, with what they refer to.

TEST(Conf, SmallestFileIsGood) {
  EXPECT_EQ(format(read_config(kSource + "/conf/gatehouse.yaml").report), "");
}

TEST(ConfigReader, TakesCertificatesFromSecretsAndWhereMirroredOnesAreSeen) {
  const Config config = good(R"(
kubernetes: {kubeconfig: files/good-kubeconfig}
certificates:
  read: {secret: shop/tls, secrets: [istio-system/copy], verify: {address: "Gateway.test:8443"}}
  own: {names: [own.shop.example], issuer: internal, secrets: [istio-system/own],
        verify: {address: "[::1]:443", within: 1m30s}}
vhosts:
  - {hosts: [www.shop.example, "*"], certificate: read, backend: "http://127.0.0.1:8080"}
  - {host: mobile.shop.example, certificate: read, backend: "http://127.0.0.1:8080"}
  - {host: own.shop.example, certificate: own, backend: "http://127.0.0.1:8080"}
)");
  ASSERT_EQ(config.kubernetes.sources.size(), 1u);
  const store::SourceTarget& source = config.kubernetes.sources[0];
  EXPECT_EQ(source.secret.to_string(), "shop/tls");
  EXPECT_EQ(source.certificate, "read");
  EXPECT_EQ(source.names, (std::vector<std::string>{"www.shop.example", "mobile.shop.example"}));
  ASSERT_EQ(config.kubernetes.gateways.size(), 2u);
  const auto& gateways = config.kubernetes.gateways;
  EXPECT_EQ(gateways[0], (store::GatewayTarget{"read", "gateway.test", 8443, 60s}));
  EXPECT_EQ(gateways[1], (store::GatewayTarget{"own", "::1", 443, 90s}));
  EXPECT_EQ(config.kubernetes.mirrors.size(), 2u);
  EXPECT_TRUE(config.kubernetes.has_secrets());
}

TEST(Conf, FullFileIsGoodAndHasNoWarning) {
  TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "tls");
  std::filesystem::copy_file(kSource + "/conf/full.yaml", directory / "full.yaml");
  std::filesystem::copy_file(kFiles + "key.pem", directory / "tls/key.pem");
  std::filesystem::copy_file(kFiles + "key.pem", directory / "tls/client.key");
  std::filesystem::copy_file(kFiles + "clients.crl", directory / "tls/clients.crl");
  std::filesystem::copy_file(kFiles + "eab.key", directory / "tls/eab.key");
  std::filesystem::copy_file(kFiles + "good-kubeconfig", directory / "tls/kubeconfig");
  for (const char* name : {"tls/chain.pem", "tls/private-ca.pem", "tls/mesh-ca.pem",
                           "tls/client.pem", "tls/clients.pem"})
    std::filesystem::copy_file(kFiles + "mydomain.pem", directory / name);
  const ConfigReading reading = read_config(directory / "full.yaml", kNow);
  EXPECT_EQ(format(reading.report), "");
}

/// Everything that is commented out in full.yaml as a key.
TEST(Conf, FullFileShowsAllKeysThatAreNotSupportedYet) {
  const std::string text = read(kSource + "/conf/full.yaml");
  for (const char* key : {"# dns:", "# tracing:"}) EXPECT_NE(text.find(key), text.npos) << key;
}

TEST(Conf, QuickstartIsGoodAndHasNoWarning) {
  TemporaryDirectory directory;
  std::filesystem::create_directories(directory / "conf");
  std::filesystem::create_directories(directory / "build/quickstart");
  std::filesystem::copy_file(kSource + "/conf/quickstart.yaml", directory / "conf/quickstart.yaml");
  std::filesystem::copy_file(kFiles + "chain.pem", directory / "build/quickstart/pebble-ca.pem");
  const ConfigReading reading = read_config(directory / "conf/quickstart.yaml", kNow);
  EXPECT_EQ(format(reading.report), "");
}

/// Examples that go through a gateway without TLS have the warning about it, and no other.
TEST(Conf, ExamplesForIstioAndKubernetesAreGood) {
  for (const auto& [file, warns] : std::vector<std::pair<std::string, bool>>{
           {"istio/h2c.yaml", true},
           {"istio/tls.yaml", false},
           {"istio/proxy-protocol.yaml", true},
           {"istio/mesh-mtls.yaml", false},
           {"kubernetes/base/gatehouse.yaml", true},
           {"kubernetes/host-network/gatehouse.yaml", true}}) {
    TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "tls");
    for (const char* name : {"tls/cert-chain.pem", "tls/root-cert.pem"})
      std::filesystem::copy_file(kFiles + "mydomain.pem", directory / name);
    std::filesystem::copy_file(kFiles + "key.pem", directory / "tls/key.pem");
    std::filesystem::copy_file(kSource + "/conf/" + file, directory / "gatehouse.yaml");
    ConfigReading reading = read_config(directory / "gatehouse.yaml", kNow);
    EXPECT_TRUE(reading.config) << file << format(reading.report);
    std::string warnings;
    for (const Diagnostic& warning : reading.report.warnings)
      if (warning.message.find("admin page") == std::string::npos &&
          warning.hint.find("run in a pod") == std::string::npos)
        warnings += warning.message;
    EXPECT_EQ(warnings.find("numTrustedProxies") != std::string::npos, warns) << file << warnings;
    EXPECT_EQ(warnings.empty(), !warns) << file << warnings;
  }
}

// tests/config_errors: a bad file beside what it must say.

std::vector<std::string> bad_files() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(kSource + "/tests/config_errors", error)) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class ConfigErrors : public testing::TestWithParam<std::string> {};

TEST_P(ConfigErrors, AreToldExactly) {
  const std::string directory = kSource + "/tests/config_errors/";
  const ConfigReading reading = read_config(directory + GetParam() + ".yaml", kNow);
  std::string said = format(reading.report);
  for (auto at = said.find(directory); at != said.npos; at = said.find(directory, at))
    said.erase(at, directory.size());
  EXPECT_EQ(said, read(directory + GetParam() + ".txt"));
  EXPECT_EQ(reading.config.has_value(), reading.report.errors.empty());
}

INSTANTIATE_TEST_SUITE_P(Files, ConfigErrors, testing::ValuesIn(bad_files()),
                         [](const auto& file) { return file.param; });

TEST(ConfigErrorFiles, AreMany) { EXPECT_GE(bad_files().size(), 60u); }

}  // namespace
}  // namespace gatehouse::daemon
