#include "daemon/config_fields.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "daemon/base/error.h"
#include "daemon/base/text.h"

namespace gatehouse::daemon {

std::string Title::text() const {
  std::string out(kind);
  if (!name.empty()) out.append(" ").append(in_quotes(name));
  return out;
}

Field Fields::find(std::string_view key) {
  check(known_count_ < kKeysMax, "room for the keys of a mapping");
  known_[known_count_++] = key;
  if (!mapping_) return {key, Mark{}, YamlNode(), false};
  for (std::size_t i = 0; i < mapping_.size(); ++i) {
    if (mapping_.key(i).text() != key) continue;
    const Field field{key, mapping_.key(i).mark(), mapping_.value(i), false};
    if (!field.value.is_null()) return field;
    reader_.error(field.key_mark, in_quotes(key) + " has no value",
                  "give it one or remove the line");
    break;
  }
  return {key, mapping_.mark(), YamlNode(), false};
}

Field Fields::need(std::string_view key, std::string hint) {
  const Field field = find(key);
  if (field || !mapping_) return field;
  bool is_there = false;  // Then find() has complained already.
  for (std::size_t i = 0; i < mapping_.size(); ++i) is_there |= mapping_.key(i).text() == key;
  if (!is_there)
    reader_.error(mapping_.mark(), title_.text() + " needs " + in_quotes(key), std::move(hint));
  return field;
}

void Fields::finish() {
  if (!mapping_) return;
  const std::span<const std::string_view> known(known_.data(), known_count_);
  for (std::size_t i = 0; i < mapping_.size(); ++i) {
    const std::string_view key = mapping_.key(i).text();
    if (std::find(known.begin(), known.end(), key) != known.end() || key == "<<") continue;
    if (reader_.findings().is_full()) return;
    const std::vector<std::string> candidates(known.begin(), known.end());
    std::string all = "known keys:";
    for (const std::string& candidate : candidates) all.append(" ").append(candidate);
    reader_.error(mapping_.key(i).mark(), "unknown key " + in_quotes(key) + " in " + title_.text(),
                  reader_.did_you_mean(key, candidates, std::move(all)));
  }
}

namespace {
std::string_view describe(YamlNode node) {
  if (node.is_null()) return "nothing";
  switch (node.kind()) {
    case YamlKind::kScalar: return "text";
    case YamlKind::kSequence: return "a list";
    case YamlKind::kMapping: return "a mapping";
  }
  return "something else";
}
}  // namespace

void Reader::wrong_type(const Field& field, std::string_view expected) {
  error(field.mark(), (field.is_item ? "an item of " : "") + in_quotes(field.key) + " takes " +
                          std::string(expected) + ", not " + std::string(describe(field.value)));
}

std::string Reader::did_you_mean(std::string_view text, std::span<const std::string> candidates,
                                 std::string otherwise) {
  if (!findings_.wants_guesses()) return otherwise;
  const std::string* near = closest(text, candidates);
  return near == nullptr ? std::move(otherwise) : "did you mean " + in_quotes(*near) + "?";
}

void Reader::not_yet(const Field& field, std::string hint) {
  if (field) error(field.key_mark, in_quotes(field.key) + " is not supported yet", std::move(hint));
}

void Reader::word_not_yet(const Field& field, std::string_view word) {
  error(field.mark(), in_quotes(field.key) + ": " + in_quotes(word) + " is not supported yet");
}

Fields Reader::mapping(const Field& field, Title title) {
  if (!field || field.value.is_mapping()) return Fields(*this, field.value, title);
  wrong_type(field, "a mapping");
  return Fields(*this, YamlNode(), title);
}

std::vector<Field> Reader::entries(const Field& field) {
  std::vector<Field> found;
  if (!field) return found;
  if (!field.value.is_mapping()) {
    wrong_type(field, "a mapping");
    return found;
  }
  found.reserve(field.value.size());
  for (std::size_t i = 0; i < field.value.size(); ++i) {
    const YamlNode key = field.value.key(i);
    const bool is_merge = key.text() == "<<" && key.is_plain();  // Refused by the YAML reader.
    if (!is_merge) found.push_back({key.text(), key.mark(), field.value.value(i), false});
  }
  return found;
}

std::vector<Field> Reader::items(const Field& field) {
  std::vector<Field> found;
  if (!field) return found;
  if (!field.value.is_sequence()) {
    wrong_type(field, "a list");
    return found;
  }
  found.reserve(field.value.size());
  for (std::size_t i = 0; i < field.value.size(); ++i)
    found.push_back({field.key, field.value.item(i).mark(), field.value.item(i), true});
  return found;
}

std::vector<Field> Reader::one_or_many(const Field& field) {
  if (field && field.value.is_scalar()) return {field};
  return items(field);
}

std::optional<std::string_view> Reader::scalar(const Field& field, std::string_view expected) {
  if (!field) return std::nullopt;
  if (field.value.is_scalar() && !field.value.is_null()) return field.value.text();
  wrong_type(field, expected);
  return std::nullopt;
}

bool Reader::text(const Field& field, std::string& into) {
  const auto given = scalar(field, "text");
  if (!given) return false;
  if (given->empty()) {
    error(field.mark(), in_quotes(field.key) + " must not be empty");
    return false;
  }
  into = *given;
  return true;
}

bool Reader::boolean(const Field& field, bool& into) {
  const auto given = scalar(field, "true or false");
  if (!given) return false;
  if (*given != "true" && *given != "false") {
    error(field.mark(), in_quotes(field.key) + " takes true or false, not " + in_quotes(*given));
    return false;
  }
  into = *given == "true";
  return true;
}

bool Reader::duration(const Field& field, Duration& into, Duration least) {
  const auto given = scalar(field, "a duration");
  if (!given) return false;
  const auto value = parse_duration(*given);
  if (!value) {
    const bool is_number = parse_decimal(*given).has_value();
    error(field.mark(), in_quotes(field.key) + ": " + in_quotes(*given) + " is not a duration",
          is_number ? "add a unit: " + std::string(*given) + "s"
                    : "a number with a unit, such as 90s, 1h30m or 500ms");
    return false;
  }
  if (*value < least) {
    error(field.mark(), in_quotes(field.key) + " must be at least " + format_duration(least));
    return false;
  }
  into = *value;
  return true;
}

bool Reader::percentage(const Field& field, int& into) {
  const auto given = scalar(field, "a percentage");
  if (!given) return false;
  std::string_view digits = *given;
  if (digits.ends_with('%')) digits.remove_suffix(1);
  const auto value = parse_decimal(digits);
  if (digits.size() == given->size() || !value || *value > 100) {
    error(field.mark(), in_quotes(field.key) + ": " + in_quotes(*given) + " is not a percentage",
          "from 0% to 100%");
    return false;
  }
  into = static_cast<int>(*value);
  return true;
}

std::optional<std::uint64_t> Reader::whole(const Field& field, std::uint64_t least,
                                           std::uint64_t most, bool is_size) {
  const auto given = scalar(field, is_size ? "a size" : "a number");
  if (!given) return std::nullopt;
  const auto value = is_size ? parse_size(*given) : parse_decimal(*given);
  if (!value) {
    error(field.mark(),
          in_quotes(field.key) + ": " + in_quotes(*given) +
              (is_size ? " is not a size" : " is not a whole number"),
          is_size ? "bytes, or a number with KiB, MiB or GiB, such as 64KiB" : "");
    return std::nullopt;
  }
  if (*value >= least && *value <= most) return value;
  std::string range = *value < least ? " must be at least " + std::to_string(least)
                                     : " must be at most " + std::to_string(most);
  error(field.mark(), in_quotes(field.key) + range);
  return std::nullopt;
}

void Reader::no_such_choice(const Field& field, std::string_view given,
                            std::span<const std::string> words) {
  std::string all;
  for (const std::string& word : words) {
    if (!all.empty()) all += &word == &words.back() ? " or " : ", ";
    all += word;
  }
  error(field.mark(),
        (field.is_item ? "an item of " : "") + in_quotes(field.key) + " takes " + all + ", not " +
            in_quotes(given),
        did_you_mean(given, words));
}

std::string Reader::resolve(std::string_view path) const {
  if (path.starts_with('/')) return std::string(path);
  return directory_ + "/" + std::string(path);
}

bool Reader::path(const Field& field, std::string& into) {
  std::string given;
  if (!text(field, given)) return false;
  if (given.find('\0') != given.npos) {
    error(field.mark(), in_quotes(field.key) + ": a path has no zero byte");
    return false;
  }
  into = resolve(given);
  return true;
}

bool Reader::file(const Field& field, std::string& into) {
  std::string name;
  if (!path(field, name)) return false;
  struct stat facts {};
  if (stat(name.c_str(), &facts) != 0) {
    error(field.mark(), errno_error(in_quotes(field.key) + ": " + name, errno).message);
    return false;
  }
  if (!S_ISREG(facts.st_mode)) {
    error(field.mark(), in_quotes(field.key) + ": " + name + " is not a file");
    return false;
  }
  if (access(name.c_str(), R_OK) != 0) {
    error(field.mark(), errno_error(in_quotes(field.key) + ": " + name, errno).message);
    return false;
  }
  into = std::move(name);
  return true;
}

bool Reader::socket_path(const Field& field, std::string& into) {
  std::string name;
  if (!path(field, name)) return false;
  if (name.size() >= sizeof(sockaddr_un::sun_path)) {
    error(field.mark(), in_quotes(field.key) + ": " + in_quotes(name) + " is too long for a socket",
          "at most " + std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes");
    return false;
  }
  into = std::move(name);
  return true;
}

std::optional<Duration> parse_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    std::uint64_t ms;
  };
  static constexpr Unit kUnits[] = {
      {"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}};
  constexpr std::uint64_t kMostMs = 3650 * std::uint64_t{86'400'000};
  if (text.empty()) return std::nullopt;
  std::uint64_t total_ms = 0;
  std::size_t next_unit = 0;
  while (!text.empty()) {
    const auto is_not_digit = [](char c) { return !is_digit(c); };
    const auto unit_at = std::find_if(text.begin(), text.end(), is_not_digit) - text.begin();
    const auto count = parse_decimal(text.substr(0, unit_at));
    text.remove_prefix(unit_at);
    const auto end = std::find_if(text.begin(), text.end(), is_digit) - text.begin();
    const std::string_view name = text.substr(0, end);
    text.remove_prefix(end);
    while (next_unit < std::size(kUnits) && kUnits[next_unit].name != name) ++next_unit;
    if (!count || next_unit == std::size(kUnits)) return std::nullopt;
    if (*count > kMostMs / kUnits[next_unit].ms) return std::nullopt;
    total_ms += *count * kUnits[next_unit++].ms;
  }
  if (total_ms > kMostMs) return std::nullopt;
  return std::chrono::milliseconds(total_ms);
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  struct Unit {
    std::string_view name;
    int bits;
  };
  static constexpr Unit kUnits[] = {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
  int bits = 0;
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    text.remove_suffix(unit.name.size());
    bits = unit.bits;
    break;
  }
  const auto count = parse_decimal(text);
  if (!count || *count > std::numeric_limits<std::uint64_t>::max() >> bits) return std::nullopt;
  return *count << bits;
}

std::optional<std::string> parse_hmac_key(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  std::string plain(text.substr(0, text.find_last_not_of(" \t\r\n=") + 1));
  std::replace(plain.begin(), plain.end(), '+', '-');
  std::replace(plain.begin(), plain.end(), '/', '_');
  auto key = from_base64url(plain);
  if (key && key->empty()) key.reset();
  return key;
}

}  // namespace gatehouse::daemon
