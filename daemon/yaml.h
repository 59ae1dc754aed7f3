#pragma once
// YAML (and so JSON) as immutable nodes that know where they stand: line and column of each value
// and of each key. On libyaml's events, because a loaded document has lost those. Scalars stay
// text: the schema of the configuration types them, not YAML 1.1.
//
// A file from a stranger costs a bounded amount: bytes, depth and nodes have limits, and an alias
// shares the nodes of its anchor while the nodes it stands for are counted (billion laughs). Merge
// keys and tags are refused, and several documents where one is asked for.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gatehouse::daemon {

/// A place in a file. Both count from 1, columns in characters; line 0 is the file as a whole.
struct Mark {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  friend bool operator==(const Mark&, const Mark&) = default;
};

/// What is wrong with the text as YAML.
struct YamlProblem {
  Mark mark;
  std::string message;
  std::string hint;  // may be empty
};

struct YamlLimits {
  std::size_t bytes = 16 * 1024 * 1024;
  std::size_t depth = 64;
  std::size_t nodes = 2'000'000;  // with all aliases expanded
};

enum class YamlKind : std::uint8_t { kScalar, kSequence, kMapping };

struct YamlContent;  // the nodes of a document; known to yaml.cc

/// A cheap handle to a node of a YamlDocument, which outlives it. A default one is no node.
class YamlNode {
 public:
  YamlNode() = default;
  explicit operator bool() const { return content_ != nullptr; }

  YamlKind kind() const;
  Mark mark() const;
  bool is_scalar() const { return kind() == YamlKind::kScalar; }
  bool is_sequence() const { return kind() == YamlKind::kSequence; }
  bool is_mapping() const { return kind() == YamlKind::kMapping; }

  /// Of a scalar: its text, and whether it stands there without quotes.
  std::string_view text() const;
  bool is_plain() const;
  /// Nothing at all, `~` or `null`, without quotes.
  bool is_null() const;

  /// Items of a sequence, pairs of a mapping; 0 for a scalar.
  std::size_t size() const;
  YamlNode item(std::size_t index) const;
  YamlNode key(std::size_t index) const;  // always a scalar
  YamlNode value(std::size_t index) const;

 private:
  friend class YamlDocument;
  YamlNode(const YamlContent* content, std::uint32_t index) : content_(content), index_(index) {}

  const YamlContent* content_ = nullptr;
  std::uint32_t index_ = 0;
};

class YamlDocument {
 public:
  /// Nullopt when the text cannot be read to its end. Problems that leave the rest readable
  /// (duplicate keys, merge keys, tags) are added too, and then there is a document.
  static std::optional<YamlDocument> parse(std::string_view text,
                                           std::vector<YamlProblem>& problems,
                                           const YamlLimits& limits = {});
  /// The same for a file of several documents (`---` between them): manifests of others. The limits
  /// hold for all of them together.
  static std::optional<std::vector<YamlDocument>> parse_all(std::string_view text,
                                                            std::vector<YamlProblem>& problems,
                                                            const YamlLimits& limits = {});
  ~YamlDocument();
  YamlDocument(YamlDocument&&) noexcept;
  YamlDocument& operator=(YamlDocument&&) noexcept;

  /// No node when the text is empty.
  YamlNode root() const;

 private:
  explicit YamlDocument(std::unique_ptr<YamlContent> content);
  std::unique_ptr<YamlContent> content_;
};

}  // namespace gatehouse::daemon
