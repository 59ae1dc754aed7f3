#include "proxy/routing/header_edits.h"

#include <utility>

#include "daemon/base/text.h"
#include "proxy/protocol/field_syntax.h"
#include "proxy/protocol/headers.h"

namespace gatehouse::proxy {

std::string_view HeaderEditor::refusal(std::string_view name) {
  if (name == "host") return "the host is changed by a rewrite";
  if (name.starts_with(':')) return "it is no header";
  if (!is_lower_case_name(name)) return "it is not the name of a header";
  if (name == "content-length" || name == "transfer-encoding" || name == "trailer")
    return "it frames the message";
  if (is_connection_field(name)) return "it is about one connection";
  return {};
}

Result<HeaderEditor> HeaderEditor::compile(const HeaderEdits& edits, Template::Use use) {
  HeaderEditor editor;
  for (const std::string& name : edits.remove) {
    if (!refusal(name).empty())
      return Error{Fault::kInvalid, "header " + name + ": " + std::string(refusal(name))};
    editor.removed_.push_back(name);
  }
  if (auto set = editor.add_values(edits.set, use); !set) return set.error();
  editor.set_count_ = editor.values_.size();
  if (auto added = editor.add_values(edits.add, use); !added) return added.error();
  return editor;
}

Result<void> HeaderEditor::add_values(const std::vector<std::pair<std::string, std::string>>& pairs,
                                      Template::Use use) {
  for (const auto& [name, value] : pairs) {
    Template::Problem problem;
    auto text = Template::parse(value, use, std::nullopt, problem);
    const std::string_view refused = refusal(name);
    if (!text || !refused.empty())
      return Error{Fault::kInvalid, "header " + name + ": " +
                                        (text ? std::string(refused) : std::move(problem.message))};
    has_variables_ = has_variables_ || !text->is_constant();
    values_.push_back({name, std::move(*text)});
  }
  return {};
}

void HeaderEditor::apply(Fields& fields, const VariableSource& from) const {
  std::vector<std::string> room;
  if (has_variables_) {
    room.reserve(values_.size());
    for (const Value& value : values_) room.push_back(value.text.expand(from));
  }
  for (const std::string& name : removed_) fields.remove(name);
  for (std::size_t i = 0; i < set_count_; ++i) fields.remove(values_[i].name);
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const std::string_view text =
        trim(has_variables_ ? std::string_view(room[i]) : values_[i].text.constant_start());
    if (!text.empty() && is_field_value(text)) fields.add(values_[i].name, text);
  }
}

}  // namespace gatehouse::proxy
