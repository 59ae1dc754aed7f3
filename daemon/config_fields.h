#pragma once
// The small reader that all parts of the configuration share: keys of a mapping by name, scalars by
// type, complaints at the right place. Fields of one mapping remember which keys were asked for, so
// that what nobody asked for is unknown. Values are written through a reference only when they are
// right, so defaults stay where the structs declare them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/diagnostic.h"
#include "daemon/yaml.h"

namespace gatehouse::daemon {

/// A value and the key it stands under; false when the key is absent. An item of a list carries the
/// key of the list.
struct Field {
  std::string_view key;  // text in the document, or a literal
  Mark key_mark;
  YamlNode value;
  bool is_item = false;
  explicit operator bool() const { return static_cast<bool>(value); }
  Mark mark() const { return value ? value.mark() : key_mark; }
};

/// What a mapping is called in messages: `vhost "shop.example"`, or `"limits"` without a name.
struct Title {
  std::string_view kind;
  std::string_view name{};
  std::string text() const;
};

template <class T>
struct Range {
  T least = 0;
  T most = std::numeric_limits<T>::max();
};

template <class E>
struct Choice {
  std::string_view word;
  std::optional<E> value;  // none: in the schema, but not supported yet
};

class Reader;

/// The keys of one mapping.
class Fields {
 public:
  Fields(Reader& reader, YamlNode mapping, Title title)
      : reader_(reader), mapping_(mapping), title_(title) {}

  /// Asks for a key. A key without a value is an error, and then as if absent.
  Field find(std::string_view key);
  /// The same, and its absence is an error too.
  Field need(std::string_view key, std::string hint = {});
  /// Complains about every key that was not asked for.
  void finish();

  /// False: there was no mapping, so all keys are absent.
  explicit operator bool() const { return static_cast<bool>(mapping_); }
  Mark mark() const { return mapping_ ? mapping_.mark() : Mark{}; }
  const Title& title() const { return title_; }
  Reader& reader() { return reader_; }

 private:
  static constexpr std::size_t kKeysMax = 32;
  Reader& reader_;
  YamlNode mapping_;  // no node: a mapping without keys
  Title title_;
  std::array<std::string_view, kKeysMax> known_{};
  std::size_t known_count_ = 0;
};

class Reader {
 public:
  /// `findings` outlives this; `directory` is where relative paths start.
  Reader(Findings& findings, std::string directory)
      : findings_(findings), directory_(std::move(directory)) {}

  Findings& findings() { return findings_; }
  void error(Mark mark, std::string message, std::string hint = {}) {
    findings_.error(mark, std::move(message), std::move(hint));
  }

  /// "did you mean ...?", or else `otherwise`.
  std::string did_you_mean(std::string_view text, std::span<const std::string> candidates,
                           std::string otherwise = {});
  /// The key is in the schema, and this version does not do it.
  void not_yet(const Field& field, std::string hint = {});
  /// The keys of a mapping; of no mapping when it is something else, which is an error.
  Fields mapping(const Field& field, Title title);
  /// Pairs of a mapping whose keys are names that the operator chose; each `key` is one.
  std::vector<Field> entries(const Field& field);
  /// Items of a list.
  std::vector<Field> items(const Field& field);
  /// Items of a list, or one value that stands for a list of one.
  std::vector<Field> one_or_many(const Field& field);

  std::optional<std::string_view> scalar(const Field& field, std::string_view expected);
  bool text(const Field& field, std::string& into);  // not empty
  bool boolean(const Field& field, bool& into);
  bool duration(const Field& field, Duration& into, Duration least = 1ms);
  bool percentage(const Field& field, int& into);
  bool path(const Field& field, std::string& into);  // need not exist
  bool file(const Field& field, std::string& into);  // exists and can be read
  bool socket_path(const Field& field, std::string& into);

  template <class T>
  bool number(const Field& field, T& into, Range<std::type_identity_t<T>> range = {}) {
    const auto value = whole(field, range.least, range.most, /*is_size=*/false);
    if (value) into = static_cast<T>(*value);
    return value.has_value();
  }
  /// Bytes: 10MiB, or plain.
  template <class T>
  bool size(const Field& field, T& into, Range<std::type_identity_t<T>> range = {}) {
    const auto value = whole(field, range.least, range.most, /*is_size=*/true);
    if (value) into = static_cast<T>(*value);
    return value.has_value();
  }
  template <class E>
  bool choice(const Field& field, E& into, std::span<const Choice<E>> choices) {
    if (!field) return false;
    std::vector<std::string> words;
    const auto given = scalar(field, "a word");
    if (!given) return false;
    for (const Choice<E>& choice : choices) {
      if (choice.word == *given) return take_choice(field, into, choice);
      words.emplace_back(choice.word);
    }
    no_such_choice(field, *given, words);
    return false;
  }

  /// Relative to the configuration's directory, when it is relative.
  std::string resolve(std::string_view path) const;

 private:
  template <class E>
  bool take_choice(const Field& field, E& into, const Choice<E>& choice) {
    if (choice.value)
      into = *choice.value;
    else
      word_not_yet(field, choice.word);
    return choice.value.has_value();
  }
  std::optional<std::uint64_t> whole(const Field& field, std::uint64_t least, std::uint64_t most,
                                     bool is_size);
  void no_such_choice(const Field& field, std::string_view given,
                      std::span<const std::string> words);
  void word_not_yet(const Field& field, std::string_view word);
  void wrong_type(const Field& field, std::string_view expected);

  Findings& findings_;
  std::string directory_;
};

/// "90s", "1h30m", "500ms": units d, h, m, s, ms in falling order. Nullopt: not that, or above ten
/// years.
std::optional<Duration> parse_duration(std::string_view text);
/// "64KiB", "10MiB", "1GiB", "512".
std::optional<std::uint64_t> parse_size(std::string_view text);
/// The octets of an HMAC key as CAs hand it out: base64url by RFC 8555 section 7.3.4, elsewhere
/// plain base64, with padding or without, in a line of its own. Never empty.
std::optional<std::string> parse_hmac_key(std::string_view text);

}  // namespace gatehouse::daemon
