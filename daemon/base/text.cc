#include "daemon/base/text.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace gatehouse {

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = to_lower(c);
  return lower;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && starts_with_ignoring_case(a, b);
}

bool starts_with_ignoring_case(std::string_view text, std::string_view prefix) {
  if (text.size() < prefix.size()) return false;
  for (std::size_t i = 0; i < prefix.size(); ++i)
    if (to_lower(text[i]) != to_lower(prefix[i])) return false;
  return true;
}

std::string_view trim(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  while (true) {
    const std::size_t end = text.find(separator);
    pieces.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return pieces;
    text.remove_prefix(end + 1);
  }
}

std::string_view take_until(std::string_view& text, char separator) {
  const std::size_t end = text.find(separator);
  const std::string_view piece = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return piece;
}

std::size_t utf8_sequence_size(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t size = lead < 0xc2   ? 0
                           : lead < 0xe0 ? 2
                           : lead < 0xf0 ? 3
                           : lead < 0xf5 ? 4
                                         : 0;
  if (size == 0 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // The table of RFC 3629 section 4: no overlong forms, no surrogates, nothing above U+10FFFF.
  if (lead == 0xe0 && byte(1) < 0xa0) return 0;
  if (lead == 0xed && byte(1) >= 0xa0) return 0;
  if (lead == 0xf0 && byte(1) < 0x90) return 0;
  if (lead == 0xf4 && byte(1) >= 0x90) return 0;
  return size;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = utf8_sequence_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::optional<std::uint64_t> parse_decimal(std::string_view text) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return value;
}

namespace {

constexpr std::uint8_t kNoDigit = 0xff;

std::uint8_t hex_digit(char c) {
  if (is_digit(c)) return static_cast<std::uint8_t>(c - '0');
  const char lower = to_lower(c);
  return lower >= 'a' && lower <= 'f' ? static_cast<std::uint8_t>(lower - 'a' + 10) : kNoDigit;
}

/// The alphabets of RFC 4648 differ in their last two letters.
struct Alphabet {
  char letters[65];
  std::array<std::uint8_t, 256> values{};

  constexpr explicit Alphabet(const char (&given)[65]) : letters{} {
    values.fill(kNoDigit);
    for (std::uint8_t i = 0; i < 64; ++i) {
      letters[i] = given[i];
      values[static_cast<unsigned char>(given[i])] = i;
    }
  }
};
constexpr Alphabet kBase64("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
constexpr Alphabet kBase64url("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");

std::string encode(std::string_view bytes, const Alphabet& alphabet) {
  std::string out;
  out.reserve(bytes.size() * 4 / 3 + 4);
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (held += 8; held >= 6; held -= 6) out += alphabet.letters[bits >> (held - 6) & 63];
  }
  if (held > 0) out += alphabet.letters[bits << (6 - held) & 63];
  return out;
}

std::optional<std::string> decode(std::string_view text, const Alphabet& alphabet) {
  if (text.size() % 4 == 1) return std::nullopt;
  std::string out;
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const std::uint8_t value = alphabet.values[static_cast<unsigned char>(c)];
    if (value == kNoDigit) return std::nullopt;
    bits = bits << 6 | value;
    held += 6;
    if (held >= 8) {
      held -= 8;
      out += static_cast<char>(bits >> held & 0xff);
    }
  }
  if ((bits & ((1u << held) - 1)) != 0) return std::nullopt;  // A second spelling.
  return out;
}

}  // namespace

std::string to_hex(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string out;
  out.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const std::uint8_t high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
    if (high == kNoDigit || low == kNoDigit) return std::nullopt;
    out += static_cast<char>(high << 4 | low);
  }
  return out;
}

std::string to_base64url(std::string_view bytes) { return encode(bytes, kBase64url); }
std::optional<std::string> from_base64url(std::string_view text) {
  return decode(text, kBase64url);
}

std::string to_base64(std::string_view bytes) {
  std::string out = encode(bytes, kBase64);
  out.append((4 - out.size() % 4) % 4, '=');
  return out;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  return decode(text, kBase64);
}

std::string format_duration(Duration duration) {
  using std::chrono::nanoseconds;
  struct Unit {
    std::string_view name;
    std::uint64_t ns;
  };
  static constexpr Unit kUnits[] = {{"d", 86'400'000'000'000},
                                    {"h", 3'600'000'000'000},
                                    {"m", 60'000'000'000},
                                    {"s", 1'000'000'000},
                                    {"ms", 1'000'000},
                                    {"us", 1'000},
                                    {"ns", 1}};
  if (duration == Duration::zero()) return "0s";
  const bool is_negative = duration < Duration::zero();
  std::uint64_t left = static_cast<std::uint64_t>(duration.count());
  if (is_negative) left = 0 - left;
  std::string out(is_negative ? "-" : "");
  std::size_t first = 0;
  while (left < kUnits[first].ns) ++first;
  for (std::size_t i = first; i < std::size(kUnits) && i < first + 2; ++i) {
    const std::uint64_t count = left / kUnits[i].ns;
    left %= kUnits[i].ns;
    if (count > 0) out.append(std::to_string(count)).append(kUnits[i].name);
  }
  return out;
}

namespace {
/// Edits that turn a into b: insert, drop, change, or swap neighbours (optimal string alignment).
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    before_last.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}
}  // namespace

const std::string* closest(std::string_view text, std::span<const std::string> candidates) {
  constexpr std::size_t kLongest = 100;  // The work is quadratic; nobody mistypes more than this.
  if (text.size() > kLongest) return nullptr;
  // A third of the letters may be wrong: beyond that a hint is noise.
  std::size_t nearest = std::max<std::size_t>(text.size() / 3, 1) + 1;
  const std::string* found = nullptr;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kLongest) continue;
    const std::size_t distance = edits(to_lower(text), to_lower(candidate));
    if (distance >= nearest || distance >= candidate.size()) continue;
    nearest = distance;
    found = &candidate;
  }
  return found;
}

}  // namespace gatehouse
