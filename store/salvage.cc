#include "store/salvage.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <filesystem>
#include <memory>
#include <set>

namespace gatehouse::store {
namespace {

namespace fs = std::filesystem;

constexpr int kRowsMax = 1'000'000;  // Damaged pages may point in circles.

struct CloseConnection {
  void operator()(sqlite3* connection) const { sqlite3_close(connection); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Connection = std::unique_ptr<sqlite3, CloseConnection>;
using Prepared = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

Prepared prepare(sqlite3* connection, const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  sqlite3_prepare_v2(connection, sql.c_str(), -1, &statement, nullptr);
  return Prepared(statement);
}

std::vector<std::string> first_column(sqlite3* connection, const std::string& sql) {
  std::vector<std::string> values;
  const auto statement = prepare(connection, sql);
  while (statement && sqlite3_step(statement.get()) == SQLITE_ROW) {
    const unsigned char* text = sqlite3_column_text(statement.get(), 0);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement.get(), 0));
    values.emplace_back(text ? std::string(text, text + size) : std::string());
  }
  return values;
}

/// The columns that both sides have: a damaged file may be of an older schema.
std::string shared_columns(sqlite3* damaged, sqlite3* fresh, const std::string& table, int* count) {
  const std::string sql = "SELECT name FROM pragma_table_info('" + table + "')";
  const auto found = first_column(damaged, sql);
  const std::set<std::string> there(found.begin(), found.end());
  std::string list;
  *count = 0;
  for (const auto& column : first_column(fresh, sql)) {
    if (!there.contains(column)) continue;
    list += (list.empty() ? "" : ",") + column;
    ++*count;
  }
  return list;
}

/// Reads from one end until the damage stops it.
std::size_t copy_rows(sqlite3_stmt* from, sqlite3_stmt* into, int columns, sqlite3* fresh) {
  std::size_t copied = 0;
  for (int row = 0; row < kRowsMax && sqlite3_step(from) == SQLITE_ROW; ++row) {
    for (int column = 0; column < columns; ++column)
      sqlite3_bind_value(into, column + 1, sqlite3_column_value(from, column));
    if (sqlite3_step(into) == SQLITE_DONE)
      copied += static_cast<std::size_t>(sqlite3_changes(fresh));
    sqlite3_reset(into);
  }
  return copied;
}

std::size_t salvage_table(sqlite3* damaged, sqlite3* fresh, const std::string& table) {
  int columns = 0;
  const std::string list = shared_columns(damaged, fresh, table, &columns);
  if (columns == 0) return 0;
  std::string marks = "?";
  for (int column = 1; column < columns; ++column) marks += ",?";
  const auto into =
      prepare(fresh, fmt::format("INSERT OR IGNORE INTO {}({}) VALUES({})", table, list, marks));
  if (!into) return 0;
  std::size_t copied = 0;
  // From the front, then from the back: the rows on both sides of a damaged page. NOT INDEXED keeps
  // a damaged index out of the way.
  for (const char* direction : {"ASC", "DESC"}) {
    const auto from = prepare(
        damaged,
        fmt::format("SELECT {} FROM {} NOT INDEXED ORDER BY rowid {}", list, table, direction));
    if (from) copied += copy_rows(from.get(), into.get(), columns, fresh);
  }
  return copied;
}

void remove_files(const std::string& path) {
  std::error_code ignored;  // What is left over is removed by the next rescue.
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) fs::remove(path + suffix, ignored);
}

/// A working copy: reading replays the write-ahead log into the file, and evidence stays as it is.
bool copy_files(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::copy_file(from, to, error);
  if (error) return false;
  if (fs::exists(from + "-wal", error)) fs::copy_file(from + "-wal", to + "-wal", error);
  return !error;
}

}  // namespace

Result<std::vector<std::string>> set_aside(const std::string& path, WallTime now) {
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  std::error_code error;
  std::string target;
  for (int attempt = 0; target.empty() || fs::exists(target, error); ++attempt)
    target = fmt::format("{}.damaged-{}{}", path, seconds,
                         attempt ? "." + std::to_string(attempt) : std::string());
  std::vector<std::string> moved;
  // The database goes last: a kill in between leaves it in place, to be found damaged again.
  for (const char* suffix : {"-shm", "-wal", ""}) {
    if (!fs::exists(path + suffix, error)) continue;
    fs::rename(path + suffix, target + suffix, error);
    if (error) return errno_error("setting aside " + path + suffix, error.value());
    moved.insert(moved.begin(), target + suffix);
  }
  return moved;
}

std::size_t salvage_rows(const std::string& damaged_path, sqlite3* fresh) {
  const std::string working = damaged_path + ".salvage";
  remove_files(working);
  const bool copied = copy_files(damaged_path, working);  // It fails when the disk is full.
  if (!copied) remove_files(working);
  std::size_t rows = 0;
  {
    sqlite3* opened = nullptr;
    sqlite3_open_v2((copied ? working : damaged_path).c_str(), &opened,
                    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    const Connection damaged(opened);
    const auto tables = first_column(fresh,
                                     "SELECT name FROM sqlite_schema WHERE type = 'table' "
                                     "AND name NOT IN ('schema_version', 'sqlite_sequence')");
    for (const auto& table : tables) rows += salvage_table(damaged.get(), fresh, table);
  }
  if (copied) remove_files(working);
  return rows;
}

}  // namespace gatehouse::store
