#include "daemon/base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <regex>
#include <thread>
#include <vector>

namespace gatehouse {

class Log : public testing::Test {
 protected:
  Log() { capture_log(&lines_); }
  ~Log() override {
    capture_log(nullptr);
    set_log_level(Level::kInfo);
  }
  /// The line without its time stamp and line feed.
  std::string line() const {
    const std::size_t space = lines_.find(' ');
    return space == std::string::npos ? "" : lines_.substr(space + 1, lines_.size() - space - 2);
  }
  std::string value_of(std::string_view value) {
    lines_.clear();
    log(Level::kInfo, "e").with("k", value);
    return line().substr(line().find("k=") + 2);
  }
  std::string lines_;
};

TEST_F(Log, PutsTimeLevelAndEventFirst) {
  log(Level::kWarn, "certificate.renewed").with("name", "shop.example").with("took_ms", 8120);
  const std::regex expected(
      R"(ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=warn event=certificate\.renewed )"
      R"(name=shop\.example took_ms=8120\n)");
  EXPECT_TRUE(std::regex_match(lines_, expected)) << lines_;
}

TEST_F(Log, WritesNothingBelowTheLevel) {
  log(Level::kDebug, "quiet").with("a", "b").with("n", 1);
  EXPECT_EQ(lines_, "");
  set_log_level(Level::kDebug);
  log(Level::kDebug, "loud");
  EXPECT_EQ(line(), "level=debug event=loud");
}

TEST_F(Log, PrintsNumbersAndBooleansBare) {
  log(Level::kInfo, "e")
      .with("i", std::int64_t{-5})
      .with("u", ~std::uint64_t{0})
      .with("t", true)
      .with("f", false);
  EXPECT_EQ(line(), "level=info event=e i=-5 u=18446744073709551615 t=true f=false");
}

TEST_F(Log, QuotesWhatWouldBreakTheLine) {
  const struct {
    std::string_view value, printed;
  } cases[] = {
      {"plain/path?x&y", "plain/path?x&y"},
      {"", R"("")"},
      {"two words", R"("two words")"},
      {"a=b", R"("a=b")"},
      {"say \"hi\"", R"("say \"hi\"")"},
      {"back\\slash", R"("back\\slash")"},
      {"line\nfeed\r\ttab", R"("line\nfeed\r\ttab")"},
      {"\x1b[31mred", R"("\u001b[31mred")"},
      {"del\x7f", R"("del\u007f")"},
      {"na\xc3\xafve", "\"na\xc3\xafve\""},
      {"c1\xc2\x9b", R"("c1\u009b")"},
      {"bad\xff", R"("bad\ufffd")"},
      {"cut\xc3", R"("cut\ufffd")"},
      {std::string_view("nul\0", 4), R"("nul\u0000")"},
  };
  for (const auto& [value, printed] : cases) EXPECT_EQ(value_of(value), printed);
}

TEST_F(Log, AMovedLineIsWrittenOnce) {
  {
    LogLine first = log(Level::kInfo, "once");
    const LogLine second = std::move(first);
  }
  EXPECT_EQ(line(), "level=info event=once");
}

TEST_F(Log, GoesToTheDescriptorInWholeLinesFromEveryThread) {
  capture_log(nullptr);
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  set_log_descriptor(ends[1]);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([] {
      for (int i = 0; i < 50; ++i) log(Level::kInfo, "x").with("text", "some words here");
    });
  for (auto& thread : threads) thread.join();
  set_log_descriptor(2);
  close(ends[1]);
  std::string all;
  char piece[4096];
  for (ssize_t got; (got = read(ends[0], piece, sizeof piece)) > 0;)
    all.append(piece, static_cast<std::size_t>(got));
  close(ends[0]);
  const std::regex whole(R"(ts=\S+ level=info event=x text="some words here"\n)");
  EXPECT_EQ(std::distance(std::sregex_iterator(all.begin(), all.end(), whole), {}), 200);
  EXPECT_EQ(std::regex_replace(all, whole, ""), "");
}

}  // namespace gatehouse
