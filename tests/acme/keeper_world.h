#pragma once
// A keeper with two scripted CAs over a database in memory, restartable, its time moved by hand.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "acme/keeper.h"
#include "daemon/base/log.h"
#include "daemon/net/job_thread.h"
#include "store/database.h"
#include "tests/support/await.h"
#include "tests/support/fake_authority.h"
#include "tests/support/fake_fleet.h"
#include "tests/support/test_loop.h"

namespace gatehouse::acme {

struct KeeperWorld : testing::Test {
  TestLoop loop;
  SeededRandom random{20260801};
  Metrics metrics;
  net::JobThread jobs = net::JobThread::inline_for_tests(loop);
  std::unique_ptr<store::Database> database = *store::Database::open_in_memory();
  store::CertificateStore certificates{*database, jobs};
  store::AccountStore orders{*database, jobs};
  FakeAuthority ca{loop, "ca"}, second{loop, "second"};
  std::map<std::string, std::vector<net::CredentialPtr>> served;
  std::string log_lines;
  FakeFleet* fleet = nullptr;
  std::unique_ptr<Keeper> keeper;

  KeeperWorld() { capture_log(&log_lines); }
  ~KeeperWorld() override {
    stop();
    capture_log(nullptr);
  }

  static ManagedCertificate wanted(const std::string& name,
                                   std::vector<std::string> issuers = {"ca"}) {
    return {name, {name}, std::move(issuers), KeyType::kEcdsaP256};
  }
  void use(std::vector<ManagedCertificate> all) {
    keeper->set_certificates(std::move(all), {&ca, &second});
  }
  /// Builds and starts a keeper over what the store has.
  void start(std::vector<ManagedCertificate> all) {
    stop();
    keeper = std::make_unique<Keeper>(
        Keeper::Parts{loop, random, metrics, certificates, orders, fleet},
        [this](net::CredentialPtr one) { served[one->name].push_back(std::move(one)); });
    EXPECT_TRUE(keeper->load());
    use(std::move(all));
    keeper->start();
  }
  void stop() {
    if (!keeper) return;
    bool is_done = false;
    boost::asio::co_spawn(loop.context(), keeper->stop(),
                          [&is_done](const std::exception_ptr&) { is_done = true; });
    loop.run_ready();
    EXPECT_TRUE(is_done);
    keeper.reset();
  }
  CertificateStatus status(const std::string& name = "www.test") {
    for (auto& one : keeper->status())
      if (one.name == name) return one;
    ADD_FAILURE() << "no status of " << name;
    return {};
  }
  net::CredentialPtr current(const std::string& name = "www.test") {
    return served[name].empty() ? nullptr : served[name].back();
  }
  std::int64_t count(const std::string& table) {
    auto row = database->prepare("SELECT count(*) FROM " + table);
    return row && row->step() ? row->integer(0) : -1;
  }
  WallTime now() { return loop.clock().wall_now(); }
  WallTime at(Duration from_now) {
    return now() + std::chrono::duration_cast<WallTime::duration>(from_now);
  }
  /// The world has a certificate, and time went on to `age`.
  void start_with_certificate(Duration age = 2h) {  // before its renewal
    start({wanted("www.test")});
    loop.advance(age);
    ASSERT_EQ(ca.issued, 1);
  }
};

}  // namespace gatehouse::acme
