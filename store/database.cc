#include "store/database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "daemon/base/log.h"
#include "store/salvage.h"
#include "store/schema.h"

namespace gatehouse::store {
namespace {

constexpr int kBusyTimeoutMs = 5000;

// Stored times are read back within these, so that arithmetic on a damaged number stays defined.
constexpr std::int64_t kEarliestMs = 0;
constexpr std::int64_t kLatestMs = 7'258'118'400'000;  // 2200-01-01

Fault fault_of(sqlite3* connection, int code) {
  switch (code & 0xff) {
    case SQLITE_FULL: return Fault::kDiskFull;
    case SQLITE_IOERR: {
      const int number = connection ? sqlite3_system_errno(connection) : 0;
      return number == ENOSPC || number == EDQUOT ? Fault::kDiskFull : Fault::kIo;
    }
    case SQLITE_CANTOPEN: return Fault::kIo;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return Fault::kCorrupt;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return Fault::kTimeout;
    case SQLITE_CONSTRAINT: return Fault::kConflict;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: return Fault::kPermission;
    case SQLITE_TOOBIG: return Fault::kTooLarge;
    default: return Fault::kInternal;
  }
}

Error sqlite_error(sqlite3* connection, int code) {
  std::string message = fmt::format("database: {}", sqlite3_errstr(code));
  const std::string_view more = connection ? sqlite3_errmsg(connection) : "";
  if (!more.empty() && more != sqlite3_errstr(code)) message += fmt::format(" ({})", more);
  return Error{fault_of(connection, code), std::move(message)};
}

/// What SQLite itself does not call damage, but takes for another format, or a read-only file.
bool has_sound_header(const std::string& path) {
  std::array<unsigned char, 100> head{};
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return true;  // SQLite will say why.
  const auto size = ::pread(file, head.data(), head.size(), 0);
  ::close(file);
  if (size <= 0) return true;  // New.
  const bool formats = head[18] == head[19] && (head[18] == 1 || head[18] == 2);
  const bool encoding = head[56] == 0 && head[57] == 0 && head[58] == 0 && head[59] <= 1;
  return size == static_cast<ssize_t>(head.size()) && formats && head[20] == 0 && encoding;
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : connection_(other.connection_),
      native_(std::exchange(other.native_, nullptr)),
      sql_bytes_(other.sql_bytes_),
      bound_(other.bound_) {}

Statement::~Statement() { sqlite3_finalize(native_); }

Result<void> Statement::bind(std::int64_t value) {
  const int code = sqlite3_bind_int64(native_, ++bound_, value);
  if (code != SQLITE_OK) return sqlite_error(connection_, code);
  return {};
}

Result<void> Statement::bind(std::string_view value) {
  const char* data = value.data() ? value.data() : "";  // A null pointer would bind NULL.
  const int code =
      sqlite3_bind_text64(native_, ++bound_, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  if (code != SQLITE_OK) return sqlite_error(connection_, code);
  return {};
}

Result<void> Statement::bind(WallTime value) {
  const auto since = value.time_since_epoch();
  return bind(std::int64_t{std::chrono::floor<std::chrono::milliseconds>(since).count()});
}

Result<void> Statement::bind(std::nullopt_t) {
  const int code = sqlite3_bind_null(native_, ++bound_);
  if (code != SQLITE_OK) return sqlite_error(connection_, code);
  return {};
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(native_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return sqlite_error(connection_, code);
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(native_, column); }

std::string Statement::text(int column) const {
  const unsigned char* data = sqlite3_column_text(native_, column);
  if (!data) return {};
  return std::string(data, data + sqlite3_column_bytes(native_, column));
}

WallTime Statement::time(int column) const {
  const auto stored = std::clamp(integer(column), kEarliestMs, kLatestMs);
  return WallTime{std::chrono::milliseconds(stored)};
}

std::optional<WallTime> Statement::optional_time(int column) const {
  if (is_null(column)) return std::nullopt;
  return time(column);
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(native_, column) == SQLITE_NULL;
}

Result<std::unique_ptr<Database>> Database::open(const Options& options, const Clock& clock) {
  auto directory = StateDirectory::open(options.state_directory);
  if (!directory) return std::move(directory).error();
  const std::string path = directory->database_path();
  auto database = open_sound(path);
  if (!database &&
      (database.error().fault == Fault::kDiskFull || database.error().fault == Fault::kIo)) {
    // On a full disk even reading fails, for want of an index. What is stored is to be served.
    if (auto without_room = open_sound(path, Index::kMemory); without_room) {
      log(Level::kError, "store.no_room")
          .with("path", path)
          .with("error", database.error().message)
          .with("serving", "what is stored");
      database = std::move(without_room);
    }
  }
  if (!database && database.error().fault == Fault::kCorrupt)
    database = replace_damaged(path, database.error(), clock);
  if (!database) return std::move(database).error().in("opening " + path);
  (*database)->directory_.emplace(std::move(*directory));
  return database;
}

Result<std::unique_ptr<Database>> Database::open_in_memory() { return open_sound(":memory:"); }

Result<std::unique_ptr<Database>> Database::open_sound(const std::string& path, Index index) {
  const bool on_disk = path != ":memory:";
  if (on_disk && !has_sound_header(path))
    return Error{Fault::kCorrupt, "database: the file's header is damaged"};
  // SQLITE_OPEN_CREATE only for memory: the StateDirectory has made the file, 0600.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (on_disk ? SQLITE_OPEN_NOFOLLOW : SQLITE_OPEN_CREATE);
  sqlite3* connection = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &connection, flags, nullptr);
  std::unique_ptr<Database> database(new Database(connection, path));
  if (code != SQLITE_OK) return sqlite_error(connection, code);
  Result<void> ready;
  if (index == Index::kMemory) ready = database->run("PRAGMA locking_mode = EXCLUSIVE");
  if (ready) ready = database->apply_pragmas();
  if (ready) ready = database->quick_check();
  if (ready) ready = migrate(*database, migrations());
  if (ready && on_disk) ready = database->check_tables();
  if (ready) return database;
  // What SQL itself trips over in our own tables is damage too: a table or a column is gone.
  Error error = std::move(ready).error();
  if (error.fault == Fault::kInternal || error.fault == Fault::kConflict)
    error.fault = Fault::kCorrupt;
  return error;
}

Result<std::unique_ptr<Database>> Database::replace_damaged(const std::string& path,
                                                            const Error& damage,
                                                            const Clock& clock) {
  auto moved = set_aside(path, clock.wall_now());
  if (!moved) return std::move(moved).error();
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return errno_error("creating " + path, errno);
  const int limited = ::fchmod(file, 0600);
  ::close(file);
  if (limited != 0) return errno_error("chmod 600 " + path, errno);
  auto fresh = open_sound(path);
  if (!fresh) return fresh;
  Recovery recovery{damage.message, std::move(*moved), 0};
  if (auto transaction = Transaction::begin(**fresh)) {
    const std::size_t rows = salvage_rows(recovery.set_aside.front(), (*fresh)->connection_);
    if (transaction->commit()) recovery.rows_salvaged = rows;
  }
  log(Level::kError, "store.damaged")
      .with("reason", recovery.reason)
      .with("kept_as", recovery.set_aside.front())
      .with("rows_salvaged", std::uint64_t{recovery.rows_salvaged});
  (*fresh)->recovery_ = std::move(recovery);
  return fresh;
}

Database::~Database() { sqlite3_close(connection_); }

Result<void> Database::apply_pragmas() {
  sqlite3_busy_timeout(connection_, kBusyTimeoutMs);
  sqlite3_db_config(connection_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  // FULL: NORMAL may lose the last commit on power loss, and that is a certificate.
  for (const char* pragma :
       {"PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON", "PRAGMA mmap_size = 0",
        "PRAGMA secure_delete = ON", "PRAGMA foreign_keys = ON", "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL"}) {
    if (auto applied = run(pragma); !applied) return std::move(applied).error().in(pragma);
  }
  if (path_ == ":memory:") return {};
  auto mode = prepare("PRAGMA journal_mode");
  if (!mode) return std::move(mode).error();
  auto row = mode->step();
  if (!row) return std::move(row).error();
  if (mode->text(0) != "wal")
    return Error{Fault::kIo, "database: the file system does not allow write-ahead logging"};
  return {};
}

Result<void> Database::quick_check() {
  auto statement = prepare("PRAGMA quick_check(1)");
  if (!statement) return std::move(statement).error();
  auto row = statement->step();
  if (!row) return std::move(row).error();
  const std::string verdict = *row ? statement->text(0) : "no answer";
  if (verdict != "ok") return Error{Fault::kCorrupt, "database: quick_check: " + verdict};
  return {};
}

/// All tables of ours are there, as a new database has them: one that is missing would otherwise be
/// missed at the first certificate that is to be saved.
Result<void> Database::check_tables() {
  auto fresh = open_in_memory();
  if (!fresh) return std::move(fresh).error();
  auto wanted = (*fresh)->prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL");
  if (!wanted) return std::move(wanted).error();
  for (;;) {
    auto row = wanted->step();
    if (!row) return std::move(row).error();
    if (!*row) return {};
    auto found = prepare("SELECT 1 FROM sqlite_schema WHERE name = ? AND sql = ?",
                         std::string_view(wanted->text(0)), std::string_view(wanted->text(1)));
    if (!found) return std::move(found).error();
    auto is_there = found->step();
    if (!is_there) return std::move(is_there).error();
    if (!*is_there)
      return Error{Fault::kCorrupt,
                   fmt::format("database: table {} is gone or another one", wanted->text(0))};
  }
}

Result<Statement> Database::prepare_only(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const char* rest = nullptr;
  const int code =
      sqlite3_prepare_v2(connection_, sql.data(), static_cast<int>(sql.size()), &statement, &rest);
  if (code != SQLITE_OK) return sqlite_error(connection_, code);
  return Statement(connection_, statement, static_cast<std::size_t>(rest - sql.data()));
}

bool Database::is_in_transaction() const { return sqlite3_get_autocommit(connection_) == 0; }

Result<Transaction> Transaction::begin(Database& database) {
  if (auto begun = database.run("BEGIN IMMEDIATE"); !begun) return std::move(begun).error();
  return Transaction(database);
}

Transaction::~Transaction() {
  // SQLite may have rolled back by itself, after a full disk for example.
  if (database_ && database_->is_in_transaction()) (void)database_->run("ROLLBACK");
}

Result<void> Transaction::commit() { return database_->run("COMMIT"); }

std::string join_names(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text.append(text.empty() ? "" : "\n").append(name);
  return text;
}

std::vector<std::string> split_names(std::string_view text) {
  std::vector<std::string> names;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    if (end > 0) names.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return names;
}

}  // namespace gatehouse::store
