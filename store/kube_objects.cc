#include "store/kube_objects.h"

#include <algorithm>

#include "daemon/base/json.h"
#include "daemon/base/text.h"

namespace gatehouse::store {

namespace json = boost::json;

namespace {

// A Secret has 1 MiB of data at most: 1.4 MiB in base64; the same again in managed fields is far.
constexpr JsonLimits kObjectLimits{.bytes = 4 * 1024 * 1024, .depth = 64};
constexpr JsonLimits kListLimits{.bytes = 64 * 1024 * 1024, .depth = 64};
constexpr std::size_t kMessageBytesMax = 300;

const json::object* object_in(const json::object& from, std::string_view key) {
  const json::value* value = from.if_contains(key);
  return value ? value->if_object() : nullptr;
}

std::string text_in(const json::object& from, std::string_view key) {
  const json::value* value = from.if_contains(key);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

std::map<std::string, std::string> texts_in(const json::object& from, std::string_view key) {
  std::map<std::string, std::string> all;
  if (const json::object* pairs = object_in(from, key))
    for (const auto& [name, value] : *pairs)
      if (value.is_string()) all.emplace(std::string(name), std::string(value.get_string()));
  return all;
}

void add_once(std::vector<std::string>& to, std::string name) {
  if (!name.empty() && std::find(to.begin(), to.end(), name) == to.end())
    to.push_back(std::move(name));
}

/// Those whose fieldsV1 has something below "f:data".
std::vector<std::string> data_managers(const json::object& metadata) {
  std::vector<std::string> managers;
  const json::value* all = metadata.if_contains("managedFields");
  if (!all || !all->is_array()) return managers;
  for (const json::value& entry : all->get_array()) {
    if (!entry.is_object()) continue;
    const json::object* fields = object_in(entry.get_object(), "fieldsV1");
    if (fields && fields->contains("f:data"))
      add_once(managers, text_in(entry.get_object(), "manager"));
  }
  return managers;
}

Result<Secret> secret_from(const json::value& value) {
  const json::object* object = value.if_object();
  const json::object* metadata = object ? object_in(*object, "metadata") : nullptr;
  if (!metadata) return Error{Fault::kProtocol, "an object without metadata"};
  Secret secret;
  secret.at = {text_in(*metadata, "namespace"), text_in(*metadata, "name")};
  secret.type = text_in(*object, "type");
  secret.labels = texts_in(*metadata, "labels");
  secret.annotations = texts_in(*metadata, "annotations");
  secret.resource_version = text_in(*metadata, "resourceVersion");
  secret.uid = text_in(*metadata, "uid");
  secret.data_managers = data_managers(*metadata);
  const json::value* immutable = object->if_contains("immutable");
  secret.is_immutable = immutable && immutable->is_bool() && immutable->get_bool();
  for (auto& [key, encoded] : texts_in(*object, "data")) {
    auto bytes = from_base64(encoded);
    if (!bytes)
      return Error{Fault::kProtocol, secret.at.to_string() + ": data." + key + " is no base64"};
    secret.data.emplace(key, std::move(*bytes));
  }
  return secret;
}

Fault fault_of(unsigned status) {
  switch (status) {
    case 401: return Fault::kUnauthorized;
    case 403: return Fault::kPermission;
    case 404: return Fault::kNotFound;
    case 409: return Fault::kConflict;
    case 413: return Fault::kTooLarge;
    case 400:
    case 405:
    case 415:
    case 422: return Fault::kInvalid;
    case 429: return Fault::kRateLimited;
    default: return status >= 500 ? Fault::kUnavailable : Fault::kProtocol;
  }
}

/// Text of a peer, as one line of ours.
std::string one_line(std::string_view text) {
  std::string line(trim(text.substr(0, kMessageBytesMax)));
  for (char& c : line)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  return is_utf8(line) ? line : std::string();
}

/// From `conflict with "kubectl-create" using v1`. There is no field that says it.
std::string owner_in(std::string_view message) {
  const auto begin = message.find('"');
  if (begin == message.npos) return "";
  const auto end = message.find('"', begin + 1);
  return end == message.npos ? "" : std::string(message.substr(begin + 1, end - begin - 1));
}

void read_status(const json::object& status, KubeError& into) {
  const std::string message = one_line(text_in(status, "message"));
  if (!message.empty()) into.error.message = message;
  into.is_expired |= text_in(status, "reason") == "Expired" || text_in(status, "reason") == "Gone";
  const json::object* details = object_in(status, "details");
  const json::value* causes = details ? details->if_contains("causes") : nullptr;
  if (!causes || !causes->is_array()) return;
  for (const json::value& cause : causes->get_array()) {
    if (!cause.is_object() || text_in(cause.get_object(), "reason") != "FieldManagerConflict")
      continue;
    std::string owner = one_line(owner_in(text_in(cause.get_object(), "message")));
    add_once(into.owners, owner.empty() ? "another manager" : std::move(owner));
  }
}

}  // namespace

const std::string* Secret::find(std::string_view key) const {
  const auto found = data.find(std::string(key));
  return found == data.end() ? nullptr : &found->second;
}

std::string Secret::label(const std::string& key) const {
  const auto found = labels.find(key);
  return found == labels.end() ? "" : found->second;
}

std::string Secret::annotation(const std::string& key) const {
  const auto found = annotations.find(key);
  return found == annotations.end() ? "" : found->second;
}

Result<Secret> parse_secret(std::string_view text) {
  auto value = parse_json(text, kObjectLimits);
  if (!value) return std::move(value).error();
  return secret_from(*value);
}

Result<SecretList> parse_secret_list(std::string_view text) {
  auto value = parse_json(text, kListLimits);
  if (!value) return std::move(value).error();
  const json::object* object = value->if_object();
  const json::object* metadata = object ? object_in(*object, "metadata") : nullptr;
  if (!metadata) return Error{Fault::kProtocol, "a list without metadata"};
  SecretList list;
  list.resource_version = text_in(*metadata, "resourceVersion");
  list.next = text_in(*metadata, "continue");
  const json::value* items = object->if_contains("items");
  if (!items || !items->is_array()) return list;
  for (const json::value& item : items->get_array()) {
    auto secret = secret_from(item);
    if (!secret) return std::move(secret).error();
    list.secrets.push_back(std::move(*secret));
  }
  return list;
}

Result<WatchEvent> parse_watch_event(std::string_view line) {
  using Kind = WatchEvent::Kind;
  auto value = parse_json(line, kObjectLimits);
  if (!value) return std::move(value).error();
  const json::object* event = value->if_object();
  const json::value* object = event ? event->if_contains("object") : nullptr;
  if (!object || !object->is_object()) return Error{Fault::kProtocol, "an event without object"};
  const std::string type = text_in(*event, "type");
  WatchEvent read;
  if (type == "ERROR") {
    read.kind = Kind::kError;
    const json::value* code = object->get_object().if_contains("code");
    if (code && code->is_int64() && code->get_int64() > 0 && code->get_int64() < 1000)
      read.failed.status = static_cast<unsigned>(code->get_int64());
    read.failed.error = {fault_of(read.failed.status), "the watch failed"};
    read.failed.is_expired = read.failed.status == 410;
    read_status(object->get_object(), read.failed);
    return read;
  }
  if (type == "ADDED")
    read.kind = Kind::kAdded;
  else if (type == "MODIFIED")
    read.kind = Kind::kModified;
  else if (type == "DELETED")
    read.kind = Kind::kDeleted;
  else if (type != "BOOKMARK")
    return Error{Fault::kProtocol, "an event of unknown type"};
  auto secret = secret_from(*object);
  if (!secret) return std::move(secret).error();
  read.secret = std::move(*secret);
  return read;
}

std::string apply_body(const Secret& secret) {
  const auto pairs = [](const std::map<std::string, std::string>& from) {
    json::object to;
    for (const auto& [key, value] : from) to[key] = value;
    return to;
  };
  json::object metadata{{"name", secret.at.name}, {"namespace", secret.at.name_space}};
  if (!secret.labels.empty()) metadata["labels"] = pairs(secret.labels);
  if (!secret.annotations.empty()) metadata["annotations"] = pairs(secret.annotations);
  if (!secret.resource_version.empty()) metadata["resourceVersion"] = secret.resource_version;
  if (!secret.uid.empty()) metadata["uid"] = secret.uid;
  json::object data;
  for (const auto& [key, bytes] : secret.data) data[key] = to_base64(bytes);
  return to_text(json::object{{"apiVersion", "v1"},
                              {"kind", "Secret"},
                              {"metadata", std::move(metadata)},
                              {"type", secret.type},
                              {"data", std::move(data)}});
}

KubeError kube_error(unsigned status, std::string_view body, const std::string* retry_after) {
  KubeError failed;
  failed.status = status;
  failed.error = {fault_of(status), "HTTP status " + std::to_string(status)};
  failed.is_expired = status == 410;
  if (retry_after) {
    // client-go reads seconds only, and no server sends a date.
    if (const auto seconds = parse_decimal(trim(*retry_after)))
      failed.retry_after =
          std::chrono::seconds(std::min<std::uint64_t>(*seconds, std::uint64_t{300}));
  }
  const auto value = parse_json(body, kObjectLimits);  // A 429 is plain text.
  if (value && value->is_object()) read_status(value->get_object(), failed);
  return failed;
}

bool is_dns_subdomain(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  for (const std::string_view label : split(name, '.')) {
    const bool is_good = !label.empty() && label.front() != '-' && label.back() != '-' &&
                         std::all_of(label.begin(), label.end(), [](char c) {
                           return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-';
                         });
    if (!is_good) return false;
  }
  return true;
}

}  // namespace gatehouse::store
