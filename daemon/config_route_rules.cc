#include "daemon/config_route_rules.h"

#include <algorithm>
#include <array>
#include <utility>

#include "daemon/base/text.h"
#include "daemon/config_draft.h"
#include "daemon/config_urls.h"
#include "proxy/protocol/field_syntax.h"
#include "proxy/protocol/headers.h"
#include "proxy/routing/header_edits.h"
#include "proxy/routing/path.h"

namespace gatehouse::daemon {

namespace {

constexpr std::array<std::string_view, 9> kUsualMethods = {
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};

bool read_method(Reader& reader, const Field& field, std::vector<std::string>& into) {
  const auto given = reader.scalar(field, "a method");
  if (!given) return false;
  std::string upper;
  for (const char c : *given) upper.push_back(c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c);
  const bool is_usual =
      std::find(kUsualMethods.begin(), kUsualMethods.end(), upper) != kUsualMethods.end();
  if (!proxy::is_token(*given) || (is_usual && upper != *given)) {
    reader.error(field.mark(), in_quotes(*given) + " is not a method",
                 is_usual ? "write " + upper : "such as GET");
    return false;
  }
  if (std::find(into.begin(), into.end(), *given) != into.end()) {
    reader.error(field.mark(), "method " + in_quotes(*given) + " is here twice");
    return false;
  }
  into.emplace_back(*given);
  return true;
}

/// A field that routes can see; its name in lower case.
std::optional<std::string> read_matched_name(Reader& reader, const Field& field) {
  const std::string name = to_lower(field.key);
  const auto wrong = [&](std::string why, std::string hint) {
    reader.error(field.key_mark, in_quotes(field.key) + std::move(why), std::move(hint));
    return std::nullopt;
  };
  if (name == "host" || name == ":authority")
    return wrong(" is matched by the vhost", "make a vhost of each host");
  if (name == ":path" || name == ":method")
    return wrong(" is not a header",
                 name == ":path" ? "use path, exact, regex or query" : "use methods");
  if (!proxy::is_lower_case_name(name))
    return wrong(" is not the name of a header", "such as x-beta");
  if (proxy::is_connection_field(name))
    return wrong(" is about the connection, not the request", "routes cannot see it");
  return name;
}

bool read_headers(Reader& reader, const Field& field, proxy::RequestMatch::Pairs& into) {
  bool is_good = true;
  for (const Field& pair : reader.entries(field)) {
    const auto name = read_matched_name(reader, pair);
    const auto value = reader.scalar(pair, "text");
    if (value && (!proxy::is_field_value(*value) || trim(*value) != *value)) {
      reader.error(pair.mark(), in_quotes(*value) + " is no value that a header can have",
                   "no control characters, no white space around it");
      is_good = false;
    } else if (name && value) {
      into.emplace_back(*name, *value);
    } else {
      is_good = false;
    }
  }
  return is_good;
}

bool read_query(Reader& reader, const Field& field, proxy::RequestMatch::Pairs& into) {
  bool is_good = true;
  for (const Field& pair : reader.entries(field)) {
    const auto value = reader.scalar(pair, "text");
    if (value) into.emplace_back(pair.key, *value);
    is_good = is_good && value.has_value();
  }
  return is_good;
}

/// A text with variables; false: complained.
bool check_variables(Reader& reader, const Field& field, std::string_view text,
                     proxy::Template::Use use, std::optional<int> groups) {
  proxy::Template::Problem problem;
  if (proxy::Template::parse(text, use, groups, problem)) return true;
  std::string hint;
  if (!problem.unknown.empty()) {
    const auto names = proxy::Template::names(use);
    std::string all = "known variables:";
    for (const std::string& name : names) all.append(" ").append(name);
    hint = reader.did_you_mean(problem.unknown, names, std::move(all));
  }
  reader.error(field.mark(), in_quotes(field.key) + ": " + problem.message, std::move(hint));
  return false;
}

/// The name of a header that a route may edit, in lower case.
std::optional<std::string> read_edited_name(Reader& reader, std::string_view given, Mark mark) {
  std::string name = to_lower(given);
  const std::string_view refusal = proxy::HeaderEditor::refusal(name);
  if (refusal.empty()) return name;
  reader.error(mark, in_quotes(given) + " cannot be edited: " + std::string(refusal),
               name == "host" ? "rewrite: {host: internal.mydomain.com}" : "");
  return std::nullopt;
}

void read_edits(Reader& reader, const Field& field, proxy::Template::Use use,
                std::vector<std::pair<std::string, std::string>>& into) {
  for (const Field& pair : reader.entries(field)) {
    auto name = read_edited_name(reader, pair.key, pair.key_mark);
    std::string value;
    if (!reader.text(pair, value)) continue;
    if (!proxy::is_field_value(value) || trim(value) != value) {
      reader.error(pair.mark(), in_quotes(value) + " is no value that a header can have",
                   "no control characters, no white space around it");
      continue;
    }
    const bool is_good = check_variables(reader, pair, value, use, std::nullopt);
    const auto is_same = [&](const auto& edit) { return edit.first == *name; };
    if (name && std::any_of(into.begin(), into.end(), is_same))
      reader.error(pair.key_mark, in_quotes(pair.key) + " is here twice");
    else if (name && is_good)
      into.emplace_back(std::move(*name), std::move(value));
  }
}

}  // namespace

bool read_path(Reader& reader, const Field& field, std::string& into) {
  std::string given;
  if (!reader.text(field, given)) return false;
  const auto wrong = [&](std::string why, std::string hint) {
    reader.error(field.mark(), in_quotes(field.key) + ": " + in_quotes(given) + std::move(why),
                 std::move(hint));
    return false;
  };
  if (!given.starts_with('/')) return wrong(" does not begin with /", "such as /api");
  if (given.find_first_of("?#") != given.npos)
    return wrong(" has a query or a fragment", "only the path of a request is matched here");
  const auto is_visible = [](char c) { return c > 0x20 && c < 0x7f; };
  if (!std::all_of(given.begin(), given.end(), is_visible))
    return wrong(" has characters that no request can have", "write them as %20 and the like");
  std::string normal;
  switch (proxy::normalise_path(given, normal)) {
    case proxy::PathForm::kNormal: break;
    case proxy::PathForm::kRewritten:
      return wrong(" has dot segments, which requests have lost by then", "write " + normal);
    case proxy::PathForm::kRefused:
      return wrong(" has a backslash", "requests with one are refused");
  }
  into = std::move(given);
  return true;
}

bool read_request_match(Reader& reader, Fields& fields, proxy::RequestMatch& into) {
  const Field methods = fields.find("methods"), headers = fields.find("headers"),
              query = fields.find("query"), sources = fields.find("sources");
  bool is_good = true;
  for (const Field& method : reader.items(methods))
    is_good = read_method(reader, method, into.methods) && is_good;
  is_good = read_headers(reader, headers, into.headers) && is_good;
  is_good = read_query(reader, query, into.query) && is_good;
  read_networks(reader, sources, into.sources);
  is_good = is_good && (!sources || into.sources.size() == sources.value.size());
  for (const Field& list : {methods, headers, query, sources}) {
    if (!list || list.value.is_scalar() || list.value.size() > 0) continue;
    reader.error(list.mark(), in_quotes(list.key) + " is empty", "remove it");
    is_good = false;
  }
  return is_good;
}

void read_rewrite(Reader& reader, const Field& field, std::optional<int> groups,
                  proxy::Rewrite& into) {
  Fields fields = reader.mapping(field, {"\"rewrite\""});
  const Field path = fields.find("path"), host = fields.find("host");
  std::string given;
  if (path && read_path(reader, path, given) &&
      check_variables(reader, path, given, proxy::Template::Use::kRewrite, groups))
    into.path = std::move(given);
  if (host && reader.text(host, given)) {
    given = to_lower(given);
    if (proxy::is_valid_authority(given))
      into.host = std::move(given);
    else
      reader.error(host.mark(), in_quotes(given) + " is not a host",
                   "a name or an address, perhaps with a port");
  }
  fields.finish();
  if (fields && !path && !host) reader.error(field.mark(), "\"rewrite\" needs a path or a host");
}

void read_header_edits(Reader& reader, const Field& field, proxy::Template::Use use,
                       proxy::HeaderEdits& into) {
  Fields fields = reader.mapping(field, {field.key});
  read_edits(reader, fields.find("set"), use, into.set);
  read_edits(reader, fields.find("add"), use, into.add);
  const Field removed = fields.find("remove");
  for (const Field& item : reader.items(removed)) {
    const auto given = reader.scalar(item, "the name of a header");
    if (!given) continue;
    if (auto name = read_edited_name(reader, *given, item.mark()))
      into.remove.push_back(std::move(*name));
  }
  fields.finish();
}

void read_location(Reader& reader, const Field& field, std::optional<int> groups,
                   std::string& into) {
  std::string target;
  if (!reader.text(field, target)) return;
  const auto is_visible = [](char c) { return c > 0x20 && c < 0x7f; };
  if (!std::all_of(target.begin(), target.end(), is_visible)) {
    reader.error(field.mark(),
                 "\"to\": " + in_quotes(target) + " has characters that no URL can have",
                 "write them as %20 and the like");
    return;
  }
  if (!check_variables(reader, field, target, proxy::Template::Use::kRedirect, groups)) return;
  proxy::Template::Problem none;
  const auto parsed = proxy::Template::parse(target, proxy::Template::Use::kRedirect, groups, none);
  if (parsed->is_constant()) {
    if (target.starts_with('/') || read_web_url(reader, field, target)) into = std::move(target);
    return;
  }
  const std::string_view start = parsed->constant_start();
  const bool has_scheme = start.starts_with("https://") || start.starts_with("http://");
  if (!start.empty() && !start.starts_with('/') && !has_scheme) {
    reader.error(field.mark(), in_quotes(target) + " is not an http or https URL");
  } else if (parsed->leaves_host_open()) {
    reader.error(field.mark(), in_quotes(target) + " lets visitors choose where it leads to",
                 "before the path only %HOST% and %REQ(:authority)% are safe");
  } else {
    into = std::move(target);
  }
}

}  // namespace gatehouse::daemon
