#include <gtest/gtest.h>

#include "daemon/base/random.h"
#include "daemon/base/text.h"

namespace gatehouse {

WallTime at(std::int64_t seconds, Duration more = Duration::zero()) {
  return WallTime(
      std::chrono::duration_cast<WallTime::duration>(std::chrono::seconds(seconds) + more));
}

TEST(Rfc3339, PrintsSecondsAndMilliseconds) {
  EXPECT_EQ(format_rfc3339(at(1801440000)), "2027-02-01T00:00:00Z");
  EXPECT_EQ(format_rfc3339(at(1801440000, 999ms)), "2027-02-01T00:00:00Z");
  EXPECT_EQ(format_rfc3339_ms(at(1801440000, 7ms)), "2027-02-01T00:00:00.007Z");
  EXPECT_EQ(format_rfc3339_ms(at(-1, 250ms)), "1969-12-31T23:59:59.250Z");
}

TEST(Rfc3339, ReadsEveryValidForm) {
  const struct {
    std::string_view text;
    WallTime time;
  } cases[] = {{"2027-02-01T00:00:00Z", at(1801440000)},
               {"2027-02-01t00:00:00z", at(1801440000)},
               {"2027-02-01 00:00:00Z", at(1801440000)},
               {"2027-02-01T01:30:00+01:30", at(1801440000)},
               {"2027-01-31T23:00:00-01:00", at(1801440000)},
               {"2027-02-01T00:00:00.5Z", at(1801440000, 500ms)},
               {"2027-02-01T00:00:00.123456789123Z", at(1801440000, Duration(123456789))},
               {"2024-02-29T00:00:00Z", at(1709164800)},
               {"2016-12-31T23:59:60Z", at(1483228800)}};
  for (const auto& [text, time] : cases) EXPECT_EQ(parse_rfc3339(text), time) << text;
}

TEST(Rfc3339, RefusesWhatIsNone) {
  for (const std::string_view bad :
       {"", "2027-02-01", "2027-02-01T00:00:00", "2027-02-30T00:00:00Z", "2023-02-29T00:00:00Z",
        "2027-13-01T00:00:00Z", "2027-00-01T00:00:00Z", "2027-02-00T00:00:00Z",
        "2027-02-01T24:00:00Z", "2027-02-01T00:60:00Z", "2027-02-01T00:00:61Z",
        "2027-02-01T00:00:00.Z", "2027-02-01T00:00:00Zx", "2027-2-1T00:00:00Z",
        "2027-02-01T00:00:00+0100", "2027-02-01T00:00:00+24:00", " 2027-02-01T00:00:00Z",
        "-027-02-01T00:00:00Z", "2027-02-01X00:00:00Z"})
    EXPECT_EQ(parse_rfc3339(bad), std::nullopt) << bad;
}

TEST(Rfc3339, ClampsWhatTheClockCannotHold) {
  EXPECT_EQ(format_rfc3339(*parse_rfc3339("9999-12-31T23:59:59.999Z")).substr(0, 4), "2262");
  EXPECT_EQ(format_rfc3339(*parse_rfc3339("0001-01-01T00:00:00Z")).substr(0, 4), "1677");
}

TEST(Rfc3339, ReadsWhatItPrinted) {
  SeededRandom random(4);
  for (int i = 0; i < 10000; ++i) {
    const WallTime time =
        at(static_cast<std::int64_t>(random.below(8'000'000'000)),
           std::chrono::milliseconds(static_cast<std::int64_t>(random.below(1000))));
    ASSERT_EQ(parse_rfc3339(format_rfc3339_ms(time)), time);
  }
}

TEST(HttpDate, PrintsTheFixedForm) {
  EXPECT_EQ(format_http_date(at(784111777)), "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST(HttpDate, ReadsTheThreeForms) {
  for (const std::string_view text : {"Sun, 06 Nov 1994 08:49:37 GMT",
                                      "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"})
    EXPECT_EQ(parse_http_date(text, at(1785578400)), at(784111777)) << text;
  EXPECT_EQ(parse_http_date("Wed Nov 16 08:49:37 1994", at(0)), at(784975777));
}

TEST(HttpDate, TwoDigitsOfAYearAreAtMostFiftyYearsAhead) {
  const WallTime in_2026 = at(1785578400);
  EXPECT_EQ(format_rfc3339(*parse_http_date("Sunday, 06-Nov-76 08:49:37 GMT", in_2026)),
            "2076-11-06T08:49:37Z");
  EXPECT_EQ(format_rfc3339(*parse_http_date("Sunday, 06-Nov-77 08:49:37 GMT", in_2026)),
            "1977-11-06T08:49:37Z");
}

TEST(HttpDate, RefusesWhatIsNone) {
  for (const std::string_view bad :
       {"", "Sun, 06 Nov 1994 08:49:37", "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT", "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 UTC", "Xyz, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ", "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994", "120"})
    EXPECT_EQ(parse_http_date(bad, at(0)), std::nullopt) << bad;
}

TEST(HttpDate, ReadsWhatItPrinted) {
  SeededRandom random(4);
  for (int i = 0; i < 10000; ++i) {
    const WallTime time = at(static_cast<std::int64_t>(random.below(8'000'000'000)));
    ASSERT_EQ(parse_http_date(format_http_date(time), at(0)), time);
  }
}

}  // namespace gatehouse
