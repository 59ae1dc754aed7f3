#pragma once
// The one SQLite database of a state directory: opening with every check, pragmas, migrations,
// statements and transactions. Owned by the roof. After start it is used by ONE thread, the store's
// JobThread; at start, before the loop runs, by the thread that opens it. It knows no table but
// the ones of schema.h, and nothing of what rows mean: the stores do.
//
// Errors: SQLITE_FULL is kDiskFull, IOERR kIo, CORRUPT and NOTADB kCorrupt, BUSY and LOCKED
// kTimeout, constraints kConflict, READONLY and PERM kPermission.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "store/options.h"
#include "store/state_directory.h"

struct sqlite3;
struct sqlite3_stmt;

namespace gatehouse::store {

/// A prepared statement with its values. Values are copied when bound; columns count from 0.
class Statement {
 public:
  Statement(sqlite3* connection, sqlite3_stmt* native, std::size_t sql_bytes)
      : connection_(connection), native_(native), sql_bytes_(sql_bytes) {}
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  /// Binds the next parameter, from the left.
  Result<void> bind(std::int64_t value);
  Result<void> bind(int value) { return bind(std::int64_t{value}); }
  Result<void> bind(std::string_view value);
  Result<void> bind(const std::string& value) { return bind(std::string_view(value)); }
  Result<void> bind(const char* value) { return bind(std::string_view(value)); }
  Result<void> bind(WallTime value);
  Result<void> bind(std::nullopt_t);
  template <class T>
  Result<void> bind(const std::optional<T>& value) {
    return value ? bind(*value) : bind(std::nullopt);
  }

  /// The next row: true while there is one.
  Result<bool> step();

  std::int64_t integer(int column) const;
  std::string text(int column) const;
  WallTime time(int column) const;
  std::optional<WallTime> optional_time(int column) const;
  bool is_null(int column) const;
  /// Only white space and comments: nothing to run.
  bool is_empty() const { return native_ == nullptr; }
  /// How much of the given SQL this statement is; the rest was not looked at.
  std::size_t sql_bytes() const { return sql_bytes_; }

 private:
  sqlite3* connection_;
  sqlite3_stmt* native_;
  std::size_t sql_bytes_;
  int bound_ = 0;
};

/// Set when a damaged database had to be replaced at open.
struct Recovery {
  std::string reason;                  // what SQLite said
  std::vector<std::string> set_aside;  // where the damaged files are now
  std::size_t rows_salvaged = 0;       // rows that could still be read, and were kept
};

class Database {
 public:
  /// Opens (and makes, migrates, repairs) the database of a state directory, which stays locked
  /// while the Database lives. A damaged file is set aside and what can be read of it is kept.
  static Result<std::unique_ptr<Database>> open(const Options& options, const Clock& clock);
  /// For tests and for `state`-less runs: the same schema, nothing on disk.
  static Result<std::unique_ptr<Database>> open_in_memory();
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// Prepares SQL and binds the values from the left.
  template <class... Values>
  Result<Statement> prepare(std::string_view sql, const Values&... values) {
    auto statement = prepare_only(sql);
    if (!statement) return statement;
    Result<void> bound;
    ((bound = bound ? statement->bind(values) : bound), ...);
    if (!bound) return std::move(bound).error();
    return statement;
  }
  /// Prepares, binds and runs a statement that gives no rows.
  template <class... Values>
  Result<void> run(std::string_view sql, const Values&... values) {
    auto statement = prepare(sql, values...);
    if (!statement) return std::move(statement).error();
    auto row = statement->step();
    if (!row) return std::move(row).error();
    return {};
  }

  /// What happened at open; nothing when the file was sound.
  const std::optional<Recovery>& recovery() const { return recovery_; }
  /// `PRAGMA quick_check`, for status and tests.
  Result<void> quick_check();
  const std::string& path() const { return path_; }

 private:
  friend class Transaction;
  explicit Database(sqlite3* connection, std::string path)
      : connection_(connection), path_(std::move(path)) {}
  /// How the index of the write-ahead log is kept: in a file beside it, where other processes may
  /// read along, or in memory, which needs no room on the disk.
  enum class Index : std::uint8_t { kFile, kMemory };
  static Result<std::unique_ptr<Database>> open_sound(const std::string& path,
                                                      Index index = Index::kFile);
  static Result<std::unique_ptr<Database>> replace_damaged(const std::string& path,
                                                           const Error& damage, const Clock& clock);
  Result<Statement> prepare_only(std::string_view sql);
  Result<void> apply_pragmas();
  Result<void> check_tables();
  bool is_in_transaction() const;

  std::optional<StateDirectory> directory_;  // its lock; unlocked after the connection is closed
  sqlite3* connection_;
  std::string path_;
  std::optional<Recovery> recovery_;
};

/// BEGIN IMMEDIATE; rolls back unless committed. One at a time per Database.
class Transaction {
 public:
  static Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(other.database_) {
    other.database_ = nullptr;
  }
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  /// After an error the transaction is rolled back and nothing of it remains.
  Result<void> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

/// Names are kept as one text, a name per line.
std::string join_names(const std::vector<std::string>& names);
std::vector<std::string> split_names(std::string_view text);

}  // namespace gatehouse::store
