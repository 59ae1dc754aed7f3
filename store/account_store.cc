#include "store/account_store.h"

#include <utility>

#include "daemon/base/log.h"
#include "daemon/net/job_thread.h"
#include "store/database.h"

namespace gatehouse::store {
namespace {

using boost::asio::awaitable;

constexpr std::string_view kAccountColumns =
    "SELECT directory, email, key_pem, url, status, terms_agreed, created_at FROM accounts ";
constexpr std::string_view kOrderColumns =
    "SELECT certificate, ca, directory, names, step, key_pem, order_url, finalize_url, "
    "certificate_url, replaces, created_at, updated_at, expires_at FROM orders ";

Account read_account(const Statement& row) {
  Account account;
  account.directory = row.text(0);
  account.email = row.text(1);
  account.key_pem = row.text(2);
  account.url = row.text(3);
  account.status = row.text(4);
  account.terms_agreed = row.text(5);
  account.created_at = row.time(6);
  return account;
}

Result<Order> read_order(const Statement& row) {
  Order order;
  order.certificate = row.text(0);
  order.ca = row.text(1);
  order.directory = row.text(2);
  order.names = split_names(row.text(3));
  const auto step = row.integer(4);
  if (step < int{static_cast<int>(OrderStep::kKeyKept)} ||
      step > int{static_cast<int>(OrderStep::kIssued)})
    return Error{Fault::kCorrupt, "unknown step " + std::to_string(step)};
  order.step = static_cast<OrderStep>(step);
  order.key_pem = row.text(5);
  order.order_url = row.text(6);
  order.finalize_url = row.text(7);
  order.certificate_url = row.text(8);
  order.replaces = row.text(9);
  order.created_at = row.time(10);
  order.updated_at = row.time(11);
  order.expires_at = row.optional_time(12);
  if (order.names.empty() || order.key_pem.empty())
    return Error{Fault::kCorrupt, "an order without names or key"};
  return order;
}

Result<std::optional<Account>> find_account_now(Database& database, const std::string& directory,
                                                const std::string& email) {
  const std::string sql = std::string(kAccountColumns) + "WHERE directory = ? AND email = ?";
  auto row = database.prepare(sql, directory, email);
  if (!row) return std::move(row).error();
  auto found = row->step();
  if (!found) return std::move(found).error();
  if (!*found) return std::optional<Account>();
  return std::optional<Account>(read_account(*row));
}

Error other_key(const Account& account) {
  return Error{Fault::kConflict, "another account key is kept for " + account.directory};
}

Result<void> write_account(Database& database, const Account& account) {
  return database.run(
      "INSERT INTO accounts VALUES(?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET url = excluded.url, "
      "status = excluded.status, terms_agreed = excluded.terms_agreed",
      account.directory, account.email, account.key_pem, account.url, account.status,
      account.terms_agreed, account.created_at);
}

Result<void> save_account_now(Database& database, const Account& account) {
  auto transaction = Transaction::begin(database);
  if (!transaction) return std::move(transaction).error();
  auto kept = find_account_now(database, account.directory, account.email);
  if (!kept) return std::move(kept).error();
  if (*kept && (*kept)->key_pem != account.key_pem) return other_key(account);
  if (auto saved = write_account(database, account); !saved) return saved;
  return transaction->commit();
}

Result<std::optional<Order>> find_order_now(Database& database, const std::string& certificate) {
  auto row = database.prepare(std::string(kOrderColumns) + "WHERE certificate = ?", certificate);
  if (!row) return std::move(row).error();
  auto found = row->step();
  if (!found) return std::move(found).error();
  if (!*found) return std::optional<Order>();
  auto order = read_order(*row);
  if (order) return std::optional<Order>(std::move(*order));
  log(Level::kError, "store.row_unusable")
      .with("table", "orders")
      .with("name", certificate)
      .with("error", order.error().message);
  return std::optional<Order>();
}

Result<void> save_order_now(Database& database, const Order& order) {
  return database.run("INSERT OR REPLACE INTO orders VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
                      order.certificate, order.ca, order.directory, join_names(order.names),
                      static_cast<int>(order.step), order.key_pem, order.order_url,
                      order.finalize_url, order.certificate_url, order.replaces, order.created_at,
                      order.updated_at, order.expires_at);
}

}  // namespace

std::string_view to_string(OrderStep step) {
  switch (step) {
    case OrderStep::kKeyKept: return "key kept";
    case OrderStep::kOrdered: return "ordered";
    case OrderStep::kAnswersReady: return "challenge answers ready";
    case OrderStep::kChallengesSent: return "waiting for validation";
    case OrderStep::kAuthorized: return "authorized";
    case OrderStep::kFinalized: return "waiting for the certificate";
    case OrderStep::kIssued: return "issued";
  }
  return "unknown";
}

// GCC 12.2 destroys a capturing lambda twice when it is a temporary of a co_await statement: each
// job below has a name and is moved. It also takes a frame's allocation for a plain one when it
// inlines only half of Asio's pair of operators.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

awaitable<Result<std::optional<Account>>> AccountStore::find_account(std::string directory,
                                                                     std::string email) {
  auto job = [this, directory = std::move(directory), email = std::move(email)] {
    return find_account_now(database_, directory, email);
  };
  co_return co_await jobs_.run(std::move(job));
}

awaitable<Result<void>> AccountStore::save_account(Account account) {
  auto job = [this, account = std::move(account)] { return save_account_now(database_, account); };
  co_return co_await jobs_.run(std::move(job));
}

awaitable<Result<void>> AccountStore::delete_account(std::string directory, std::string email) {
  auto job = [this, directory = std::move(directory), email = std::move(email)] {
    return database_.run("DELETE FROM accounts WHERE directory = ? AND email = ?", directory,
                         email);
  };
  co_return co_await jobs_.run(std::move(job));
}

awaitable<Result<std::optional<Order>>> AccountStore::find_order(std::string certificate) {
  auto job = [this, certificate = std::move(certificate)] {
    return find_order_now(database_, certificate);
  };
  co_return co_await jobs_.run(std::move(job));
}

awaitable<Result<void>> AccountStore::save_order(Order order) {
  auto job = [this, order = std::move(order)] { return save_order_now(database_, order); };
  co_return co_await jobs_.run(std::move(job));
}

awaitable<Result<void>> AccountStore::delete_order(std::string certificate) {
  auto job = [this, certificate = std::move(certificate)] {
    return database_.run("DELETE FROM orders WHERE certificate = ?", certificate);
  };
  co_return co_await jobs_.run(std::move(job));
}

Result<std::vector<Order>> AccountStore::load_orders() {
  auto row = database_.prepare(std::string(kOrderColumns) + "ORDER BY certificate");
  if (!row) return std::move(row).error();
  std::vector<Order> orders;
  for (;;) {
    auto found = row->step();
    if (!found) return std::move(found).error().in("reading orders in flight");
    if (!*found) return orders;
    auto order = read_order(*row);
    if (order) {
      orders.push_back(std::move(*order));
      continue;
    }
    log(Level::kError, "store.row_unusable")
        .with("table", "orders")
        .with("name", row->text(0))
        .with("error", order.error().message);
  }
}

Result<std::vector<Account>> AccountStore::load_accounts() {
  auto row = database_.prepare(std::string(kAccountColumns) + "ORDER BY directory, email");
  if (!row) return std::move(row).error();
  std::vector<Account> accounts;
  for (;;) {
    auto found = row->step();
    if (!found) return std::move(found).error().in("reading accounts");
    if (!*found) return accounts;
    accounts.push_back(read_account(*row));
  }
}

Result<void> add_accounts(Database& database, std::span<const Account> accounts) {
  auto transaction = Transaction::begin(database);
  if (!transaction) return std::move(transaction).error();
  for (const Account& account : accounts) {
    auto kept = find_account_now(database, account.directory, account.email);
    if (!kept) return std::move(kept).error();
    if (*kept && (*kept)->key_pem != account.key_pem) return other_key(account);
    if (*kept) continue;
    if (auto added = write_account(database, account); !added) return added;
  }
  return transaction->commit();
}

}  // namespace gatehouse::store
