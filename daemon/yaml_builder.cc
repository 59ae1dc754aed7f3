#include "daemon/yaml_builder.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "daemon/base/error.h"

namespace gatehouse::daemon {

namespace {
constexpr std::size_t kProblemsMax = 1000;  // Nobody reads more.

std::string_view view(const yaml_char_t* text) {
  return text == nullptr ? std::string_view() : reinterpret_cast<const char*>(text);
}
}  // namespace

Mark to_mark(const yaml_mark_t& mark) {
  return {static_cast<std::uint32_t>(mark.line + 1), static_cast<std::uint32_t>(mark.column + 1)};
}

bool YamlBuilder::take(const yaml_event_t& event) {
  switch (event.type) {
    case YAML_DOCUMENT_START_EVENT: return begin_document(event);
    case YAML_SCALAR_EVENT: return scalar(event);
    case YAML_SEQUENCE_START_EVENT:
      return begin(YamlKind::kSequence, event, event.data.sequence_start.anchor,
                   event.data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
      return begin(YamlKind::kMapping, event, event.data.mapping_start.anchor,
                   event.data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return end();
    case YAML_ALIAS_EVENT: return alias(event);
    case YAML_STREAM_END_EVENT: is_at_end_ = true; return true;
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    case YAML_NO_EVENT: return true;
  }
  return true;
}

bool YamlBuilder::begin_document(const yaml_event_t& event) {
  if (has_document_)
    return fail(to_mark(event.start_mark), "a second document", "one file holds one configuration");
  has_document_ = true;
  return true;
}

bool YamlBuilder::scalar(const yaml_event_t& event) {
  const auto& scalar = event.data.scalar;
  YamlEntry entry;
  entry.mark = to_mark(event.start_mark);
  entry.is_plain = scalar.style == YAML_PLAIN_SCALAR_STYLE;
  check_tag(scalar.tag, entry.mark);
  if (!count(1, entry.mark)) return false;
  if (scalar.length > 0) {
    char* copy = static_cast<char*>(content_.text.allocate(scalar.length, 1));
    std::memcpy(copy, scalar.value, scalar.length);
    entry.text = {copy, scalar.length};
  }
  const auto node = static_cast<std::uint32_t>(content_.nodes.size());
  content_.nodes.push_back(entry);
  remember(scalar.anchor, node);
  return append(node, entry.mark);
}

bool YamlBuilder::begin(YamlKind kind, const yaml_event_t& event, const yaml_char_t* anchor,
                        const yaml_char_t* tag) {
  YamlEntry entry;
  entry.kind = kind;
  entry.mark = to_mark(event.start_mark);
  entry.is_open = true;
  check_tag(tag, entry.mark);
  if (open_.size() >= limits_.depth)
    return fail(entry.mark, "nested deeper than " + std::to_string(limits_.depth) + " levels");
  if (!count(1, entry.mark)) return false;
  const auto node = static_cast<std::uint32_t>(content_.nodes.size());
  content_.nodes.push_back(entry);
  remember(anchor, node);
  if (!append(node, entry.mark)) return false;
  open_.push_back({node, pending_.size()});
  return true;
}

bool YamlBuilder::end() {
  const Open open = open_.back();
  open_.pop_back();
  YamlEntry& entry = content_.nodes[open.node];
  entry.is_open = false;
  entry.first_child = static_cast<std::uint32_t>(content_.children.size());
  entry.child_count = static_cast<std::uint32_t>(pending_.size() - open.first_pending);
  std::uint8_t height = 0;
  for (std::size_t i = open.first_pending; i < pending_.size(); ++i) {
    const YamlEntry& child = content_.nodes[pending_[i]];
    entry.expanded += child.expanded;  // Bounded by count().
    height = std::max(height, child.height);
    content_.children.push_back(pending_[i]);
  }
  entry.height = static_cast<std::uint8_t>(height + 1);
  pending_.resize(open.first_pending);
  if (entry.kind == YamlKind::kMapping) check_duplicates(entry);
  return true;
}

bool YamlBuilder::alias(const yaml_event_t& event) {
  const Mark mark = to_mark(event.start_mark);
  const std::string name(view(event.data.alias.anchor));
  const auto found = anchors_.find(name);
  if (found == anchors_.end()) {
    return fail(mark, "no anchor &" + name + " stands before this alias",
                "text that begins with * needs quotes: \"*" + name + "\"");
  }
  const YamlEntry& target = content_.nodes[found->second];
  if (target.is_open) return fail(mark, "the alias *" + name + " is inside of what it stands for");
  if (open_.size() + target.height > limits_.depth)
    return fail(mark, "nested deeper than " + std::to_string(limits_.depth) + " levels");
  if (!count(target.expanded, mark)) return false;
  return append(found->second, mark);
}

bool YamlBuilder::fail(const Mark& mark, std::string message, std::string hint) {
  problems_.push_back({mark, std::move(message), std::move(hint)});
  return false;
}

void YamlBuilder::complain(const Mark& mark, std::string message, std::string hint) {
  if (problems_.size() < kProblemsMax)
    problems_.push_back({mark, std::move(message), std::move(hint)});
}

bool YamlBuilder::count(std::uint64_t nodes, const Mark& mark) {
  expanded_ += nodes;
  if (expanded_ <= limits_.nodes) return true;
  return fail(mark,
              "more than " + std::to_string(limits_.nodes) + " values, with aliases written out",
              "an alias of aliases multiplies what it stands for");
}

void YamlBuilder::check_tag(const yaml_char_t* tag, const Mark& mark) {
  if (tag == nullptr) return;
  complain(mark, "the tag " + std::string(view(tag)) + " is not supported",
           "leave it out: each key knows the type of its value");
}

/// A key is a scalar, and none that asks for a merge.
bool YamlBuilder::check_key(std::uint32_t node, const Mark& mark) {
  const YamlEntry& key = content_.nodes[node];
  if (key.kind != YamlKind::kScalar) return fail(mark, "a key must be text");
  if (key.text == "<<" && key.is_plain) {
    complain(mark, "merge keys (<<) are not supported",
             "give an anchor to the whole value and use it as key: *anchor");
  }
  return true;
}

bool YamlBuilder::append(std::uint32_t node, const Mark& mark) {
  if (open_.empty()) {
    content_.root = node;
    return true;
  }
  const Open& parent = open_.back();
  const bool is_key = content_.nodes[parent.node].kind == YamlKind::kMapping &&
                      (pending_.size() - parent.first_pending) % 2 == 0;
  if (is_key && !check_key(node, mark)) return false;
  pending_.push_back(node);
  return true;
}

void YamlBuilder::remember(const yaml_char_t* anchor, std::uint32_t node) {
  if (anchor != nullptr) anchors_.insert_or_assign(std::string(view(anchor)), node);
}

void YamlBuilder::check_duplicates(const YamlEntry& mapping) {
  const auto key = [&](std::uint32_t pair) -> const YamlEntry& {
    return content_.nodes[content_.children[mapping.first_child + 2 * pair]];
  };
  const std::uint32_t pairs = mapping.child_count / 2;
  constexpr std::uint32_t kFew = 12;  // Comparing all with all is the fastest way for these.
  if (pairs <= kFew) {
    for (std::uint32_t i = 1; i < pairs; ++i) {
      std::uint32_t j = 0;
      while (j < i && key(j).text != key(i).text) ++j;
      if (j < i) complain_of_duplicate(key(j), key(i));
    }
    return;
  }
  std::unordered_map<std::string_view, std::uint32_t> seen;
  seen.reserve(pairs);
  for (std::uint32_t i = 0; i < pairs; ++i) {
    const auto [first, is_new] = seen.try_emplace(key(i).text, i);
    if (!is_new) complain_of_duplicate(key(first->second), key(i));
  }
}

void YamlBuilder::complain_of_duplicate(const YamlEntry& first, const YamlEntry& again) {
  complain(again.mark,
           "key \"" + std::string(again.text.substr(0, 80)) + "\" is here twice, first on line " +
               std::to_string(first.mark.line),
           "keep one of them");
}

}  // namespace gatehouse::daemon
