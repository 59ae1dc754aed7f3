#include "daemon/yaml.h"

#include <yaml.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "daemon/base/error.h"
#include "daemon/base/text.h"
#include "daemon/yaml_builder.h"
#include "daemon/yaml_content.h"

namespace gatehouse::daemon {

YamlKind YamlNode::kind() const { return content_->nodes[index_].kind; }
Mark YamlNode::mark() const { return content_->nodes[index_].mark; }
std::string_view YamlNode::text() const { return content_->nodes[index_].text; }
bool YamlNode::is_plain() const { return content_->nodes[index_].is_plain; }

bool YamlNode::is_null() const {
  const YamlEntry& entry = content_->nodes[index_];
  if (entry.kind != YamlKind::kScalar || !entry.is_plain) return false;
  return entry.text.empty() || entry.text == "~" || entry.text == "null";
}

std::size_t YamlNode::size() const {
  const YamlEntry& entry = content_->nodes[index_];
  return entry.kind == YamlKind::kMapping ? entry.child_count / 2 : entry.child_count;
}

YamlNode YamlNode::item(std::size_t index) const {
  const YamlEntry& entry = content_->nodes[index_];
  check(entry.kind == YamlKind::kSequence && index < entry.child_count, "item of a sequence");
  return {content_, content_->children[entry.first_child + index]};
}

YamlNode YamlNode::key(std::size_t index) const {
  const YamlEntry& entry = content_->nodes[index_];
  check(entry.kind == YamlKind::kMapping && index < entry.child_count / 2, "key of a mapping");
  return {content_, content_->children[entry.first_child + 2 * index]};
}

YamlNode YamlNode::value(std::size_t index) const {
  const YamlEntry& entry = content_->nodes[index_];
  check(entry.kind == YamlKind::kMapping && index < entry.child_count / 2, "value of a mapping");
  return {content_, content_->children[entry.first_child + 2 * index + 1]};
}

YamlDocument::YamlDocument(std::unique_ptr<YamlContent> content) : content_(std::move(content)) {}
YamlDocument::~YamlDocument() = default;
YamlDocument::YamlDocument(YamlDocument&&) noexcept = default;
YamlDocument& YamlDocument::operator=(YamlDocument&&) noexcept = default;

YamlNode YamlDocument::root() const {
  return content_->root == YamlContent::kNone ? YamlNode()
                                              : YamlNode(content_.get(), content_->root);
}

namespace {

struct Parser {
  yaml_parser_t native{};
  /// `text` outlives this.
  explicit Parser(std::string_view text) {
    check(yaml_parser_initialize(&native) != 0, "memory for a YAML parser");
    yaml_parser_set_encoding(&native, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&native, reinterpret_cast<const unsigned char*>(text.data()),
                                 text.size());
  }
  ~Parser() { yaml_parser_delete(&native); }
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;
};

struct Event {
  yaml_event_t native{};
  Event() = default;
  ~Event() { yaml_event_delete(&native); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
};

Mark mark_at(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const std::size_t newline = before.rfind('\n');
  const std::string_view line =
      newline == std::string_view::npos ? before : before.substr(newline + 1);
  const auto is_lead = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; };
  return {static_cast<std::uint32_t>(std::count(before.begin(), before.end(), '\n') + 1),
          static_cast<std::uint32_t>(std::count_if(line.begin(), line.end(), is_lead) + 1)};
}

/// YAML 1.2 section 5.1: what may stand in a file. Nullopt: all of it.
std::optional<YamlProblem> find_bad_character(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') {
      return YamlProblem{mark_at(text, at), "control character \\x" + to_hex(text.substr(at, 1)),
                         "in double quotes it can be written as an escape"};
    }
    const std::size_t size = utf8_sequence_size(text.substr(at, 4));
    if (size == 0) {
      return YamlProblem{mark_at(text, at),
                         "byte \\x" + to_hex(text.substr(at, 1)) + " is not valid UTF-8",
                         "save the file as UTF-8"};
    }
    at += size;
  }
  return std::nullopt;
}

std::string_view line_at(std::string_view text, std::size_t line) {
  for (; line > 1; --line) take_until(text, '\n');
  return take_until(text, '\n');
}

/// A way out for the mistakes that people make most.
std::string hint_for(const yaml_parser_t& parser, std::string_view text, const Mark& mark) {
  const std::string_view problem = parser.problem == nullptr ? "" : parser.problem;
  const std::string_view line = trim(line_at(text, mark.line));
  if (problem.find("alphabetic or numeric") != problem.npos)
    return "text that begins with * or & needs quotes, such as \"*.shop.mydomain.com\"";
  if (problem.find("mapping values are not allowed") != problem.npos)
    return "check the indentation; text with a colon and a space in it needs quotes";
  if (problem.find("expected ':'") != problem.npos) return "a key is written key: value";
  if (problem.find("cannot start any token") != problem.npos)
    return "text that begins with one of % @ ` needs quotes";
  if (problem.find("block end") != problem.npos || problem.find("expected key") != problem.npos) {
    return line.starts_with('-') ? "the items of a list begin in the same column"
                                 : "the keys of a mapping begin in the same column";
  }
  if (problem.find("unexpected end of stream") != problem.npos) return "a quote is not closed";
  if (problem.find("',' or") != problem.npos)
    return "a bracket is not closed, or a comma is missing";
  return {};
}

YamlProblem problem_of(const yaml_parser_t& parser, std::string_view text) {
  if (parser.error == YAML_MEMORY_ERROR) return {Mark{}, "out of memory", ""};
  YamlProblem problem;
  problem.message = parser.problem == nullptr ? "not YAML" : parser.problem;
  if (parser.error == YAML_READER_ERROR) {
    problem.mark = mark_at(text, std::min(parser.problem_offset, text.size()));
    return problem;
  }
  problem.mark = to_mark(parser.problem_mark);
  const std::size_t index = parser.problem_mark.index;  // In characters; exact for ASCII lines.
  const std::string_view line = line_at(text, problem.mark.line);
  const bool is_tab = parser.problem_mark.column < line.size() &&
                      line[parser.problem_mark.column] == '\t' && index < text.size();
  if (is_tab) {
    problem.message = "a tab cannot indent";
    problem.hint = "indent with spaces";
    return problem;
  }
  problem.hint = hint_for(parser, text, problem.mark);
  if (parser.context != nullptr) {
    problem.message.append(" ").append(parser.context);
    const Mark context = to_mark(parser.context_mark);
    if (context.line != problem.mark.line && parser.context_mark.index != 0)
      problem.message += " that begins on line " + std::to_string(context.line);
  }
  return problem;
}

/// What is wrong with the text before any of it is parsed. Nullopt: nothing.
std::optional<YamlProblem> find_unreadable(std::string_view text, const YamlLimits& limits) {
  if (text.size() <= limits.bytes) return find_bad_character(text);
  return YamlProblem{Mark{},
                     "the file has " + std::to_string(text.size()) + " bytes; at most " +
                         std::to_string(limits.bytes) + " are read",
                     ""};
}

std::string_view without_byte_order_mark(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  return text;
}

}  // namespace

std::optional<YamlDocument> YamlDocument::parse(std::string_view text,
                                                std::vector<YamlProblem>& problems,
                                                const YamlLimits& limits) {
  text = without_byte_order_mark(text);
  if (auto bad = find_unreadable(text, limits)) {
    problems.push_back(std::move(*bad));
    return std::nullopt;
  }
  Parser parser(text);
  auto content = std::make_unique<YamlContent>();
  YamlBuilder builder(limits, *content, problems);
  while (!builder.is_at_end()) {
    Event event;
    if (yaml_parser_parse(&parser.native, &event.native) == 0) {
      problems.push_back(problem_of(parser.native, text));
      return std::nullopt;
    }
    if (!builder.take(event.native)) return std::nullopt;
  }
  return YamlDocument(std::move(content));
}

std::optional<std::vector<YamlDocument>> YamlDocument::parse_all(std::string_view text,
                                                                 std::vector<YamlProblem>& problems,
                                                                 const YamlLimits& limits) {
  text = without_byte_order_mark(text);
  if (auto bad = find_unreadable(text, limits)) {
    problems.push_back(std::move(*bad));
    return std::nullopt;
  }
  Parser parser(text);
  YamlLimits left = limits;
  std::vector<YamlDocument> documents;
  auto content = std::make_unique<YamlContent>();
  std::optional<YamlBuilder> builder(std::in_place, left, *content, problems);
  while (!builder->is_at_end()) {
    Event event;
    if (yaml_parser_parse(&parser.native, &event.native) == 0) {
      problems.push_back(problem_of(parser.native, text));
      return std::nullopt;
    }
    if (event.native.type == YAML_DOCUMENT_START_EVENT && builder->has_document()) {
      left.nodes -= static_cast<std::size_t>(builder->expanded());
      documents.push_back(YamlDocument(std::move(content)));
      content = std::make_unique<YamlContent>();
      builder.emplace(left, *content, problems);
    }
    if (!builder->take(event.native)) return std::nullopt;
  }
  if (builder->has_document()) documents.push_back(YamlDocument(std::move(content)));
  return documents;
}

}  // namespace gatehouse::daemon
