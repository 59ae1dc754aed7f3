// Routes of a vhost: what they match, and what they do.

#include <algorithm>
#include <utility>

#include "daemon/base/text.h"
#include "daemon/config_draft.h"
#include "daemon/config_urls.h"
#include "daemon/route_shadows.h"
#include "proxy/routing/path.h"
#include "proxy/routing/router.h"

namespace gatehouse::daemon {

namespace {

/// A path as requests have it after normalisation; any other would never match.
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

/// Methods, headers and query: types are checked, then they are refused.
void refuse_later_matches(Reader& reader, Fields& fields) {
  const Field methods = fields.find("methods");
  for (const Field& method : reader.items(methods)) reader.scalar(method, "a method");
  reader.not_yet(methods);
  for (const std::string_view key : {"headers", "query"}) {
    const Field pairs = fields.find(key);
    for (const Field& pair : reader.entries(pairs)) reader.scalar(pair, "text");
    reader.not_yet(pairs);
  }
}

void read_regex(ConfigDraft& draft, const Field& field, proxy::PathMatch& into) {
  std::string pattern;
  if (!draft.reader.text(field, pattern)) return;
  if (!draft.good_regexes.contains(pattern)) {
    if (auto good = proxy::Router::check_regex(pattern); !good) {
      draft.reader.error(field.mark(), std::move(good).error().message,
                         "RE2 syntax, matched against the whole path");
      return;
    }
    draft.good_regexes.insert(pattern);
  }
  into = {proxy::PathMatch::Kind::kRegex, std::move(pattern)};
}

/// False when there is something wrong with it.
bool read_match(ConfigDraft& draft, const Field& field, proxy::PathMatch& into) {
  Reader& reader = draft.reader;
  Fields fields = reader.mapping(field, {"\"match\""});
  const Field prefix = fields.find("path"), exact = fields.find("exact"),
              regex = fields.find("regex");
  refuse_later_matches(reader, fields);
  fields.finish();
  if (field && !field.value.is_mapping()) return false;
  const int kinds = (prefix ? 1 : 0) + (exact ? 1 : 0) + (regex ? 1 : 0);
  if (kinds > 1) {
    reader.error(field.key_mark, "\"match\" has more than one of path, exact and regex",
                 "make a route of each");
    return false;
  }
  if (prefix && read_path(reader, prefix, into.text)) {
    into.kind = proxy::PathMatch::Kind::kPrefix;
    // Whole segments are matched: /api/ says no more than /api.
    while (into.text.size() > 1 && into.text.ends_with('/')) into.text.pop_back();
  }
  if (exact && read_path(reader, exact, into.text)) into.kind = proxy::PathMatch::Kind::kExact;
  if (regex) read_regex(draft, regex, into);
  // With further keys it matches less than can be told.
  const std::size_t keys = field ? field.value.size() : 0;
  return static_cast<std::size_t>(kinds) == keys &&
         (kinds == 0 || into.kind != proxy::PathMatch::Kind::kAny);
}

void read_split(ConfigDraft& draft, const Field& field, std::vector<proxy::WeightedBackend>& into) {
  Reader& reader = draft.reader;
  std::uint64_t sum = 0;
  for (const Field& item : reader.items(field)) {
    Fields fields = reader.mapping(item, {"an item of \"split\""});
    const auto backend = read_backend_reference(draft, fields.need("backend"));
    proxy::WeightedBackend part;
    reader.number(fields.find("weight"), part.weight, {0, 1'000'000});
    fields.finish();
    sum += part.weight;
    if (!backend) continue;
    part.backend = *backend;
    into.push_back(part);
  }
  if (field && field.value.is_sequence() && field.value.size() == 0)
    reader.error(field.mark(), "\"split\" needs at least one backend");
  else if (field && field.value.is_sequence() && sum == 0)
    reader.error(field.mark(), "the weights of \"split\" are all 0", "give one of them more");
}

proxy::RedirectAction read_redirect(Reader& reader, const Field& field) {
  static constexpr int kStatuses[] = {301, 302, 303, 307, 308};
  proxy::RedirectAction redirect;
  Fields fields = reader.mapping(field, {"\"redirect\""});
  const Field to = fields.need("to", "to: \"https://www.mydomain.com/new\"");
  std::string target;
  if (reader.text(to, target)) {
    const auto is_visible = [](char c) { return c > 0x20 && c < 0x7f; };
    if (!std::all_of(target.begin(), target.end(), is_visible))
      reader.error(to.mark(),
                   "\"to\": " + in_quotes(target) + " has characters that no URL can have",
                   "write them as %20 and the like");
    else if (target.starts_with('/') || read_web_url(reader, to, target))
      redirect.to = std::move(target);
  }
  const Field status = fields.find("status");
  int given = 0;
  if (reader.number(status, given, {0, 999})) {
    if (std::find(std::begin(kStatuses), std::end(kStatuses), given) != std::end(kStatuses))
      redirect.status = given;
    else
      reader.error(status.mark(), std::to_string(given) + " is not the status of a redirect",
                   "301, 302, 303, 307 or 308");
  }
  fields.finish();
  return redirect;
}

proxy::RespondAction read_respond(Reader& reader, const Field& field) {
  proxy::RespondAction respond;
  Fields fields = reader.mapping(field, {"\"respond\""});
  reader.number(fields.find("status"), respond.status, {200, 599});
  const Field body = fields.find("body");
  if (const auto given = reader.scalar(body, "text")) respond.body = *given;
  fields.finish();
  const bool has_no_body = respond.status == 204 || respond.status == 304;
  if (has_no_body && !respond.body.empty())
    reader.error(body.mark(),
                 "an answer with status " + std::to_string(respond.status) + " has no body",
                 "remove the body or choose another status");
  return respond;
}

void refuse_changes(Reader& reader, const Field& field) {
  Fields fields = reader.mapping(field, {field.key});
  for (const Field& pair : reader.entries(fields.find("set"))) reader.scalar(pair, "text");
  for (const Field& name : reader.items(fields.find("remove")))
    reader.scalar(name, "a header name");
  fields.finish();
  reader.not_yet(field);
}

void refuse_retries(Reader& reader, const Field& field) {
  std::uint32_t attempts = 0;
  Duration per_try{};
  int budget = 0;
  Fields fields = reader.mapping(field, {"\"retries\""});
  reader.number(fields.find("attempts"), attempts);
  for (const Field& condition : reader.items(fields.find("on")))
    reader.scalar(condition, "a condition");
  reader.duration(fields.find("per_try"), per_try);
  reader.percentage(fields.find("budget"), budget);
  fields.finish();
  reader.not_yet(field);
}

/// In the schema for a later version: types are checked, then it is refused.
void refuse_later_keys(Reader& reader, Fields& fields) {
  const Field rewrite = fields.find("rewrite");
  Fields parts = reader.mapping(rewrite, {"\"rewrite\""});
  std::string text;
  reader.text(parts.find("path"), text);
  reader.text(parts.find("host"), text);
  parts.finish();
  reader.not_yet(rewrite);
  refuse_retries(reader, fields.find("retries"));
  const Field timeout = fields.find("timeout");
  Duration duration{};
  reader.duration(timeout, duration);
  reader.not_yet(timeout);
  refuse_changes(reader, fields.find("request_headers"));
  refuse_changes(reader, fields.find("response_headers"));

  static constexpr Choice<int> kUpgrades[] = {{"off", 0}, {"websocket", std::nullopt}};
  int upgrade = 0;
  reader.choice<int>(fields.find("upgrade"), upgrade, kUpgrades);
  const Field early_data = fields.find("early_data");
  bool takes_early_data = false;
  if (reader.boolean(early_data, takes_early_data) && takes_early_data)
    reader.not_yet(early_data, "early_data: false is the default");
}

/// False when it matches nothing that can be told: it then shadows nobody.
bool read_route(ConfigDraft& draft, const Field& field, proxy::Route& route) {
  Reader& reader = draft.reader;
  Fields fields = reader.mapping(field, {"route", route.name});
  const bool is_good_match = read_match(draft, fields.find("match"), route.match);
  const Field backend = fields.find("backend"), split = fields.find("split"),
              redirect = fields.find("redirect"), respond = fields.find("respond");
  const int actions = (backend ? 1 : 0) + (split ? 1 : 0) + (redirect ? 1 : 0) + (respond ? 1 : 0);
  if (field.value.is_mapping() && actions != 1)
    reader.error(field.mark(),
                 actions == 0 ? "a route needs one of backend, split, redirect or respond"
                              : "a route has only one of backend, split, redirect and respond");
  if (const auto index = read_backend_reference(draft, backend)) route.split.push_back({*index, 1});
  read_split(draft, split, route.split);
  if (redirect) route.redirect = read_redirect(reader, redirect);
  if (respond) route.respond = read_respond(reader, respond);
  refuse_later_keys(reader, fields);
  fields.finish();
  return is_good_match && field.value.is_mapping();
}

}  // namespace

void read_routes(ConfigDraft& draft, const Field& field, std::string_view vhost,
                 std::vector<proxy::Route>& into) {
  RouteShadows shadows;
  std::vector<Mark> places;  // of the routes that `shadows` knows
  for (const Field& item : draft.reader.items(field)) {
    proxy::Route route;
    route.name = std::string(vhost) + "/" + std::to_string(into.size());
    if (read_route(draft, item, route)) {
      places.push_back(item.mark());
      if (const auto by = shadows.add(route.match)) {
        draft.reader.error(item.mark(),
                           "this route is never reached: the one on line " +
                               std::to_string(places[*by].line) + " takes all that it matches",
                           "the first match wins: put it before that one, or remove it");
      }
    }
    into.push_back(std::move(route));
  }
  if (field && field.value.is_sequence() && field.value.size() == 0)
    draft.reader.error(field.mark(), "\"routes\" needs at least one route");
}

}  // namespace gatehouse::daemon
