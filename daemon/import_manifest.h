#pragma once
// An object of Kubernetes as it stands in a file, and what became of each of its fields. A field
// that nobody says anything about counts as dropped, so none is lost without a word. What is said
// of a mapping or a list holds for all below it that has no word of its own.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/yaml.h"

namespace gatehouse::daemon {

enum class Fate : std::uint8_t {
  kUsed,        // taken as it is
  kTranslated,  // taken, and it looks different now
  kDropped,     // not needed here, or without an equal that matters
  kRefused      // wanted, and not to be had: a person must look
};
std::string_view to_string(Fate fate);

/// A line of the report: a scalar of the input, or an empty list or mapping.
struct ImportedField {
  std::string file;
  Mark mark;
  Fate fate = Fate::kDropped;
  std::string object;  // `Certificate istio-system/istio-ingress-certs`
  std::string field;   // `spec.dnsNames[0]`
  std::string reason;
};

class Manifest;

/// A node of a manifest, or none. Null is none, as Kubernetes has it. Does not outlive its
/// manifest.
class Item {
 public:
  Item() = default;
  explicit operator bool() const { return node_ && !node_.is_null(); }

  Item at(std::string_view key) const;
  std::vector<Item> items() const;    // of a list
  std::vector<Item> entries() const;  // of a mapping: its values, each with its key()
  std::string_view key() const { return key_; }
  std::string_view text() const;  // of a scalar, else empty
  bool is(std::string_view expected) const { return *this && text() == expected; }
  bool is_mapping() const { return *this && node_.is_mapping(); }
  const Manifest* manifest() const { return manifest_; }

  void used(std::string why = {}) const { judge(Fate::kUsed, std::move(why)); }
  void translated(std::string why) const { judge(Fate::kTranslated, std::move(why)); }
  void dropped(std::string why) const { judge(Fate::kDropped, std::move(why)); }
  void refused(std::string why) const { judge(Fate::kRefused, std::move(why)); }
  /// Of all below it, whatever was said of a part.
  void all_dropped(std::string why) const { judge_all(Fate::kDropped, std::move(why)); }
  void all_refused(std::string why) const { judge_all(Fate::kRefused, std::move(why)); }

 private:
  friend class Manifest;
  Item(Manifest* manifest, std::string path, std::string_view key, YamlNode node)
      : manifest_(manifest), path_(std::move(path)), key_(key), node_(node) {}
  void judge(Fate fate, std::string why) const;
  void judge_all(Fate fate, std::string why) const;

  Manifest* manifest_ = nullptr;
  std::string path_;
  std::string_view key_;  // in the document
  YamlNode node_;
};

class Manifest {
 public:
  /// `root` is a mapping whose document outlives this. Items of a List are manifests of their own:
  /// the report of the List leaves them out.
  Manifest(std::string file, YamlNode root);
  Manifest(const Manifest&) = delete;
  Manifest& operator=(const Manifest&) = delete;

  Item root() { return {this, {}, {}, root_}; }
  Item spec() { return root().at("spec"); }
  Item annotations() { return root().at("metadata").at("annotations"); }

  const std::string& group() const { return group_; }  // empty: the core group
  const std::string& kind() const { return kind_; }
  const std::string& name() const { return name_; }
  const std::string& name_space() const { return namespace_; }  // "default" when it has none
  bool is_list() const { return is_list_; }
  std::string title() const;   // `Certificate istio-system/istio-ingress-certs`
  std::string origin() const;  // `certificates.yaml:12`

  /// Adds a line for each field, in the order of the file.
  void report(std::vector<ImportedField>& into) const;

 private:
  friend class Item;
  struct Verdict {
    Fate fate = Fate::kDropped;
    std::string why;
  };
  void judge_usual();
  void report(YamlNode node, const std::string& path, const Verdict& inherited,
              std::vector<ImportedField>& into) const;

  std::string file_;
  YamlNode root_;
  std::string group_, kind_, name_, namespace_;
  bool is_list_ = false;
  std::map<std::string, Verdict> verdicts_;  // by path
};

/// Whether objects of that kind belong to no namespace.
bool is_cluster_scoped(std::string_view kind);

/// For a comment or a line of the report: printable ASCII, all else is a question mark (YAML has
/// line breaks beyond ASCII).
std::string one_line(std::string_view text);

}  // namespace gatehouse::daemon
