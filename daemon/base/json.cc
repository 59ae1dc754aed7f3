#include "daemon/base/json.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

namespace gatehouse {

namespace json = boost::json;

Result<json::value> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.bytes)
    return Error{Fault::kTooLarge, "JSON of " + std::to_string(text.size()) + " bytes; at most " +
                                       std::to_string(limits.bytes) + " are accepted"};
  json::parse_options options;
  options.max_depth = limits.depth;
  boost::system::error_code failed;
  json::value value = json::parse(text, failed, {}, options);
  if (!failed) return value;
  const bool is_too_deep = failed == json::error::too_deep;
  return Error{is_too_deep ? Fault::kTooLarge : Fault::kInvalid,
               "not valid JSON: " + failed.message()};
}

std::string to_text(const json::value& value) { return json::serialize(value); }

JsonReader::JsonReader(const json::value& value, std::string path)
    : JsonReader(&value, std::move(path), nullptr) {}

JsonReader::JsonReader(const json::value* value, std::string path, std::optional<Error>* errors)
    : path_(std::move(path)), error_(errors ? errors : &own_error_) {
  if (!value) return;
  object_ = value->if_object();
  if (!object_) fail("", "expected an object");
}

std::string JsonReader::path_of(std::string_view key) const {
  if (path_.empty() || key.empty()) return path_ + std::string(key);
  return path_ + "." + std::string(key);
}

void JsonReader::fail(std::string_view key, std::string_view why) {
  if (*error_) return;
  std::string where = path_of(key);
  if (!where.empty()) where += ": ";
  *error_ = Error{Fault::kInvalid, where.append(why)};
}

std::optional<Error> JsonReader::error() const { return *error_; }

const json::value* JsonReader::find(std::string_view key, bool is_required) {
  if (!object_) return nullptr;
  const json::value* value = object_->if_contains(key);
  if (value && !value->is_null()) return value;
  if (is_required) fail(key, "missing");
  return nullptr;
}

bool JsonReader::has(std::string_view key) const {
  if (!object_) return false;
  const json::value* value = object_->if_contains(key);
  return value && !value->is_null();
}

std::string JsonReader::string(std::string_view key) {
  find(key, true);
  return string_or(key, {});
}

std::string JsonReader::string_or(std::string_view key, std::string fallback) {
  const json::value* value = find(key, false);
  if (!value) return fallback;
  if (const json::string* text = value->if_string()) return std::string(*text);
  fail(key, "expected a string");
  return fallback;
}

std::int64_t JsonReader::integer(std::string_view key) {
  find(key, true);
  return integer_or(key, 0);
}

std::int64_t JsonReader::integer_or(std::string_view key, std::int64_t fallback) {
  const json::value* value = find(key, false);
  if (!value) return fallback;
  if (value->is_int64()) return value->get_int64();
  fail(key, value->is_uint64() ? "integer out of range" : "expected an integer");
  return fallback;
}

bool JsonReader::boolean(std::string_view key) {
  find(key, true);
  return boolean_or(key, false);
}

bool JsonReader::boolean_or(std::string_view key, bool fallback) {
  const json::value* value = find(key, false);
  if (!value) return fallback;
  if (const bool* boolean = value->if_bool()) return *boolean;
  fail(key, "expected true or false");
  return fallback;
}

std::vector<std::string> JsonReader::strings(std::string_view key) {
  find(key, true);
  return strings_or_none(key);
}

std::vector<std::string> JsonReader::strings_or_none(std::string_view key) {
  std::vector<std::string> all;
  const json::value* value = find(key, false);
  if (!value) return all;
  const json::array* array = value->if_array();
  if (!array) {
    fail(key, "expected a list of strings");
    return all;
  }
  for (std::size_t i = 0; i < array->size(); ++i) {
    if (const json::string* text = (*array)[i].if_string()) {
      all.emplace_back(*text);
    } else {
      fail(std::string(key) + "[" + std::to_string(i) + "]", "expected a string");
    }
  }
  return all;
}

JsonReader JsonReader::object(std::string_view key) {
  return JsonReader(find(key, true), path_of(key), error_);
}

void JsonReader::each(std::string_view key, const std::function<void(JsonReader&)>& read) {
  const json::value* value = find(key, false);
  if (!value) return;
  const json::array* array = value->if_array();
  if (!array) {
    fail(key, "expected a list");
    return;
  }
  for (std::size_t i = 0; i < array->size(); ++i) {
    JsonReader item(&(*array)[i], path_of(key) + "[" + std::to_string(i) + "]", error_);
    read(item);
  }
}

void JsonReader::each_string(
    std::string_view key,
    const std::function<void(std::string_view name, std::string_view value)>& read) {
  const json::value* value = find(key, false);
  if (!value) return;
  const json::object* object = value->if_object();
  if (!object) {
    fail(key, "expected an object");
    return;
  }
  for (const auto& [name, field] : *object) {
    if (const json::string* text = field.if_string()) {
      read(name, *text);
    } else {
      fail(std::string(key) + "." + std::string(name), "expected a string");
    }
  }
}

}  // namespace gatehouse
