#include "store/schema.h"

#include <fmt/format.h>

#include <string>

#include "store/database.h"

namespace gatehouse::store {
namespace {

// STRICT: a value of another type is refused, also when rows are salvaged from a damaged file.
constexpr std::string_view kMigrations[] = {
    R"sql(
CREATE TABLE certificates(
  id INTEGER PRIMARY KEY,           -- the highest of a name is its newest
  name TEXT NOT NULL,
  fingerprint TEXT NOT NULL,        -- SHA-256 of the leaf
  names TEXT NOT NULL,
  chain_pem TEXT NOT NULL,
  key_pem TEXT NOT NULL,
  ca TEXT NOT NULL,
  issued_at INTEGER NOT NULL,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  UNIQUE(name, fingerprint)) STRICT;

CREATE TABLE renewal(
  name TEXT PRIMARY KEY,
  next_try INTEGER,
  attempts INTEGER NOT NULL,
  ca TEXT NOT NULL,
  ca_attempts INTEGER NOT NULL,
  error_type TEXT,                  -- the four are null together
  error_message TEXT,
  error_ca TEXT,
  error_at INTEGER,
  last_issued INTEGER,
  replaces_refused TEXT NOT NULL) STRICT;

CREATE TABLE ari(
  name TEXT NOT NULL,
  ari_id TEXT NOT NULL,
  start_at INTEGER,
  end_at INTEGER,
  chosen_at INTEGER,
  next_poll INTEGER,
  failures INTEGER NOT NULL,
  explanation_url TEXT NOT NULL,
  PRIMARY KEY(name, ari_id)) STRICT;

CREATE TABLE holds(
  ca TEXT NOT NULL,
  name TEXT NOT NULL,               -- empty: every certificate of that CA
  not_before INTEGER NOT NULL,
  PRIMARY KEY(ca, name)) STRICT;

CREATE TABLE accounts(
  directory TEXT NOT NULL,
  email TEXT NOT NULL,
  key_pem TEXT NOT NULL,
  url TEXT NOT NULL,
  status TEXT NOT NULL,
  terms_agreed TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY(directory, email)) STRICT;

CREATE TABLE orders(
  certificate TEXT PRIMARY KEY,
  ca TEXT NOT NULL,
  directory TEXT NOT NULL,
  names TEXT NOT NULL,
  step INTEGER NOT NULL,
  key_pem TEXT NOT NULL,
  order_url TEXT NOT NULL,
  finalize_url TEXT NOT NULL,
  certificate_url TEXT NOT NULL,
  replaces TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  expires_at INTEGER) STRICT;

CREATE TABLE roots(
  ca TEXT PRIMARY KEY,
  chain_pem TEXT NOT NULL,
  key_pem TEXT NOT NULL) STRICT;
)sql",
};

Result<std::int64_t> one_number(Database& database, std::string_view sql) {
  auto statement = database.prepare(sql);
  if (!statement) return std::move(statement).error();
  auto row = statement->step();
  if (!row) return std::move(row).error();
  return *row ? statement->integer(0) : 0;
}

/// A script of several statements: each is prepared from where the last one ended.
Result<void> run_script(Database& database, std::string_view script) {
  while (!script.empty()) {
    auto statement = database.prepare(script);
    if (!statement) return std::move(statement).error();
    if (statement->is_empty()) break;
    auto row = statement->step();
    if (!row) return std::move(row).error();
    script.remove_prefix(statement->sql_bytes());
  }
  return {};
}

/// The version is kept twice: one flipped bit in the file's header must neither make the tables
/// look newer than we are, nor absent.
Result<std::int64_t> version_of(Database& database) {
  auto version = one_number(database, "PRAGMA user_version");
  if (!version) return version;
  auto tables = one_number(database, "SELECT count(*) FROM sqlite_schema");
  if (!tables) return tables;
  if (*tables == 0 && *version == 0) return 0;
  auto known = one_number(database, "SELECT version FROM schema_version");
  if (!known || *known != *version || *version <= 0)
    return Error{Fault::kCorrupt,
                 fmt::format("schema version {} does not fit its tables", *version)};
  return version;
}

Result<void> take_step(Database& database, std::string_view script, std::int64_t version) {
  auto transaction = Transaction::begin(database);
  if (!transaction) return std::move(transaction).error();
  if (version == 1) {
    auto made = database.run("CREATE TABLE schema_version(version INTEGER NOT NULL) STRICT");
    if (made) made = database.run("INSERT INTO schema_version VALUES(0)");
    if (!made) return made;
  }
  if (auto done = run_script(database, script); !done) return done;
  if (auto kept = database.run("UPDATE schema_version SET version = ?", version); !kept)
    return kept;
  auto marked = database.run(fmt::format("PRAGMA user_version = {}", version));
  if (!marked) return marked;
  return transaction->commit();
}

}  // namespace

std::span<const std::string_view> migrations() { return kMigrations; }

Result<void> migrate(Database& database, std::span<const std::string_view> steps) {
  auto version = version_of(database);
  if (!version) return std::move(version).error();
  const auto newest = static_cast<std::int64_t>(steps.size());
  if (*version > newest)
    return Error{Fault::kUnsupported,
                 fmt::format("{} was written by a newer gatehouse (schema {}, this one knows {}); "
                             "run that version, or move the file away",
                             database.path(), *version, newest)};
  for (std::int64_t next = *version + 1; next <= newest; ++next) {
    auto done = take_step(database, steps[static_cast<std::size_t>(next - 1)], next);
    if (!done)
      return std::move(done).error().in(fmt::format("upgrading the database to schema {}", next));
  }
  return {};
}

}  // namespace gatehouse::store
