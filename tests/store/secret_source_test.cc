#include "store/secret_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/base/json.h"
#include "daemon/base/log.h"
#include "store/database.h"
#include "tests/support/await.h"
#include "tests/support/fake_kube.h"
#include "tests/support/test_certificates.h"
#include "tests/support/test_loop.h"

namespace gatehouse::store {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using State = SourceStatus::State;

/// An apiserver with Secrets of the namespace "ns", whose watches tell what was put since.
struct Server {
  explicit Server(FakeKube& kube) {
    kube.answer = [this](const net::HttpRequest& request) -> FakeKube::Answer {
      ++lists;
      if (is_down) return Error{Fault::kConnection, "nobody answers"};
      if (is_denied)
        return FakeKube::reply(403, R"({"kind":"Status","message":"cannot list","code":403})");
      std::string items;
      for (const auto& [name, object] : objects)
        if (is_asked(request, name)) items += (items.empty() ? "" : ",") + object;
      return FakeKube::reply(200,
                             R"({"metadata":{"resourceVersion":"1"},"items":[)" + items + "]}");
    };
    kube.watch = [this](const net::HttpRequest& request,
                        const net::HttpsClient::OnData& on_data) -> FakeKube::Answer {
      if (is_down) return Error{Fault::kConnection, "nobody answers"};
      std::erase_if(events, [&](const auto& event) {
        if (!is_asked(request, event.first)) return false;
        on_data(event.second);
        return true;
      });
      return FakeKube::reply(200, "");
    };
  }
  static bool is_asked(const net::HttpRequest& request, const std::string& name) {
    return request.url.find("fieldSelector") == std::string::npos ||
           request.url.find("metadata.name%3D" + name + "&") != std::string::npos ||
           request.url.ends_with("metadata.name%3D" + name);
  }
  void put(const std::string& name, std::string chain, std::string key,
           const std::string& type = "kubernetes.io/tls") {
    Secret secret;
    secret.at = {"ns", name};
    secret.type = type;
    secret.data = {{"tls.crt", std::move(chain)}, {"tls.key", std::move(key)}};
    secret.resource_version = std::to_string(++version);
    objects[name] = apply_body(secret);
    tell(name, "MODIFIED");
  }
  void put(const std::string& name, const net::CredentialPtr& credential) {
    put(name, credential->chain.to_pem(), *credential->key.to_pem());
  }
  void remove(const std::string& name) {
    tell(name, "DELETED");
    objects.erase(name);
  }
  void tell(const std::string& name, const std::string& type) {
    std::string line = R"({"type":")" + type + R"(","object":)" + objects[name] + "}";
    std::erase(line, '\n');
    events.emplace_back(name, line + "\n");
  }

  bool is_down = false, is_denied = false;
  int lists = 0, version = 100;
  std::map<std::string, std::string> objects;
  std::vector<std::pair<std::string, std::string>> events;  // not told yet
};

struct SecretSourceTest : testing::Test {
  TestLoop loop;
  SeededRandom random{7};
  Metrics metrics;
  FakeKube kube;
  Server server{kube};
  KubeClient client{loop, kube};
  net::JobThread jobs = net::JobThread::inline_for_tests(loop);
  std::unique_ptr<Database> database = *Database::open_in_memory();
  CertificateStore certificates{*database, jobs};
  std::string log_lines;
  std::vector<net::CredentialPtr> served;  // all that was ever given to be served
  SecretSource source{
      {loop, random, metrics, client, certificates, jobs},
      [this](const auto& found) { served.insert(served.end(), found.begin(), found.end()); }};

  SecretSourceTest() { capture_log(&log_lines); }
  ~SecretSourceTest() override {
    bool is_done = false;
    boost::asio::co_spawn(loop.context(), source.stop(),
                          [&is_done](const std::exception_ptr&) { is_done = true; });
    loop.run_ready();
    EXPECT_TRUE(is_done);
    capture_log(nullptr);
  }
  net::CredentialPtr certificate(std::vector<std::string> names = {"www.test"},
                                 Duration left = 30 * 24h) {
    const WallTime now = loop.clock().wall_now();
    return make_test_certificate("shop", names, now - std::chrono::hours(24 * 60),
                                 now + std::chrono::duration_cast<WallTime::duration>(left));
  }
  void start(SecretSource::Credentials known = {}) {
    source.use({{{"ns", "tls"}, "shop", {"www.test"}}}, known);
    source.start();
    loop.advance(2s);
  }
  SourceStatus status() { return source.status().at(0); }
  std::string in_database() {
    const auto loaded = certificates.load_all(loop.clock().wall_now());
    return loaded && loaded->size() == 1 ? loaded->front().credential->facts.serial_hex : "none";
  }
  bool has_metric(const std::string& line) {
    return metrics.to_text().find(line + "\n") != std::string::npos;
  }
  static int count(const std::string& text, const std::string& what) {
    int found = 0;
    for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++found;
    return found;
  }
};

TEST_F(SecretSourceTest, ServesAndKeepsWhatTheSecretHas) {
  const auto first = certificate(), second = certificate();
  server.put("tls", first);
  start();
  ASSERT_EQ(served.size(), 1u);
  EXPECT_EQ(served[0]->facts.serial_hex, first->facts.serial_hex);
  EXPECT_EQ(served[0]->name, "shop");
  EXPECT_EQ(in_database(), first->facts.serial_hex);
  EXPECT_EQ(status().state, State::kSynced);
  EXPECT_TRUE(has_metric("gatehouse_secret_source_in_sync{secret=\"ns/tls\"} 1"));
  server.put("tls", second);
  loop.advance(2s);
  ASSERT_EQ(served.size(), 2u);
  EXPECT_EQ(served[1]->facts.serial_hex, second->facts.serial_hex);
  EXPECT_EQ(in_database(), second->facts.serial_hex);
}

TEST_F(SecretSourceTest, ServesNothingAnewThatIsServed) {
  const auto known = certificate();
  server.put("tls", known);
  start({{"shop", known}});
  EXPECT_THAT(served, IsEmpty());
  EXPECT_EQ(in_database(), "none") << "what comes from the database is not written again";
  EXPECT_EQ(status().state, State::kSynced);
}

TEST_F(SecretSourceTest, GarbageNeverTakesThePlaceOfWhatIsServed) {
  const auto good = certificate();
  const auto key = *good->key.to_pem(), chain = good->chain.to_pem();
  server.put("tls", good);
  start();
  const std::vector<std::vector<std::string>> garbage{
      {"garbage", key, "kubernetes.io/tls", "tls.crt"},
      {chain, "garbage", "kubernetes.io/tls", "tls.key"},
      {"", "", "kubernetes.io/tls", "tls.crt"},
      {chain, *net::PrivateKey::generate(net::KeyKind::kEcdsaP256)->to_pem(), "kubernetes.io/tls",
       "key"},
      {chain, key, "Opaque", "has the type Opaque"}};
  for (const auto& one : garbage) {
    server.put("tls", one[0], one[1], one[2]);
    loop.advance(2s);
    EXPECT_EQ(status().state, State::kUnusable) << one[3];
    EXPECT_THAT(status().reason, HasSubstr(one[3]));
    EXPECT_TRUE(has_metric("gatehouse_secret_source_in_sync{secret=\"ns/tls\"} 0"));
  }
  EXPECT_EQ(served.size(), 1u);
  EXPECT_EQ(in_database(), good->facts.serial_hex);
  EXPECT_EQ(count(log_lines, "event=secret_source.unusable"), static_cast<int>(garbage.size()));
  EXPECT_THAT(log_lines, HasSubstr("serving=\"the one before\""));
  EXPECT_THAT(log_lines, Not(HasSubstr("BEGIN PRIVATE KEY")));
  server.put("tls", good);
  loop.advance(2s);
  EXPECT_EQ(status().state, State::kSynced);
  EXPECT_TRUE(has_metric("gatehouse_secret_source_in_sync{secret=\"ns/tls\"} 1"));
}

TEST_F(SecretSourceTest, WorseNeverTakesThePlaceOfBetter) {
  server.put("tls", certificate());
  start();
  server.put("tls", certificate({"www.test"}, -1h));
  loop.advance(2s);
  EXPECT_THAT(status().reason, HasSubstr("expired at"));
  server.put("tls", certificate({"other.test"}));
  loop.advance(2s);
  EXPECT_THAT(status().reason, HasSubstr("does not cover www.test"));
  EXPECT_EQ(served.size(), 1u);
}

TEST_F(SecretSourceTest, TakesWhatThereIsWhenNothingIsServedYetAndSaysWhatIsWrong) {
  server.put("tls", certificate({"other.test"}));
  start();
  EXPECT_EQ(served.size(), 1u);
  EXPECT_EQ(status().state, State::kSynced);
  EXPECT_THAT(status().reason, HasSubstr("does not cover www.test"));
  EXPECT_THAT(log_lines, HasSubstr("level=warn event=certificate.read"));
}

TEST_F(SecretSourceTest, WhatIsDeletedUnderUsStaysServed) {
  server.put("tls", certificate());
  start();
  server.remove("tls");
  loop.advance(2s);
  EXPECT_EQ(status().state, State::kMissing);
  EXPECT_EQ(served.size(), 1u);
  EXPECT_EQ(count(log_lines, "event=secret_source.missing"), 1);
  const auto again = certificate();
  server.put("tls", again);
  loop.advance(2s);
  EXPECT_EQ(served.back()->facts.serial_hex, again->facts.serial_hex);
}

TEST_F(SecretSourceTest, SaysThatThereIsNoSuchSecretAndTakesItWhenItComes) {
  start();
  EXPECT_EQ(status().state, State::kMissing);
  EXPECT_THAT(log_lines, HasSubstr("serving=\"a temporary one\""));
  server.put("tls", certificate());
  loop.advance(2s);
  EXPECT_EQ(served.size(), 1u);
}

TEST_F(SecretSourceTest, SaysWhyTheServerCannotBeAsked) {
  server.is_down = true;
  start({{"shop", certificate()}});
  EXPECT_EQ(status().state, State::kStale);
  EXPECT_THAT(status().reason, HasSubstr("nobody answers"));
  server.is_down = false;
  server.is_denied = true;
  loop.advance(1min);
  EXPECT_EQ(status().state, State::kDenied);
  EXPECT_TRUE(has_metric("gatehouse_secret_source_in_sync{secret=\"ns/tls\"} 0"));
  server.is_denied = false;
  server.put("tls", certificate());
  loop.advance(3min);
  EXPECT_EQ(status().state, State::kSynced);
  EXPECT_TRUE(has_metric("gatehouse_secret_source_in_sync{secret=\"ns/tls\"} 1"));
}

TEST_F(SecretSourceTest, ManySecretsOfANamespaceShareAWatch) {
  std::vector<SourceTarget> targets;
  for (std::size_t i = 0; i <= SecretSource::kWatchesMax; ++i) {
    targets.push_back({{"ns", "s" + std::to_string(i)}, "c" + std::to_string(i), {}});
    server.put("s" + std::to_string(i), certificate());
  }
  source.use(targets, {});
  source.start();
  loop.advance(2s);
  EXPECT_EQ(server.lists, 1);
  EXPECT_EQ(served.size(), targets.size());
  // One fewer, one that is new: the new one is seen, and nothing is served twice.
  targets.erase(targets.begin());
  targets.push_back({{"ns", "new"}, "new", {}});
  server.put("new", certificate());
  server.put("s0", certificate());
  source.use(targets, {});
  loop.advance(2s);
  EXPECT_EQ(served.size(), targets.size() + 1);
  EXPECT_EQ(served.back()->name, "new");
  // Few are watched each by its name, which needs less of a role.
  targets.resize(2);
  source.use(targets, {});
  loop.advance(2s);
  EXPECT_THAT(kube.requests.back().url, HasSubstr("fieldSelector=metadata.name"));
  EXPECT_EQ(served.size(), 34u);
}

TEST_F(SecretSourceTest, AWatchForAllThatIsDeniedSaysWhatRoleItNeeds) {
  server.is_denied = true;
  std::vector<SourceTarget> targets;
  for (std::size_t i = 0; i <= SecretSource::kWatchesMax; ++i)
    targets.push_back({{"ns", "s" + std::to_string(i)}, "c" + std::to_string(i), {}});
  source.use(targets, {});
  source.start();
  loop.advance(2s);
  EXPECT_EQ(status().state, State::kDenied);
  EXPECT_THAT(status().reason, HasSubstr("without resourceNames"));
  source.use({targets[0]}, {});
  loop.advance(2s);
  EXPECT_THAT(status().reason, Not(HasSubstr("resourceNames")));
}

TEST_F(SecretSourceTest, ASecretGivenToAnotherCertificateIsReadForIt) {
  server.put("tls", certificate());
  start();
  source.use({{{"ns", "tls"}, "other", {}}}, {});
  loop.advance(2s);
  ASSERT_EQ(served.size(), 2u);
  EXPECT_EQ(served[1]->name, "other");
}

}  // namespace
}  // namespace gatehouse::store
