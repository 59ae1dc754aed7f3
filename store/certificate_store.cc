#include "store/certificate_store.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "daemon/base/log.h"
#include "daemon/net/job_thread.h"
#include "store/database.h"

namespace gatehouse::store {
namespace {

using boost::asio::awaitable;

constexpr int kKeptPerName = 3;  // The current one and the two before it.

/// A counter that damage may have made huge or negative.
int small_number(std::int64_t stored) {
  return static_cast<int>(std::clamp<std::int64_t>(stored, 0, 1000));
}

Result<net::CredentialPtr> read_credential(const Statement& row) {
  auto chain = net::CertificateChain::from_pem(row.text(1));
  if (!chain) return std::move(chain).error();
  auto key = net::PrivateKey::from_pem(row.text(2));
  if (!key) return std::move(key).error();
  return net::make_credential(row.text(0), std::move(*chain), std::move(*key));
}

void log_unusable(std::string_view table, const std::string& name, const Error& error) {
  log(Level::kError, "store.row_unusable")
      .with("table", table)
      .with("name", name)
      .with("error", error.message);
}

Result<void> insert_certificate(Database& database, const CertificateRecord& record) {
  auto chain = net::CertificateChain::from_pem(record.chain_pem);
  if (!chain) return std::move(chain).error().in("saving certificate " + record.name);
  auto key = net::PrivateKey::from_pem(record.key_pem);
  if (!key) return std::move(key).error().in("saving certificate " + record.name);
  auto credential = net::make_credential(record.name, std::move(*chain), std::move(*key));
  if (!credential) return std::move(credential).error().in("saving certificate " + record.name);
  const auto& facts = (*credential)->facts;
  // A certificate that comes again (an import) becomes the newest one.
  auto removed = database.run("DELETE FROM certificates WHERE name = ? AND fingerprint = ?",
                              record.name, facts.fingerprint_sha256_hex);
  if (!removed) return removed;
  auto saved = database.run(
      "INSERT INTO certificates(name, fingerprint, names, chain_pem, key_pem, ca, issued_at, "
      "not_before, not_after) VALUES(?,?,?,?,?,?,?,?,?)",
      record.name, facts.fingerprint_sha256_hex, join_names(record.names), record.chain_pem,
      record.key_pem, record.ca, record.issued_at, facts.not_before, facts.not_after);
  if (!saved) return saved;
  auto pruned = database.run(
      "DELETE FROM certificates WHERE name = ?1 AND id NOT IN "
      "(SELECT id FROM certificates WHERE name = ?1 ORDER BY id DESC LIMIT ?2)",
      record.name, kKeptPerName);
  if (!pruned) return pruned;
  return database.run("DELETE FROM ari WHERE name = ? AND ari_id <> ?", record.name, facts.ari_id);
}

Result<void> insert_facts(Database& database, const RenewalFacts& facts) {
  std::optional<std::string> type, message, ca;
  std::optional<WallTime> at;
  if (facts.last_error) {
    type = facts.last_error->problem_type;
    message = facts.last_error->message;
    ca = facts.last_error->ca;
    at = facts.last_error->at;
  }
  return database.run("INSERT OR REPLACE INTO renewal VALUES(?,?,?,?,?,?,?,?,?,?,?)", facts.name,
                      facts.next_try, facts.attempts, facts.ca, facts.ca_attempts, type, message,
                      ca, at, facts.last_issued, facts.replaces_refused);
}

RenewalFacts read_facts(const Statement& row) {
  RenewalFacts facts;
  facts.name = row.text(0);
  facts.next_try = row.optional_time(1);
  facts.attempts = small_number(row.integer(2));
  facts.ca = row.text(3);
  facts.ca_attempts = small_number(row.integer(4));
  if (!row.is_null(8))
    facts.last_error = LastError{row.text(5), row.text(6), row.text(7), row.time(8)};
  facts.last_issued = row.optional_time(9);
  facts.replaces_refused = row.text(10);
  return facts;
}

Result<void> save_now(Database& database, const CertificateRecord& record) {
  auto transaction = Transaction::begin(database);
  if (!transaction) return std::move(transaction).error();
  if (auto saved = insert_certificate(database, record); !saved) return saved;
  return transaction->commit();
}

Result<void> finish_now(Database& database, const CertificateRecord& record,
                        const RenewalFacts& facts) {
  auto transaction = Transaction::begin(database);
  if (!transaction) return std::move(transaction).error();
  auto done = insert_certificate(database, record);
  if (done) done = database.run("DELETE FROM orders WHERE certificate = ?", record.name);
  if (done) done = insert_facts(database, facts);
  if (!done) return done;
  return transaction->commit();
}

/// Only the newest leaf has a window: an older one's row would be inherited by nobody, but grow.
Result<void> save_ari_now(Database& database, const std::string& name, const AriFacts& ari) {
  auto transaction = Transaction::begin(database);
  if (!transaction) return std::move(transaction).error();
  auto done = database.run("DELETE FROM ari WHERE name = ?", name);
  if (done)
    done = database.run("INSERT INTO ari VALUES(?,?,?,?,?,?,?,?)", name, ari.ari_id, ari.start,
                        ari.end, ari.chosen, ari.next_poll, ari.failures, ari.explanation_url);
  if (!done) return done;
  return transaction->commit();
}

Result<void> forget_now(Database& database, const std::string& name) {
  auto transaction = Transaction::begin(database);
  if (!transaction) return std::move(transaction).error();
  for (const char* sql :
       {"DELETE FROM certificates WHERE name = ?", "DELETE FROM renewal WHERE name = ?",
        "DELETE FROM ari WHERE name = ?", "DELETE FROM orders WHERE certificate = ?",
        "DELETE FROM holds WHERE name = ?"}) {
    if (auto done = database.run(sql, name); !done) return done;
  }
  return transaction->commit();
}

Result<Root> keep_root_now(Database& database, const Root& root) {
  auto transaction = Transaction::begin(database);
  if (!transaction) return std::move(transaction).error();
  auto kept = database.run("INSERT OR IGNORE INTO roots VALUES(?,?,?)", root.ca, root.chain_pem,
                           root.key_pem);
  if (!kept) return std::move(kept).error();
  Root now = root;
  {
    auto row = database.prepare("SELECT chain_pem, key_pem FROM roots WHERE ca = ?", root.ca);
    if (!row) return std::move(row).error();
    auto found = row->step();
    if (!found) return std::move(found).error();
    now.chain_pem = row->text(0);
    now.key_pem = row->text(1);
  }
  if (auto done = transaction->commit(); !done) return std::move(done).error();
  return now;
}

}  // namespace

Result<std::vector<LoadedCertificate>> CertificateStore::load_all(WallTime now) {
  auto row = database_.prepare(
      "SELECT name, chain_pem, key_pem, ca, issued_at FROM certificates ORDER BY name, "
      "not_before <= ?1 AND not_after > ?1 DESC, id DESC",
      now);
  if (!row) return std::move(row).error();
  std::vector<LoadedCertificate> loaded;
  for (;;) {
    auto found = row->step();
    if (!found) {
      // Damage in the middle: what was read is still good, and better than nothing.
      log(Level::kError, "store.unreadable")
          .with("table", "certificates")
          .with("error", found.error().message);
      return loaded;
    }
    if (!*found) return loaded;
    const std::string name = row->text(0);
    if (!loaded.empty() && loaded.back().credential->name == name) continue;
    auto credential = read_credential(*row);
    if (credential)
      loaded.push_back({std::move(*credential), row->text(3), row->time(4)});
    else
      log_unusable("certificates", name, credential.error());
  }
}

Result<RenewalState> CertificateStore::load_renewal() {
  RenewalState state;
  auto facts = database_.prepare(
      "SELECT name, next_try, attempts, ca, ca_attempts, error_type, error_message, error_ca, "
      "error_at, last_issued, replaces_refused FROM renewal");
  if (!facts) return std::move(facts).error();
  for (auto more = facts->step(); !more || *more; more = facts->step()) {
    if (!more) return std::move(more).error().in("reading renewal facts");
    auto read = read_facts(*facts);
    state.facts.insert_or_assign(read.name, std::move(read));
  }
  auto ari = database_.prepare(
      "SELECT name, ari_id, start_at, end_at, chosen_at, next_poll, failures, explanation_url "
      "FROM ari");
  if (!ari) return std::move(ari).error();
  for (auto more = ari->step(); !more || *more; more = ari->step()) {
    if (!more) return std::move(more).error().in("reading renewal windows");
    AriFacts read;
    read.ari_id = ari->text(1);
    read.start = ari->optional_time(2);
    read.end = ari->optional_time(3);
    read.chosen = ari->optional_time(4);
    read.next_poll = ari->optional_time(5);
    read.failures = small_number(ari->integer(6));
    read.explanation_url = ari->text(7);
    state.ari.insert_or_assign(ari->text(0), std::move(read));
  }
  auto holds = database_.prepare("SELECT ca, name, not_before FROM holds");
  if (!holds) return std::move(holds).error();
  for (auto more = holds->step(); !more || *more; more = holds->step()) {
    if (!more) return std::move(more).error().in("reading holds");
    state.holds.push_back({holds->text(0), holds->text(1), holds->time(2)});
  }
  return state;
}

Result<std::vector<Root>> CertificateStore::load_roots() {
  auto row = database_.prepare("SELECT ca, chain_pem, key_pem FROM roots ORDER BY ca");
  if (!row) return std::move(row).error();
  std::vector<Root> roots;
  for (auto more = row->step(); !more || *more; more = row->step()) {
    if (!more) return std::move(more).error().in("reading roots");
    roots.push_back({row->text(0), row->text(1), row->text(2)});
  }
  return roots;
}

// GCC 12.2 destroys a capturing lambda twice when it is a temporary of a co_await statement: each
// job below has a name and is moved.

awaitable<Result<void>> CertificateStore::save(CertificateRecord certificate) {
  auto job = [this, record = std::move(certificate)] { return save_now(database_, record); };
  co_return co_await jobs_.run(std::move(job));
}

awaitable<Result<void>> CertificateStore::finish_order(CertificateRecord certificate,
                                                       RenewalFacts facts) {
  auto job = [this, record = std::move(certificate), facts = std::move(facts)] {
    return finish_now(database_, record, facts);
  };
  co_return co_await jobs_.run(std::move(job));
}

awaitable<Result<void>> CertificateStore::save_facts(RenewalFacts facts) {
  auto job = [this, facts = std::move(facts)] { return insert_facts(database_, facts); };
  co_return co_await jobs_.run(std::move(job));
}

awaitable<Result<void>> CertificateStore::save_ari(std::string name, AriFacts ari) {
  auto job = [this, name = std::move(name), ari = std::move(ari)] {
    return save_ari_now(database_, name, ari);
  };
  co_return co_await jobs_.run(std::move(job));
}

awaitable<Result<void>> CertificateStore::save_hold(Hold hold) {
  auto job = [this, hold = std::move(hold)] {
    return database_.run("INSERT OR REPLACE INTO holds VALUES(?,?,?)", hold.ca, hold.name,
                         hold.not_before);
  };
  co_return co_await jobs_.run(std::move(job));
}

awaitable<Result<void>> CertificateStore::forget(std::string name) {
  auto job = [this, name = std::move(name)] { return forget_now(database_, name); };
  co_return co_await jobs_.run(std::move(job));
}

awaitable<Result<Root>> CertificateStore::keep_root(Root root) {
  auto job = [this, root = std::move(root)] { return keep_root_now(database_, root); };
  co_return co_await jobs_.run(std::move(job));
}

}  // namespace gatehouse::store
