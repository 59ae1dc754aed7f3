// JSON of the control plane: parsing ends in a value or an error, what was parsed survives being
// written and parsed again, and a reader gives typed fields or an error, whatever is in the value.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "daemon/base/json.h"
#include "daemon/base/text.h"

namespace gatehouse {
namespace {

void read_fields(const boost::json::value& value) {
  JsonReader reader(value, "document");
  (void)reader.string("string");
  (void)reader.integer("integer");
  (void)reader.boolean("boolean");
  (void)reader.strings("strings");
  (void)reader.string_or("other", "fallback");
  (void)reader.integer_or("count", 7);
  (void)reader.strings_or_none("names");
  reader.each("items", [](JsonReader& item) { (void)item.string("name"); });
  reader.each_string("labels", [](std::string_view, std::string_view text) {
    check(is_utf8(text), "text that is not UTF-8");
  });
  JsonReader inner = reader.object("object");
  (void)inner.string("name");
  const auto error = reader.error();
  if (!error) return;
  check(!error->message.empty(), "an error without a message");
}

bool has_fraction(const boost::json::value& value) {
  if (const auto* array = value.if_array())
    return std::any_of(array->begin(), array->end(), has_fraction);
  if (const auto* object = value.if_object())
    return std::any_of(object->begin(), object->end(),
                       [](const auto& field) { return has_fraction(field.value()); });
  return value.is_double();
}

void read(std::string_view text) {
  JsonLimits limits;
  limits.depth = 16;
  const auto value = parse_json(text, limits);
  if (!value) {
    check(!value.error().message.empty(), "an error without a message");
    return;
  }
  check(is_utf8(text), "accepted what is not UTF-8");
  read_fields(*value);
  if (has_fraction(*value)) return;  // Those are not read to the last bit.
  const std::string written = to_text(*value);
  const auto again = parse_json(written, limits);
  check(again.has_value(), "what we write does not parse");
  check(to_text(*again) == written, "writing is not stable");
}

}  // namespace
}  // namespace gatehouse

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  gatehouse::read({reinterpret_cast<const char*>(data), size});
  return 0;
}
