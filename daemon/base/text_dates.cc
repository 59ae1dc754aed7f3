// The dates of text.h. The calendar is that of std::chrono; only the formats are ours.
#include <fmt/format.h>

#include <array>
#include <cstdlib>

#include "daemon/base/text.h"

namespace gatehouse {

namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using std::chrono::sys_days;
using std::chrono::year_month_day;

constexpr std::array<std::string_view, 7> kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 7> kLongDays{"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                    "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/// A moment taken apart in UTC.
struct Civil {
  year_month_day date;
  unsigned weekday = 0;  // 0: Sunday
  int hour = 0, minute = 0, second = 0, millisecond = 0;

  explicit Civil(WallTime time) {
    const auto midnight = floor<days>(time);
    auto left = floor<milliseconds>(time - midnight).count();
    date = year_month_day(midnight);
    weekday = std::chrono::weekday(midnight).c_encoding();
    millisecond = static_cast<int>(left % 1000);
    left /= 1000;
    second = static_cast<int>(left % 60);
    minute = static_cast<int>(left / 60 % 60);
    hour = static_cast<int>(left / 3600);
  }
  int year() const { return static_cast<int>(date.year()); }
  unsigned month() const { return static_cast<unsigned>(date.month()); }
  unsigned day() const { return static_cast<unsigned>(date.day()); }
};

/// Reads a date from left to right; once something is wrong, it stays wrong.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  /// Exactly that many digits.
  int number(std::size_t digits) {
    if (text_.size() < digits) is_good_ = false;
    int value = 0;
    for (std::size_t i = 0; i < digits && is_good_; ++i) {
      if (!is_digit(text_[i])) is_good_ = false;
      value = value * 10 + (text_[i] - '0');
    }
    if (is_good_) text_.remove_prefix(digits);
    return is_good_ ? value : 0;
  }
  void expect(std::string_view literal) {
    if (!skip(literal)) is_good_ = false;
  }
  bool skip(std::string_view literal) {
    if (!is_good_ || !text_.starts_with(literal)) return false;
    text_.remove_prefix(literal.size());
    return true;
  }
  /// The index of the name that comes next.
  template <std::size_t N>
  unsigned one_of(const std::array<std::string_view, N>& names) {
    for (unsigned i = 0; i < N; ++i)
      if (skip(names[i])) return i;
    is_good_ = false;
    return 0;
  }
  void fail() { is_good_ = false; }
  char peek() const { return text_.empty() ? '\0' : text_.front(); }
  bool is_good() const { return is_good_; }
  bool is_done() const { return is_good_ && text_.empty(); }

 private:
  std::string_view text_;
  bool is_good_ = true;
};

struct TimeOfDay {
  int hour, minute, second;
};

TimeOfDay scan_time(Scanner& scanner) {
  TimeOfDay time{};
  time.hour = scanner.number(2);
  scanner.expect(":");
  time.minute = scanner.number(2);
  scanner.expect(":");
  time.second = scanner.number(2);
  return time;
}

/// Nothing when there is no such day or time. system_clock counts nanoseconds in 64 bits, from 1677
/// to 2262; a date beyond them is clamped to the first day or the last second that fits.
std::optional<WallTime> moment(int year, unsigned month, int day, TimeOfDay time,
                               seconds offset = seconds(0)) {
  const year_month_day date{std::chrono::year(year), std::chrono::month(month),
                            std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || time.hour > 23 || time.minute > 59 || time.second > 60) return std::nullopt;
  const std::chrono::sys_seconds at =
      sys_days(date) + hours(time.hour) + minutes(time.minute) + seconds(time.second) - offset;
  constexpr auto kLast = floor<seconds>(WallTime::max()) - seconds(1);
  constexpr std::chrono::sys_seconds kFirst = std::chrono::ceil<days>(WallTime::min());
  return at > kLast ? kLast : at < kFirst ? kFirst : at;
}

/// "Sunday, 06-Nov-94 08:49:37 GMT"
std::optional<WallTime> parse_rfc850(Scanner scanner, WallTime now) {
  scanner.one_of(kLongDays);
  scanner.expect(", ");
  const int day = scanner.number(2);
  scanner.expect("-");
  const unsigned month = scanner.one_of(kMonths) + 1;
  scanner.expect("-");
  int year = scanner.number(2);
  scanner.expect(" ");
  const TimeOfDay time = scan_time(scanner);
  scanner.expect(" GMT");
  if (!scanner.is_done()) return std::nullopt;
  // RFC 9110 section 5.6.7: what seems more than 50 years in the future is in the past.
  const int this_year = Civil(now).year();
  year += this_year / 100 * 100;
  if (year > this_year + 50) year -= 100;
  return moment(year, month, day, time);
}

/// "Sun Nov  6 08:49:37 1994"
std::optional<WallTime> parse_asctime(Scanner scanner) {
  scanner.one_of(kDays);
  scanner.expect(" ");
  const unsigned month = scanner.one_of(kMonths) + 1;
  scanner.expect(" ");
  const int day = scanner.skip(" ") ? scanner.number(1) : scanner.number(2);
  scanner.expect(" ");
  const TimeOfDay time = scan_time(scanner);
  scanner.expect(" ");
  const int year = scanner.number(4);
  if (!scanner.is_done()) return std::nullopt;
  return moment(year, month, day, time);
}

}  // namespace

std::string format_rfc3339(WallTime time) {
  const Civil at(time);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", at.year(), at.month(), at.day(),
                     at.hour, at.minute, at.second);
}

std::string format_rfc3339_ms(WallTime time) {
  const Civil at(time);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", at.year(), at.month(), at.day(),
                     at.hour, at.minute, at.second, at.millisecond);
}

std::optional<WallTime> parse_rfc3339(std::string_view text) {
  Scanner scanner(text);
  const int year = scanner.number(4);
  scanner.expect("-");
  const int month = scanner.number(2);
  scanner.expect("-");
  const int day = scanner.number(2);
  if (!scanner.skip("T") && !scanner.skip("t")) scanner.expect(" ");  // Section 5.6, the note.
  const TimeOfDay time = scan_time(scanner);
  nanoseconds fraction(0);
  if (scanner.skip(".")) {
    if (!is_digit(scanner.peek())) scanner.fail();
    // Digits beyond the nanosecond are read and dropped.
    for (std::int64_t unit = 100'000'000; is_digit(scanner.peek()); unit /= 10)
      fraction += nanoseconds(unit * scanner.number(1));
  }
  seconds offset(0);
  if (!scanner.skip("Z") && !scanner.skip("z")) {
    const int sign = scanner.skip("-") ? -1 : 1;
    if (sign > 0) scanner.expect("+");
    const int offset_hours = scanner.number(2);
    scanner.expect(":");
    const int offset_minutes = scanner.number(2);
    if (offset_hours > 23 || offset_minutes > 59) scanner.fail();
    offset = sign * (hours(offset_hours) + minutes(offset_minutes));
  }
  if (!scanner.is_done()) return std::nullopt;
  auto at = moment(year, static_cast<unsigned>(month), day, time, offset);
  if (at) *at += std::chrono::duration_cast<WallTime::duration>(fraction);
  return at;
}

std::string format_http_date(WallTime time) {
  const Civil at(time);
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", kDays[at.weekday], at.day(),
                     kMonths[at.month() - 1], at.year(), at.hour, at.minute, at.second);
}

std::optional<WallTime> parse_http_date(std::string_view text, WallTime now) {
  Scanner scanner(text);
  const std::size_t comma = text.find(',');
  if (comma == std::string_view::npos) return parse_asctime(scanner);
  if (comma > 3) return parse_rfc850(scanner, now);
  scanner.one_of(kDays);
  scanner.expect(", ");
  const int day = scanner.number(2);
  scanner.expect(" ");
  const unsigned month = scanner.one_of(kMonths) + 1;
  scanner.expect(" ");
  const int year = scanner.number(4);
  scanner.expect(" ");
  const TimeOfDay time = scan_time(scanner);
  scanner.expect(" GMT");
  if (!scanner.is_done()) return std::nullopt;
  return moment(year, month, day, time);
}

}  // namespace gatehouse
