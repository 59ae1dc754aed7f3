#pragma once
// Turns the events of one document into nodes, within limits. Private to yaml.cc: it owns nothing
// but its place in the document.

#include <yaml.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/yaml_content.h"

namespace gatehouse::daemon {

Mark to_mark(const yaml_mark_t& mark);

class YamlBuilder {
 public:
  YamlBuilder(const YamlLimits& limits, YamlContent& content, std::vector<YamlProblem>& problems)
      : limits_(limits), content_(content), problems_(problems) {}

  /// False: the document ends here, and the reason is among the problems.
  bool take(const yaml_event_t& event);
  bool is_at_end() const { return is_at_end_; }
  bool has_document() const { return has_document_; }
  /// Nodes until now, with all aliases written out.
  std::uint64_t expanded() const { return expanded_; }

 private:
  struct Open {                 // a sequence or mapping whose end has not been seen
    std::uint32_t node;         // in content_.nodes
    std::size_t first_pending;  // in pending_
  };

  bool begin_document(const yaml_event_t& event);
  bool scalar(const yaml_event_t& event);
  bool begin(YamlKind kind, const yaml_event_t& event, const yaml_char_t* anchor,
             const yaml_char_t* tag);
  bool end();
  bool alias(const yaml_event_t& event);

  bool fail(const Mark& mark, std::string message, std::string hint = {});
  void complain(const Mark& mark, std::string message, std::string hint = {});
  bool count(std::uint64_t nodes, const Mark& mark);
  bool check_key(std::uint32_t node, const Mark& mark);
  void check_tag(const yaml_char_t* tag, const Mark& mark);
  bool append(std::uint32_t node, const Mark& mark);
  void remember(const yaml_char_t* anchor, std::uint32_t node);
  void check_duplicates(const YamlEntry& mapping);
  void complain_of_duplicate(const YamlEntry& first, const YamlEntry& again);

  YamlLimits limits_;
  YamlContent& content_;
  std::vector<YamlProblem>& problems_;
  std::vector<Open> open_;
  std::vector<std::uint32_t> pending_;  // children of what is open, innermost last
  std::unordered_map<std::string, std::uint32_t> anchors_;
  std::uint64_t expanded_ = 0;
  bool has_document_ = false;
  bool is_at_end_ = false;
};

}  // namespace gatehouse::daemon
