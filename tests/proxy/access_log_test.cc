#include "proxy/access_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "daemon/base/log.h"
#include "tests/support/fake_clock.h"

namespace gatehouse::proxy {
namespace {

namespace fs = std::filesystem;

class AccessLogTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "gatehouse-access-log-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = folder_ / "access.log";
    timers_.refresh();
  }
  void TearDown() override {
    log_.reset();
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  void open(AccessLogFormat format = AccessLogFormat::kEnvoy) {
    auto opened = AccessLog::open(format, path_.string(), timers_, metrics_);
    ASSERT_TRUE(opened) << opened.error().message;
    log_ = std::move(*opened);
  }
  void append(std::string_view path = "/") {
    AccessRecord record;
    record.path = path;
    log_->append(record);
  }
  void advance(Duration by) {
    clock_.advance(by);
    timers_.refresh();
    timers_.fire_due();
  }
  std::string content(const fs::path& path) const {
    std::ifstream file(path);
    std::ostringstream all;
    all << file.rdbuf();
    return all.str();
  }
  std::size_t lines(const fs::path& path) const {
    const std::string all = content(path);
    return static_cast<std::size_t>(std::count(all.begin(), all.end(), '\n'));
  }
  int dropped_lines() const {
    const std::string text = metrics_.to_text();
    const std::string name = "\ngatehouse_access_log_dropped_lines_total ";
    const auto at = text.find(name);
    return at == text.npos ? -1 : std::atoi(text.c_str() + at + name.size());
  }
  /// A FIFO in place of the file; its reading end, which holds 4 KiB.
  int open_fifo() {
    EXPECT_EQ(mkfifo(path_.c_str(), 0600), 0);
    const int reader = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    EXPECT_GE(fcntl(reader, F_SETPIPE_SZ, 4096), 4096);
    return reader;
  }

  FakeClock clock_;
  TimerQueue timers_{clock_};
  Metrics metrics_;
  fs::path folder_, path_;
  std::unique_ptr<AccessLog> log_;
};

TEST_F(AccessLogTest, WritesALineAtMostASecondLate) {
  open();
  append();
  EXPECT_EQ(lines(path_), 0u);
  advance(600ms);
  append();  // the first is out, this one waits anew
  EXPECT_EQ(lines(path_), 1u);
  advance(600ms);
  EXPECT_EQ(lines(path_), 2u);
}

TEST_F(AccessLogTest, ALaterLineDoesNotDelayAnEarlierOne) {
  open();
  append();
  advance(300ms);
  append();
  advance(300ms);
  EXPECT_EQ(lines(path_), 2u);
}

TEST_F(AccessLogTest, WritesAtOnceWhenManyLinesAreReady) {
  open();
  const std::string path(1000, 'x');
  for (int i = 0; i < 70; ++i) append(path);
  EXPECT_GE(lines(path_), 60u);
  EXPECT_LT(log_->waiting_bytes(), AccessLog::kWriteBytes);
}

TEST_F(AccessLogTest, AnIdleLogKeepsNoTimer) {
  open();
  append();
  advance(1s);
  EXPECT_EQ(timers_.next_wake(), std::nullopt);
}

TEST_F(AccessLogTest, WritesTheRestWhenItIsClosed) {
  open();
  append();
  log_.reset();
  EXPECT_EQ(lines(path_), 1u);
}

TEST_F(AccessLogTest, PassesLinesOnWhereOnlyTheFirstLogMayWrite) {
  const int reader = open_fifo();
  open();  // the first one's
  std::vector<std::string> passed;
  auto other =
      AccessLog::open(AccessLogFormat::kEnvoy, path_.string(), timers_, metrics_,
                      [&passed](std::string lines) { passed.push_back(std::move(lines)); });
  ASSERT_TRUE(other) << other.error().message;
  AccessRecord record;
  (*other)->append(record);
  (*other)->append(record);
  EXPECT_TRUE(passed.empty());
  advance(600ms);
  ASSERT_EQ(passed.size(), 1u);  // together, and whole
  EXPECT_EQ(std::count(passed[0].begin(), passed[0].end(), '\n'), 2);
  char bytes[4096];
  EXPECT_LT(::read(reader, bytes, sizeof bytes), 0);
  log_->write(passed[0]);
  EXPECT_EQ(::read(reader, bytes, sizeof bytes), static_cast<ssize_t>(passed[0].size()));
  ::close(reader);
}

TEST_F(AccessLogTest, AppendsToAFileBesideOtherLogs) {
  open();
  auto other = AccessLog::open(AccessLogFormat::kEnvoy, path_.string(), timers_, metrics_,
                               [](const std::string&) { FAIL() << "a file takes it itself"; });
  ASSERT_TRUE(other) << other.error().message;
  AccessRecord record;
  (*other)->append(record);
  append();
  advance(600ms);
  EXPECT_EQ(lines(path_), 2u);
}

TEST_F(AccessLogTest, AppendsToWhatIsThere) {
  std::ofstream(path_) << "before\n";
  open();
  append();
  log_->flush();
  EXPECT_EQ(content(path_).substr(0, 8), "before\n[");
}

TEST_F(AccessLogTest, CreatesTheFileForOwnerAndGroupOnly) {
  const mode_t before = umask(0);
  open();
  umask(before);
  struct stat facts {};
  ASSERT_EQ(stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777u, 0640u);
}

TEST_F(AccessLogTest, ReopensAfterARotation) {
  open();
  append("/old");
  const fs::path rotated = folder_ / "access.log.1";
  fs::rename(path_, rotated);
  ASSERT_TRUE(log_->reopen());
  append("/new");
  log_->flush();
  EXPECT_NE(content(rotated).find("/old"), std::string::npos);
  EXPECT_NE(content(path_).find("/new"), std::string::npos);
  EXPECT_EQ(content(path_).find("/old"), std::string::npos);
}

TEST_F(AccessLogTest, KeepsTheOldFileWhenReopeningFails) {
  open();
  const fs::path moved = folder_.string() + "-moved";
  fs::rename(folder_, moved);
  EXPECT_FALSE(log_->reopen());
  append("/kept");
  log_->flush();
  EXPECT_NE(content(moved / "access.log").find("/kept"), std::string::npos);
  fs::remove_all(moved);
}

TEST_F(AccessLogTest, SaysWhichFileCannotBeOpened) {
  path_ = folder_ / "missing" / "access.log";
  const auto opened = AccessLog::open(AccessLogFormat::kEnvoy, path_.string(), timers_, metrics_);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find(path_.string()), std::string::npos);
}

TEST_F(AccessLogTest, OffOpensAndWritesNothing) {
  open(AccessLogFormat::kOff);
  append();
  advance(1s);
  EXPECT_FALSE(fs::exists(path_));
  EXPECT_TRUE(log_->reopen());
}

TEST_F(AccessLogTest, APipeThatIsFullHoldsNobodyUpAndLosesNothingYet) {
  const int reader = open_fifo();
  open();
  const std::string path(1000, 'x');
  for (int i = 0; i < 200; ++i) append(path);
  log_->flush();
  EXPECT_GT(log_->waiting_bytes(), 100'000u);
  EXPECT_EQ(dropped_lines(), 0);

  std::string got;  // What the reader takes makes room; the timer fills it again.
  char block[4096];
  while (log_->waiting_bytes() > 0) {
    const ssize_t took = ::read(reader, block, sizeof block);
    ASSERT_GT(took, 0);
    got.append(block, static_cast<std::size_t>(took));
    advance(600ms);
  }
  const ssize_t rest = ::read(reader, block, sizeof block);
  got.append(block, static_cast<std::size_t>(std::max<ssize_t>(rest, 0)));
  EXPECT_EQ(std::count(got.begin(), got.end(), '\n'), 200);
  ::close(reader);
}

TEST_F(AccessLogTest, DropsAndCountsLinesBeyondTheBound) {
  const int reader = open_fifo();
  open();
  const std::string path(10'000, 'x');
  for (int i = 0; i < 200; ++i) append(path);
  EXPECT_LE(log_->waiting_bytes(), AccessLog::kWaitingBytesMax + 11'000);
  EXPECT_GT(dropped_lines(), 80);
  ::close(reader);
}

TEST_F(AccessLogTest, SaysOnceThatTheSinkIsGone) {
  const int reader = open_fifo();
  open();
  ::close(reader);
  std::string said;
  capture_log(&said);
  for (int i = 0; i < 3; ++i) {
    append();
    advance(600ms);
  }
  capture_log(nullptr);
  EXPECT_EQ(said.find("access_log.failed"), said.rfind("access_log.failed"));
  EXPECT_NE(said.find("access_log.failed"), said.npos) << said;
}

}  // namespace
}  // namespace gatehouse::proxy
