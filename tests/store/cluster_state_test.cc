#include "store/cluster_state.h"

#include <gtest/gtest.h>

#include "daemon/base/log.h"
#include "tests/support/await.h"
#include "tests/support/fake_apiserver.h"
#include "tests/support/test_certificates.h"
#include "tests/support/test_loop.h"

namespace gatehouse::store {
namespace {

const ClusterNames kNames{"edge", "gatehouse", "gatehouse-state", "gatehouse-"};
const std::string kSecrets = "/api/v1/namespaces/edge/secrets/";

struct Node {
  TestLoop& loop;
  SeededRandom random{7};
  KubeClient client;
  bool may_write = true;
  std::vector<LoadedCertificate> seen;
  int states = 0;
  ClusterState state;

  Node(TestLoop& on, FakeKube& kube)
      : loop(on),
        client(on, kube),
        state({on, random, client}, kNames, "node",
              {[this] { return may_write; },
               [this](LoadedCertificate one) { seen.push_back(std::move(one)); },
               [this] { ++states; }}) {}
  ~Node() {
    bool is_done = false;
    boost::asio::co_spawn(loop.context(), state.stop(),
                          [&is_done](const std::exception_ptr&) { is_done = true; });
    loop.run_ready();
    EXPECT_TRUE(is_done);
  }

  Result<void> change(const std::string& url) {
    Awaited done(loop, state.change([url](SharedState& to) {
      to.put(Account{url, "", "PEM", "", "", "", WallTime{}});
    }));
    EXPECT_TRUE(done.is_done());
    return *done;
  }
  Result<void> publish(LoadedCertificate one) {
    Awaited done(loop, state.publish(std::move(one)));
    EXPECT_TRUE(done.is_done());
    return *done;
  }
  Result<void> read_all() {
    Awaited done(loop, state.read_all());
    EXPECT_TRUE(done.is_done());
    return *done;
  }
};

struct Shared : testing::Test {
  TestLoop loop;
  FakeKube kube;
  FakeApiserver server{kube};
  std::string log_lines;
  std::unique_ptr<Node> a, b;

  Shared() {
    capture_log(&log_lines);
    a = std::make_unique<Node>(loop, kube);
    b = std::make_unique<Node>(loop, kube);
  }
  ~Shared() override {
    a.reset();
    b.reset();
    capture_log(nullptr);
  }
  LoadedCertificate certificate(Duration age = 1h) {
    const WallTime now = loop.clock().wall_now();
    const auto begun = now - std::chrono::duration_cast<WallTime::duration>(age);
    return {make_test_certificate("www.test", {"www.test"}, begun, begun + 90 * 24h), "ca", begun};
  }
};

TEST_F(Shared, AChangeIsSeenByWhoReads) {
  ASSERT_TRUE(a->change("https://one/dir"));
  EXPECT_TRUE(a->state.is_stored());
  ASSERT_TRUE(b->read_all());
  EXPECT_NE(b->state.state().find_account("https://one/dir", ""), nullptr);
  EXPECT_EQ(b->states, 1);
}

TEST_F(Shared, AChangeOnTopOfAnOlderVersionIsMadeAgainOnTheNewOne) {
  ASSERT_TRUE(a->change("https://one/dir"));
  ASSERT_TRUE(b->read_all());
  ASSERT_TRUE(b->change("https://two/dir"));
  ASSERT_TRUE(a->change("https://three/dir"));
  EXPECT_EQ(a->state.state().accounts.size(), 3u);
}

TEST_F(Shared, WhoMayNotWriteChangesNothing) {
  ASSERT_TRUE(a->change("https://one/dir"));
  const int writes = server.writes;
  a->may_write = false;
  EXPECT_EQ(a->change("https://two/dir").error().fault, Fault::kCancelled);
  EXPECT_EQ(a->publish(certificate()).error().fault, Fault::kCancelled);
  EXPECT_EQ(server.writes, writes);
  EXPECT_EQ(a->state.state().accounts.size(), 1u);
}

// Its picture was right when it was paused; another one holds the Lease and has written since.
TEST_F(Shared, ALateWriteIsFencedOffByVersion) {
  ASSERT_TRUE(a->publish(certificate(3h)));
  ASSERT_TRUE(b->read_all());
  const auto newer = certificate(1h);
  server.before_write = [&] {
    const auto secret = to_secret(newer, kNames, "other");
    server.put(kSecrets + "gatehouse-www.test", parse_json(apply_body(*secret))->as_object());
    a->may_write = false;  // It finds out before it tries again.
  };
  const int writes = server.writes;
  (void)a->publish(certificate(2h));
  EXPECT_EQ(server.writes, writes);
  ASSERT_TRUE(b->read_all());
  EXPECT_EQ(b->state.fingerprint("www.test"), newer.credential->facts.fingerprint_sha256_hex);
}

TEST_F(Shared, ANewerCertificateStays) {
  const auto newer = certificate(1h);
  ASSERT_TRUE(a->publish(newer));
  const int writes = server.writes;
  ASSERT_TRUE(b->publish(certificate(2h)));
  EXPECT_EQ(server.writes, writes);
  ASSERT_EQ(b->seen.size(), 1u);
  EXPECT_EQ(b->seen[0].credential->facts.serial_hex, newer.credential->facts.serial_hex);
}

TEST_F(Shared, ASecretThatIsNotOursIsLeftAlone) {
  server.put(kSecrets + "gatehouse-www.test",
             {{"metadata", {{"name", "gatehouse-www.test"}, {"namespace", "edge"}}},
              {"type", "kubernetes.io/tls"}});
  const auto result = a->publish(certificate());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().fault, Fault::kConflict);
  EXPECT_EQ(server.writes, 0);
}

TEST_F(Shared, AStateThatWasDeletedIsMadeAgain) {
  ASSERT_TRUE(a->change("https://one/dir"));
  server.objects.clear();
  ASSERT_TRUE(a->change("https://two/dir"));
  EXPECT_EQ(a->state.state().accounts.size(), 2u);
  ASSERT_TRUE(b->read_all());
  EXPECT_EQ(b->state.state().accounts.size(), 2u);
}

TEST_F(Shared, GarbageInTheStateIsNotOverwritten) {
  ASSERT_TRUE(a->change("https://one/dir"));
  auto object = server.objects.at(kSecrets + "gatehouse-state");
  object["data"].as_object()["accounts.json"] = "Z2FyYmFnZQ==";
  server.put(kSecrets + "gatehouse-state", std::move(object));
  EXPECT_EQ(a->read_all().error().fault, Fault::kCorrupt);
  EXPECT_FALSE(a->change("https://two/dir"));
  EXPECT_NE(log_lines.find("event=cluster.state_unreadable"), std::string::npos);
}

TEST_F(Shared, GarbageInACertificateIsReplaced) {
  ASSERT_TRUE(a->publish(certificate()));
  auto object = server.objects.at(kSecrets + "gatehouse-www.test");
  object["data"].as_object()["tls.crt"] = "Z2FyYmFnZQ==";
  server.put(kSecrets + "gatehouse-www.test", std::move(object));
  ASSERT_TRUE(a->read_all());
  EXPECT_EQ(a->state.fingerprint("www.test"), "");
  const auto good = certificate();
  ASSERT_TRUE(a->publish(good));
  ASSERT_TRUE(b->read_all());
  EXPECT_EQ(b->state.fingerprint("www.test"), good.credential->facts.fingerprint_sha256_hex);
}

TEST_F(Shared, TheWatchTellsWhatIsThere) {
  ASSERT_TRUE(a->change("https://one/dir"));
  ASSERT_TRUE(a->publish(certificate()));
  b->state.start();
  loop.advance(1s);
  EXPECT_EQ(b->seen.size(), 1u);
  EXPECT_EQ(b->state.state().accounts.size(), 1u);
}

TEST_F(Shared, AnApiserverThatIsAwayIsAnErrorAndNothingIsForgotten) {
  ASSERT_TRUE(a->change("https://one/dir"));
  server.is_down = true;
  EXPECT_FALSE(a->change("https://two/dir"));
  EXPECT_FALSE(a->read_all());
  EXPECT_EQ(a->state.state().accounts.size(), 1u);
}

}  // namespace
}  // namespace gatehouse::store
