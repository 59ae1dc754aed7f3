#include "store/certificate_store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <fstream>

#include "daemon/base/log.h"
#include "daemon/base/random.h"
#include "daemon/net/job_thread.h"
#include "store/account_store.h"
#include "store/database.h"
#include "tests/store/failing_vfs.h"
#include "tests/support/await.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_certificates.h"
#include "tests/support/test_loop.h"

namespace gatehouse::store {
namespace {

/// The stores over a database in memory, or on a disk.
struct Stores {
  explicit Stores(TestLoop& given, const std::string& directory = "")
      : loop(given), database(open(given, directory)) {}
  static std::unique_ptr<Database> open(TestLoop& loop, const std::string& directory) {
    auto opened = directory.empty() ? Database::open_in_memory()
                                    : Database::open(Options{directory}, loop.clock());
    EXPECT_TRUE(opened) << (opened ? "" : opened.error().message);
    return std::move(*opened);
  }
  TestLoop& loop;
  net::JobThread jobs = net::JobThread::inline_for_tests(loop);
  std::unique_ptr<Database> database;
  CertificateStore certificates{*database, jobs};
  AccountStore accounts{*database, jobs};

  template <class T>
  T wait(boost::asio::awaitable<T> coroutine) {
    Awaited<T> awaited(loop, std::move(coroutine));
    EXPECT_TRUE(awaited.is_done());
    return std::move(*awaited);
  }
};

CertificateRecord record_of(const net::CredentialPtr& credential) {
  CertificateRecord record;
  record.name = credential->name;
  record.names = credential->facts.dns_names;
  record.chain_pem = credential->chain.to_pem();
  record.key_pem = *credential->key.to_pem();
  record.ca = "ca";
  record.issued_at = credential->facts.not_before;
  return record;
}

struct CertificateStoreTest : testing::Test {
  TestLoop loop;
  Stores stores{loop};
  CertificateStore& store = stores.certificates;
  WallTime now = loop.clock().wall_now();

  net::CredentialPtr certificate(Duration from, Duration to, const std::string& name = "www.test") {
    const auto at = [this](Duration by) {
      return now + std::chrono::duration_cast<WallTime::duration>(by);
    };
    return make_test_certificate(name, {name}, at(from), at(to));
  }
  void save(const net::CredentialPtr& credential) {
    const auto saved = stores.wait(store.save(record_of(credential)));
    ASSERT_TRUE(saved) << saved.error().message;
  }
  std::string loaded_serial() {
    const auto loaded = store.load_all(now);
    return loaded && loaded->size() == 1 ? loaded->front().credential->facts.serial_hex : "";
  }
  std::int64_t count(const std::string& table) {
    auto row = stores.database->prepare("SELECT count(*) FROM " + table);
    return row && row->step() ? row->integer(0) : -1;
  }
};

TEST_F(CertificateStoreTest, GivesACertificateBackWithItsKey) {
  const auto saved = certificate(-24h, 24h);
  save(saved);
  const auto loaded = store.load_all(now);
  ASSERT_TRUE(loaded);
  ASSERT_EQ(loaded->size(), 1u);
  EXPECT_EQ(loaded->front().credential->name, "www.test");
  EXPECT_EQ(loaded->front().credential->facts.serial_hex, saved->facts.serial_hex);
  EXPECT_TRUE(loaded->front().credential->chain.matches(loaded->front().credential->key));
  EXPECT_EQ(loaded->front().ca, "ca");
}

TEST_F(CertificateStoreTest, LoadsTheNewestOfAName) {
  save(certificate(-48h, 240h));
  const auto newest = certificate(-1h, 24h);
  save(newest);
  EXPECT_EQ(loaded_serial(), newest->facts.serial_hex);
}

// ACME.md section 6, item 28: a days-old expired certificate was served.
TEST_F(CertificateStoreTest, PrefersAValidCertificateToANewerExpiredOne) {
  const auto valid = certificate(-48h, 240h);
  save(valid);
  save(certificate(-24h, -1h));
  EXPECT_EQ(loaded_serial(), valid->facts.serial_hex);
}

TEST_F(CertificateStoreTest, StillLoadsAnExpiredOneWhenThereIsNoOther) {
  const auto expired = certificate(-48h, -1h);
  save(expired);
  EXPECT_EQ(loaded_serial(), expired->facts.serial_hex);
}

TEST_F(CertificateStoreTest, KeepsTheTwoPreviousCertificatesAndPrunesOlderOnes) {
  for (int i = 0; i < 5; ++i) save(certificate(-24h, 24h + i * 1h));
  save(certificate(-24h, 24h, "other.test"));
  EXPECT_EQ(count("certificates WHERE name = 'www.test'"), 3);
  EXPECT_EQ(count("certificates WHERE name = 'other.test'"), 1);
}

TEST_F(CertificateStoreTest, RefusesAKeyThatDoesNotMatch) {
  auto record = record_of(certificate(-24h, 24h));
  record.key_pem = *net::PrivateKey::generate(net::KeyKind::kEcdsaP256)->to_pem();
  EXPECT_FALSE(stores.wait(store.save(record)));
  EXPECT_EQ(count("certificates"), 0);
}

// ACME.md section 6, item 28: one bad row blocked a name, or all of them.
TEST_F(CertificateStoreTest, FallsBackToThePreviousCertificateWhenARowIsUnusable) {
  const auto previous = certificate(-48h, 24h);
  save(previous);
  save(certificate(-24h, 24h));
  save(certificate(-24h, 24h, "a.test"));
  ASSERT_TRUE(stores.database->run(
      "UPDATE certificates SET chain_pem = 'x' WHERE id = (SELECT max(id) FROM certificates WHERE "
      "name = 'www.test')"));
  const auto loaded = store.load_all(now);
  ASSERT_TRUE(loaded);
  ASSERT_EQ(loaded->size(), 2u);
  EXPECT_EQ(loaded->back().credential->facts.serial_hex, previous->facts.serial_hex);
}

TEST_F(CertificateStoreTest, GivesRenewalFactsBackAsTheyWere) {
  RenewalFacts facts;
  facts.name = "www.test";
  facts.next_try = now + 1h;
  facts.attempts = 4;
  facts.ca = "second";
  facts.ca_attempts = 1;
  facts.last_error = LastError{"dns", "no address", "first", now};
  facts.last_issued = now - 1h;
  facts.replaces_refused = "id";
  ASSERT_TRUE(stores.wait(store.save_facts(facts)));
  const auto state = store.load_renewal();
  ASSERT_TRUE(state && state->facts.contains("www.test"));
  const auto& read = state->facts.at("www.test");
  EXPECT_EQ(read.next_try, facts.next_try);
  EXPECT_EQ(read.attempts, 4);
  EXPECT_EQ(read.ca, "second");
  EXPECT_EQ(read.ca_attempts, 1);
  ASSERT_TRUE(read.last_error);
  EXPECT_EQ(read.last_error->problem_type, "dns");
  EXPECT_EQ(read.last_error->message, "no address");
  EXPECT_EQ(read.last_error->ca, "first");
  EXPECT_EQ(read.last_error->at, now);
  EXPECT_EQ(read.last_issued, facts.last_issued);
  EXPECT_EQ(read.replaces_refused, "id");
}

TEST_F(CertificateStoreTest, GivesAWindowBackAsItWas) {
  AriFacts ari;
  ari.ari_id = "id";
  ari.start = now + 1h;
  ari.end = now + 2h;
  ari.chosen = now + 90min;
  ari.next_poll = now + 6h;
  ari.failures = 2;
  ari.explanation_url = "https://ca.test/why";
  ASSERT_TRUE(stores.wait(store.save_ari("www.test", ari)));
  const auto state = store.load_renewal();
  ASSERT_TRUE(state && state->ari.contains("www.test"));
  const auto& read = state->ari.at("www.test");
  EXPECT_EQ(read.ari_id, "id");
  EXPECT_EQ(read.start, ari.start);
  EXPECT_EQ(read.end, ari.end);
  EXPECT_EQ(read.chosen, ari.chosen);
  EXPECT_EQ(read.next_poll, ari.next_poll);
  EXPECT_EQ(read.failures, 2);
  EXPECT_EQ(read.explanation_url, ari.explanation_url);
}

TEST_F(CertificateStoreTest, DropsTheWindowOfAnOlderLeafWithANewCertificate) {
  AriFacts ari;
  ari.ari_id = "old";
  ASSERT_TRUE(stores.wait(store.save_ari("www.test", ari)));
  save(certificate(-24h, 24h));
  EXPECT_EQ(count("ari"), 0);
}

TEST_F(CertificateStoreTest, ReplacesAHoldOfTheSameName) {
  ASSERT_TRUE(stores.wait(store.save_hold(Hold{"ca", "", now})));
  ASSERT_TRUE(stores.wait(store.save_hold(Hold{"ca", "", now + 1h})));
  const auto state = store.load_renewal();
  ASSERT_TRUE(state);
  ASSERT_EQ(state->holds.size(), 1u);
  EXPECT_EQ(state->holds.front().not_before, now + 1h);
}

TEST_F(CertificateStoreTest, KeepsTheFirstRootOfACa) {
  ASSERT_TRUE(stores.wait(store.keep_root(Root{"local", "first", "key"})));
  const auto kept = stores.wait(store.keep_root(Root{"local", "second", "other"}));
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->chain_pem, "first");
  EXPECT_EQ(kept->key_pem, "key");
  EXPECT_EQ(store.load_roots()->size(), 1u);
}

TEST_F(CertificateStoreTest, ForgetsEverythingOfAName) {
  save(certificate(-24h, 24h));
  ASSERT_TRUE(stores.wait(store.save_hold(Hold{"ca", "www.test", now})));
  ASSERT_TRUE(stores.wait(store.forget("www.test")));
  EXPECT_EQ(count("certificates") + count("holds") + count("renewal") + count("ari"), 0);
}

Order order_of(const std::string& name) {
  Order order;
  order.certificate = name;
  order.names = {name};
  order.key_pem = "key";
  return order;
}

TEST_F(CertificateStoreTest, EndsAnOrderTogetherWithItsCertificate) {
  ASSERT_TRUE(stores.wait(stores.accounts.save_order(order_of("www.test"))));
  RenewalFacts facts;
  facts.name = "www.test";
  facts.last_issued = now;
  ASSERT_TRUE(stores.wait(store.finish_order(record_of(certificate(-1h, 24h)), facts)));
  EXPECT_EQ(count("orders"), 0);
  EXPECT_EQ(count("certificates"), 1);
  EXPECT_EQ(store.load_renewal()->facts.at("www.test").last_issued, now);
}

/// The n-th operation of the disk fails: all of the order's end happens, or nothing does.
TEST(CertificateStoreOnABadDisk, EndsAnOrderWhollyOrNotAtAll) {
  TestLoop loop;
  const WallTime now = loop.clock().wall_now();
  const auto record =
      record_of(make_test_certificate("www.test", {"www.test"}, now - 1h, now + 24h));
  for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC}) {
    FailingVfs disk;
    for (int n = 1;; ++n) {
      ASSERT_LT(n, 200);
      TemporaryDirectory root;
      Stores stores(loop, root.path());
      ASSERT_TRUE(stores.wait(stores.accounts.save_order(order_of("www.test"))));
      RenewalFacts facts;
      facts.name = "www.test";
      disk.fail_at(n, code);
      const auto ended = stores.wait(stores.certificates.finish_order(record, facts));
      disk.space_returns();
      if (!disk.has_failed()) break;
      const auto certificates = stores.certificates.load_all(now);
      const auto orders = stores.accounts.load_orders();
      ASSERT_TRUE(certificates && orders) << n;
      EXPECT_EQ(certificates->size(), ended ? 1u : 0u) << n;
      EXPECT_EQ(orders->size(), ended ? 0u : 1u) << n;
      if (ended) continue;
      EXPECT_EQ(ended.error().fault, code == SQLITE_FULL ? Fault::kDiskFull : Fault::kIo) << n;
      ASSERT_TRUE(stores.wait(stores.certificates.finish_order(record, facts))) << n;
      EXPECT_TRUE(stores.database->quick_check());
    }
  }
}

/// Whatever bytes are flipped: no crash, a database that works, and what is read is whole.
TEST(CertificateStoreOnABadDisk, OpensWithAnyBytesFlipped) {
  TestLoop loop;
  const WallTime now = loop.clock().wall_now();
  TemporaryDirectory root;
  {
    Stores stores(loop, root.path());
    for (const char* name : {"a.test", "b.test", "c.test"}) {
      const auto record = record_of(make_test_certificate(name, {name}, now - 1h, now + 24h));
      ASSERT_TRUE(stores.wait(stores.certificates.save(record)));
      ASSERT_TRUE(stores.wait(stores.accounts.save_order(order_of(name))));
    }
  }
  std::ifstream file(root / "gatehouse.db", std::ios::binary);
  const std::string sound((std::istreambuf_iterator<char>(file)), {});
  SeededRandom random(20260801);
  std::string lines;
  capture_log(&lines);
  for (int i = 0; i < 200; ++i) {
    TemporaryDirectory damaged;
    std::string bytes = sound;
    // Half of the flips go where they hurt most: the header and the schema.
    for (int flips = 1 + static_cast<int>(random.below(4)); flips > 0; --flips)
      bytes[random.below(i % 2 ? bytes.size() : 1000)] ^= static_cast<char>(1 + random.below(255));
    std::ofstream(damaged / "gatehouse.db", std::ios::binary) << bytes;
    std::filesystem::permissions(damaged / "gatehouse.db", std::filesystem::perms(0600));
    auto opened = Database::open(Options{damaged.path()}, loop.clock());
    ASSERT_TRUE(opened) << i << ": " << opened.error().message;
    net::JobThread jobs = net::JobThread::inline_for_tests(loop);
    CertificateStore store(**opened, jobs);
    AccountStore accounts(**opened, jobs);
    const auto loaded = store.load_all(now);
    ASSERT_TRUE(loaded) << i << ": " << loaded.error().message;
    for (const auto& one : *loaded)
      EXPECT_TRUE(one.credential->chain.matches(one.credential->key)) << i;
    (void)accounts.load_orders();
    (void)accounts.load_accounts();
    (void)store.load_renewal();
  }
  capture_log(nullptr);
}

}  // namespace
}  // namespace gatehouse::store
