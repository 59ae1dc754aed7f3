#include "store/database.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "daemon/base/log.h"
#include "store/schema.h"
#include "tests/store/failing_vfs.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temporary_directory.h"

namespace gatehouse::store {
namespace {

namespace fs = std::filesystem;

Result<std::unique_ptr<Database>> open_at(const TemporaryDirectory& root) {
  return Database::open(Options{root.path()}, FakeClock());
}

std::int64_t count(Database& database, const std::string& table) {
  auto row = database.prepare("SELECT count(*) FROM " + table);
  return row && row->step() ? row->integer(0) : -1;
}

std::int64_t pragma(Database& database, const std::string& name) {
  auto row = database.prepare("PRAGMA " + name);
  return row && row->step() ? row->integer(0) : -1;
}

Result<void> add_hold(Database& database, const std::string& name) {
  return database.run("INSERT INTO holds VALUES('ca', ?, 1000)", name);
}

void overwrite(const std::string& path, std::streamoff at, const std::string& bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(at).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

TEST(Database, IsDurableAndChecksItself) {
  TemporaryDirectory root;
  auto database = open_at(root);
  ASSERT_TRUE(database) << database.error().message;
  EXPECT_EQ(pragma(**database, "synchronous"), 2);  // FULL
  EXPECT_EQ(pragma(**database, "foreign_keys"), 1);
  EXPECT_EQ(pragma(**database, "busy_timeout"), 5000);
  EXPECT_TRUE((*database)->quick_check());
  EXPECT_FALSE((*database)->recovery());
}

TEST(Database, KeepsAllItsFilesPrivate) {
  TemporaryDirectory root;
  auto database = open_at(root);
  ASSERT_TRUE(database);
  ASSERT_TRUE(add_hold(**database, "a"));
  for (const char* name : {"gatehouse.db", "gatehouse.db-wal", "gatehouse.db-shm"}) {
    struct stat found {};
    ASSERT_EQ(::stat((root / name).c_str(), &found), 0) << name;
    EXPECT_EQ(found.st_mode & 0777, 0600u) << name;
  }
}

TEST(Database, KeepsRowsOverAReopening) {
  TemporaryDirectory root;
  {
    auto database = open_at(root);
    ASSERT_TRUE(database && add_hold(**database, "a"));
  }
  auto database = open_at(root);
  ASSERT_TRUE(database);
  EXPECT_EQ(count(**database, "holds"), 1);
}

TEST(Database, RefusesASecondOpening) {
  TemporaryDirectory root;
  auto first = open_at(root);
  ASSERT_TRUE(first);
  const auto second = open_at(root);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().fault, Fault::kConflict);
}

TEST(Database, UpgradesAnOlderSchemaStepByStep) {
  auto database = Database::open_in_memory();
  ASSERT_TRUE(database);
  std::vector<std::string_view> steps(migrations().begin(), migrations().end());
  steps.push_back("CREATE TABLE later(a INTEGER); -- one\nINSERT INTO later VALUES(7);");
  steps.push_back("ALTER TABLE later ADD COLUMN b TEXT");
  ASSERT_TRUE(migrate(**database, steps));
  EXPECT_EQ(pragma(**database, "user_version"), static_cast<std::int64_t>(steps.size()));
  EXPECT_TRUE((*database)->run("UPDATE later SET b = 'x' WHERE a = 7"));
}

TEST(Database, LeavesTheOldSchemaWhenAnUpgradeFails) {
  auto database = Database::open_in_memory();
  ASSERT_TRUE(database);
  std::vector<std::string_view> steps(migrations().begin(), migrations().end());
  const auto before = static_cast<std::int64_t>(steps.size());
  steps.push_back("CREATE TABLE half(a INTEGER); INSERT INTO nowhere VALUES(1);");
  EXPECT_FALSE(migrate(**database, steps));
  EXPECT_EQ(pragma(**database, "user_version"), before);
  EXPECT_EQ(count(**database, "sqlite_schema WHERE name = 'half'"), 0);
}

TEST(Database, RefusesANewerSchema) {
  TemporaryDirectory root;
  {
    auto database = open_at(root);
    ASSERT_TRUE(database);
    ASSERT_TRUE((*database)->run("PRAGMA user_version = 99"));
    ASSERT_TRUE((*database)->run("UPDATE schema_version SET version = 99"));
  }
  const auto newer = open_at(root);
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().fault, Fault::kUnsupported);
  EXPECT_NE(newer.error().message.find("99"), std::string::npos);
  EXPECT_TRUE(fs::exists(root / "gatehouse.db"));
}

TEST(Database, RollsAnUncommittedTransactionBack) {
  auto database = Database::open_in_memory();
  ASSERT_TRUE(database);
  {
    auto transaction = Transaction::begin(**database);
    ASSERT_TRUE(transaction && add_hold(**database, "a"));
  }
  EXPECT_EQ(count(**database, "holds"), 0);
}

TEST(Database, TellsAConflictFromOtherErrors) {
  auto database = Database::open_in_memory();
  ASSERT_TRUE(database && add_hold(**database, "a"));
  const auto again = add_hold(**database, "a");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().fault, Fault::kConflict);
}

TEST(Database, TellsThatAnotherProcessHoldsIt) {
  TemporaryDirectory root;
  auto database = open_at(root);
  ASSERT_TRUE(database && (*database)->run("PRAGMA busy_timeout = 1"));
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open((root / "gatehouse.db").c_str(), &other), SQLITE_OK);
  sqlite3_stmt* lock = nullptr;
  ASSERT_EQ(sqlite3_prepare_v2(other, "BEGIN EXCLUSIVE", -1, &lock, nullptr), SQLITE_OK);
  ASSERT_EQ(sqlite3_step(lock), SQLITE_DONE);
  sqlite3_finalize(lock);
  const auto held = add_hold(**database, "a");
  ASSERT_FALSE(held);
  EXPECT_EQ(held.error().fault, Fault::kTimeout);
  sqlite3_close(other);
  EXPECT_TRUE(add_hold(**database, "a"));
}

TEST(Database, SetsADamagedFileAsideAndGoesOn) {
  TemporaryDirectory root;
  std::ofstream(root / "gatehouse.db") << std::string(8192, 'x');
  ASSERT_EQ(::chmod((root / "gatehouse.db").c_str(), 0600), 0);
  std::string lines;
  capture_log(&lines);
  auto database = open_at(root);
  capture_log(nullptr);
  ASSERT_TRUE(database) << database.error().message;
  ASSERT_TRUE((*database)->recovery());
  const auto& kept = (*database)->recovery()->set_aside.front();
  EXPECT_EQ(fs::file_size(kept), 8192u);
  EXPECT_NE(lines.find("level=error event=store.damaged reason="), std::string::npos) << lines;
  EXPECT_TRUE(add_hold(**database, "a"));
}

TEST(Database, SalvagesTheTablesThatCanStillBeRead) {
  TemporaryDirectory root;
  std::int64_t page = 0, page_bytes = 0;
  {
    auto database = open_at(root);
    ASSERT_TRUE(database && add_hold(**database, "kept"));
    ASSERT_TRUE((*database)->run("INSERT INTO roots VALUES('ca', 'chain', 'key')"));
    page_bytes = pragma(**database, "page_size");
    auto row = (*database)->prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'roots'");
    ASSERT_TRUE(row && row->step());
    page = row->integer(0);
  }
  overwrite(root / "gatehouse.db", (page - 1) * page_bytes, std::string(100, '\xee'));
  auto database = open_at(root);
  ASSERT_TRUE(database) << database.error().message;
  ASSERT_TRUE((*database)->recovery());
  EXPECT_EQ((*database)->recovery()->rows_salvaged, 1u);
  EXPECT_EQ(count(**database, "holds"), 1);
  EXPECT_EQ(count(**database, "roots"), 0);
}

TEST(Database, TakesAMissingTableForDamageAtOpen) {
  for (const char* damage : {"DROP TABLE renewal", "ALTER TABLE ari DROP COLUMN failures"}) {
    TemporaryDirectory root;
    {
      auto database = open_at(root);
      ASSERT_TRUE(database && add_hold(**database, "kept"));
      ASSERT_TRUE((*database)->run(damage));
    }
    auto database = open_at(root);
    ASSERT_TRUE(database) << database.error().message;
    ASSERT_TRUE((*database)->recovery()) << damage;
    EXPECT_EQ(count(**database, "holds"), 1);
    EXPECT_EQ(count(**database, "renewal"), 0);
    EXPECT_EQ(count(**database, "ari"), 0);
  }
}

TEST(Database, SalvagesWhatIsOnlyInTheWriteAheadLog) {
  TemporaryDirectory root, copy;
  {
    auto database = open_at(root);
    ASSERT_TRUE(database && add_hold(**database, "kept"));
    // As kill -9 leaves them: the log is not yet part of the file.
    for (const char* name : {"gatehouse.db", "gatehouse.db-wal"})
      fs::copy(root / name, copy / name);
  }
  overwrite(copy / "gatehouse.db", 20, "\x09");  // a header that SQLite takes for damaged
  auto database = open_at(copy);
  ASSERT_TRUE(database) << database.error().message;
  ASSERT_TRUE((*database)->recovery());
  EXPECT_EQ((*database)->recovery()->set_aside.size(), 2u);
  EXPECT_EQ(count(**database, "holds"), 1);
}

TEST(Database, SurvivesAKillBeforeTheLogIsCheckpointed) {
  TemporaryDirectory root, copy;
  auto database = open_at(root);
  ASSERT_TRUE(database && add_hold(**database, "kept"));
  for (const char* name : {"gatehouse.db", "gatehouse.db-wal"}) fs::copy(root / name, copy / name);
  auto restarted = open_at(copy);
  ASSERT_TRUE(restarted);
  EXPECT_FALSE((*restarted)->recovery());
  EXPECT_EQ(count(**restarted, "holds"), 1);
}

/// Every operation of opening a new database fails once; then it works.
TEST(Database, OpensCleanlyAfterEachFailureOfTheDisk) {
  for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC}) {
    FailingVfs disk;
    for (int n = 1;; ++n) {
      ASSERT_LT(n, 500);
      TemporaryDirectory root;
      disk.fail_at(n, code);
      auto database = open_at(root);
      disk.space_returns();
      if (!disk.has_failed()) break;
      if (!database) {
        EXPECT_NE(database.error().message.find("database"), std::string::npos) << n;
      }
      database = Error{};
      auto again = open_at(root);
      ASSERT_TRUE(again) << n << ": " << again.error().message;
      ASSERT_TRUE(add_hold(**again, "a"));
    }
  }
}

TEST(Database, NamesAFullDiskByItsFault) {
  FailingVfs disk;
  TemporaryDirectory root;
  auto database = open_at(root);
  ASSERT_TRUE(database);
  disk.fail_at(1, SQLITE_FULL);
  const auto saved = add_hold(**database, "a");
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().fault, Fault::kDiskFull);
  disk.fail_at(1, SQLITE_IOERR_WRITE);
  const auto failed = add_hold(**database, "a");
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().fault, Fault::kIo);
  disk.space_returns();
  EXPECT_TRUE(add_hold(**database, "a"));
}

TEST(Database, SplitsNamesAsTheyWereJoined) {
  const std::vector<std::string> names{"a.test", "*.b.test", "2001:db8::1"};
  EXPECT_EQ(split_names(join_names(names)), names);
  EXPECT_TRUE(split_names("").empty());
}

TEST(Database, ReadsAbsurdTimesWithinReason) {
  auto database = Database::open_in_memory();
  ASSERT_TRUE(database);
  auto row = (*database)->prepare("SELECT 9223372036854775807, -9223372036854775808, NULL");
  ASSERT_TRUE(row && row->step());
  EXPECT_GT(row->time(0), FakeClock().wall_now());
  EXPECT_EQ(row->time(1), WallTime{});
  EXPECT_FALSE(row->optional_time(2));
}

}  // namespace
}  // namespace gatehouse::store
