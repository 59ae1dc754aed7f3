#pragma once
// Small pure functions on text: ASCII case, numbers, hex and base64, dates, durations. Strict: what
// does not follow the format to its last character is nullopt. No locale, no allocation where a
// view will do.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/clock.h"

namespace gatehouse {

// ASCII.
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
std::string to_lower(std::string_view text);
bool equals_ignoring_case(std::string_view a, std::string_view b);
bool starts_with_ignoring_case(std::string_view text, std::string_view prefix);
/// Without spaces and tabs at both ends.
std::string_view trim(std::string_view text);
/// The pieces between separators, empty ones included: "" gives one, "a," two. Views into `text`.
std::vector<std::string_view> split(std::string_view text, char separator);
/// What is before the first separator, and `text` becomes what is behind it (empty without one).
std::string_view take_until(std::string_view& text, char separator);

/// Bytes of the UTF-8 sequence at the front; 0: not valid UTF-8 there (or empty). RFC 3629.
std::size_t utf8_sequence_size(std::string_view text);
bool is_utf8(std::string_view text);

/// Digits only, no sign, no space; nullopt also when it does not fit 64 bits.
std::optional<std::uint64_t> parse_decimal(std::string_view text);

/// Lower case.
std::string to_hex(std::string_view bytes);
std::optional<std::string> from_hex(std::string_view text);
/// RFC 4648 section 5 without padding, as JOSE has it (RFC 7515 section 2). The one spelling of
/// each value is accepted, so unused bits at the end must be zero.
std::string to_base64url(std::string_view bytes);
std::optional<std::string> from_base64url(std::string_view text);
/// RFC 4648 section 4 with padding, as Kubernetes has it.
std::string to_base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);

/// "2027-02-01T00:00:00Z"; fractions of the second are cut off.
std::string format_rfc3339(WallTime time);
/// "2027-02-01T00:00:00.123Z"
std::string format_rfc3339_ms(WallTime time);
/// Any offset and fraction. A leap second counts as the second behind it.
std::optional<WallTime> parse_rfc3339(std::string_view text);

/// IMF-fixdate, "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7).
std::string format_http_date(WallTime time);
/// Also the obsolete forms of RFC 850 and asctime(). `now` gives a year of two digits its century.
std::optional<WallTime> parse_http_date(std::string_view text, WallTime now);

/// "1h30m", "90ms", "2d", "0s": the largest units first, at most two of them, rounded down.
std::string format_duration(Duration duration);

/// The candidate that was probably meant, for "did you mean" hints: the nearest by edits (a swap of
/// neighbours is one), when near enough to be believed. Ties go to the first. Null: none is near.
const std::string* closest(std::string_view text, std::span<const std::string> candidates);

}  // namespace gatehouse
