#pragma once
// JSON for the control plane, on Boost.JSON: strict parsing within limits, and typed fields with
// errors that name the path ("order.status: expected a string"). Heavy: include it in .cc files of
// the control plane, not in headers.

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/error.h"

namespace gatehouse {

struct JsonLimits {
  std::size_t bytes = 4 * 1024 * 1024;
  std::size_t depth = 32;
};

/// RFC 8259 without extensions: no comments, no trailing commas, UTF-8 only.
Result<boost::json::value> parse_json(std::string_view text, const JsonLimits& limits = {});
/// Compact, on one line.
std::string to_text(const boost::json::value& value);

/// Takes fields out of an object. The first thing that is wrong is remembered and getters go on
/// with defaults, so that reading is a plain list of fields with one test at its end:
///
///   JsonReader order(value, "order");
///   Order read{.status = order.string("status"), .finalize = order.string("finalize")};
///   if (auto error = order.error()) return std::move(*error);
///
/// The value outlives the reader; a reader outlives those that it gave for objects inside. Unknown
/// fields are ignored, as ACME and Kubernetes demand. null counts as absent.
class JsonReader {
 public:
  JsonReader(const boost::json::value& value, std::string path);
  JsonReader(const JsonReader&) = delete;
  JsonReader& operator=(const JsonReader&) = delete;

  bool has(std::string_view key) const;
  // Required fields.
  std::string string(std::string_view key);
  std::int64_t integer(std::string_view key);
  bool boolean(std::string_view key);
  std::vector<std::string> strings(std::string_view key);
  JsonReader object(std::string_view key);
  // Fields that may be absent: the fallback then. A wrong type is still an error.
  std::string string_or(std::string_view key, std::string fallback);
  std::int64_t integer_or(std::string_view key, std::int64_t fallback);
  bool boolean_or(std::string_view key, bool fallback);
  std::vector<std::string> strings_or_none(std::string_view key);
  /// Reads each object of an array; an absent array has none.
  void each(std::string_view key, const std::function<void(JsonReader&)>& read);
  /// Reads each field of an object whose keys are data; values must be strings. Absent: none.
  void each_string(std::string_view key,
                   const std::function<void(std::string_view name, std::string_view value)>& read);

  /// Records what the caller finds wrong with a field: "path.key: why".
  void fail(std::string_view key, std::string_view why);
  /// The first thing that was wrong here or in an object inside.
  std::optional<Error> error() const;

 private:
  JsonReader(const boost::json::value* value, std::string path, std::optional<Error>* errors);
  /// The field, unless it is absent or null (an error when required).
  const boost::json::value* find(std::string_view key, bool is_required);
  std::string path_of(std::string_view key) const;

  const boost::json::object* object_ = nullptr;  // null: not an object, which was said
  std::string path_;
  std::optional<Error> own_error_;
  std::optional<Error>* error_;  // ours, or that of the reader we came from
};

}  // namespace gatehouse
