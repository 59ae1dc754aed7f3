#pragma once
// A route's header edits, ready to be applied: remove, then set, then add. All values are worked
// out before anything changes, so that one field can be renamed into another. What comes out empty,
// or could not stand in a header, is not added; a set field is gone then, so that a value which the
// client made up never passes for ours. Pure.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/error.h"
#include "proxy/options.h"
#include "proxy/routing/variables.h"

namespace gatehouse::proxy {

class HeaderEditor {
 public:
  HeaderEditor() = default;
  /// Fails on what check_name() or Template::parse() refuse.
  static Result<HeaderEditor> compile(const HeaderEdits& edits, Template::Use use);
  /// Why routes may not edit that field, name in lower case: framing, connection and pseudo fields
  /// are the proxy's own business. Empty: they may.
  static std::string_view refusal(std::string_view name);

  bool empty() const { return removed_.empty() && values_.empty(); }
  bool has_variables() const { return has_variables_; }
  void apply(Fields& fields, const VariableSource& from) const;

 private:
  struct Value {
    std::string name;
    Template text;
  };
  Result<void> add_values(const std::vector<std::pair<std::string, std::string>>& pairs,
                          Template::Use use);

  std::vector<std::string> removed_;
  std::vector<Value> values_;
  std::size_t set_count_ = 0;  // the first of values_; the others are added
  bool has_variables_ = false;
};

}  // namespace gatehouse::proxy
