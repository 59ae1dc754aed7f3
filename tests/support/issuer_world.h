#pragma once
// An Issuer in a process that can be cut off anywhere, as kill -9 would: its loop is never run
// again, its frames are never ended. The store and the CA live on; a new process begins.

#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "acme/issuer.h"
#include "store/account_store.h"
#include "store/database.h"
#include "tests/support/await.h"
#include "tests/support/fake_ca.h"
#include "tests/support/fake_fleet.h"
#include "tests/support/test_loop.h"

namespace gatehouse {

inline acme::Ca fake_ca_options() {
  acme::Ca ca;
  ca.name = "fake";
  ca.directory = FakeCa::url("/dir");
  ca.email = "me@a.example";
  return ca;
}

/// Of somebody who is a customer of the CA already.
inline acme::Ca customer_options() {
  acme::Ca ca = fake_ca_options();
  ca.external_account = {"customer-1", "the secret of customer 1"};
  return ca;
}

inline acme::IssueTask task_for(std::vector<std::string> names) {
  acme::IssueTask task;
  task.certificate.name = names.front();
  task.certificate.names = std::move(names);
  return task;
}

class IssuerProcess {
 public:
  IssuerProcess(store::Database& database, acme::Ca ca, acme::Issuer::Past past = {})
      : accounts(database, jobs), past_(std::move(past)), ca_(std::move(ca)) {}

  /// Begins; the CA has to know this process by then (FakeCa::move_to).
  void start(acme::Transport& transport, acme::Fleet* fleet = nullptr) {
    acme::Issuer::Parts parts{loop, jobs, accounts, sink, transport, fleet};
    issuer.emplace(parts, ca_, std::move(past_));
  }
  /// Runs what is ready, and lets a second pass.
  void step() {
    loop.run_ready();
    loop.advance(1s);
  }

  TestLoop loop;
  RecordingSink sink;
  net::JobThread jobs = net::JobThread::inline_for_tests(loop);
  store::AccountStore accounts;
  std::optional<acme::Issuer> issuer;
  bool has_begun = false;
  std::optional<acme::AttemptResult> outcome;

 private:
  acme::Issuer::Past past_;
  acme::Ca ca_;
};

/// A store, a CA, and the process of the moment.
class IssuerWorld {
 public:
  explicit IssuerWorld(acme::Ca wanted = fake_ca_options(), acme::FakeFleet* shared = nullptr)
      : options(std::move(wanted)), fleet(shared), database(*store::Database::open_in_memory()) {
    auto first = std::make_unique<IssuerProcess>(*database, options);
    ca = std::make_unique<FakeCa>(first->loop, first->sink);
    process = std::move(first);
    process->start(*ca, fleet);
  }
  ~IssuerWorld() { bury(); }

  /// kill -9, and a new process. What was cut off stays reachable, and is never touched again.
  void restart(acme::Issuer::Past past = {}) {
    bury();
    process = std::make_unique<IssuerProcess>(*database, options, std::move(past));
    ca->move_to(process->loop, process->sink);
    process->start(*ca, fleet);
  }
  /// kill -9, and another node goes on, which has nothing but what was shared.
  void restart_elsewhere() {
    bury();
    static auto* lost_disks = new std::vector<std::unique_ptr<store::Database>>();
    lost_disks->push_back(std::move(database));
    database = *store::Database::open_in_memory();
    restart();
    for (const auto& [key, account] : fleet->accounts) {
      Awaited kept(process->loop, process->accounts.save_account(account));
      check(kept.is_done() && *kept, "the account is kept");
    }
    for (const auto& [name, order] : fleet->orders) {
      Awaited kept(process->loop, process->accounts.save_order(order));
      check(kept.is_done() && *kept, "the order is kept");
    }
  }

  void begin(acme::IssueTask task) {
    auto* now = process.get();
    now->has_begun = true;
    now->outcome.reset();
    boost::asio::co_spawn(now->loop.context(), now->issuer->issue(std::move(task)),
                          [now](const std::exception_ptr& thrown, acme::AttemptResult result) {
                            check(thrown == nullptr, "issue() leaks an exception");
                            now->outcome.emplace(std::move(result));
                          });
  }
  bool is_done() const { return process->outcome.has_value(); }
  /// To its end, or to where the CA keeps silent (FakeCa::keep_silent_at).
  void run_until_silent() {
    while (!is_done() && !ca->is_silent()) process->step();
  }
  /// To its end, however much time that takes.
  acme::AttemptResult finish() {
    for (int i = 0; i < 20'000 && !is_done(); ++i) process->step();
    check(is_done(), "the attempt does not end");
    return std::move(*process->outcome);
  }
  acme::AttemptResult issue(acme::IssueTask task) {
    begin(std::move(task));
    return finish();
  }

  std::optional<store::Order> order(const std::string& name) {
    Awaited found(process->loop, process->accounts.find_order(name));
    while (!found.is_done()) process->step();
    return *found ? **found : std::nullopt;
  }
  std::optional<store::Account> account() {
    Awaited found(process->loop, process->accounts.find_account(options.directory, options.email));
    while (!found.is_done()) process->step();
    return *found ? **found : std::nullopt;
  }

  acme::Ca options;
  acme::FakeFleet* fleet;
  std::unique_ptr<store::Database> database;
  std::unique_ptr<FakeCa> ca;
  std::unique_ptr<IssuerProcess> process;

 private:
  void bury() {
    if (!process) return;
    if (!process->has_begun || is_done()) {
      process.reset();
      return;
    }
    static auto* graveyard = new std::vector<IssuerProcess*>();
    graveyard->push_back(process.release());
  }
};

}  // namespace gatehouse
