// Routes of a vhost: what they match, and what they do.

#include <algorithm>
#include <utility>

#include "daemon/base/text.h"
#include "daemon/config_draft.h"
#include "daemon/config_route_rules.h"
#include "daemon/config_urls.h"
#include "daemon/route_shadows.h"
#include "proxy/routing/router.h"

namespace gatehouse::daemon {

namespace {

void read_regex(ConfigDraft& draft, const Field& field, proxy::PathMatch& into) {
  std::string pattern;
  if (!draft.reader.text(field, pattern)) return;
  if (!draft.good_regexes.contains(pattern)) {
    auto groups = proxy::Router::check_regex(pattern);
    if (!groups) {
      draft.reader.error(field.mark(), std::move(groups).error().message,
                         "RE2 syntax, matched against the whole path");
      return;
    }
    draft.good_regexes.emplace(pattern, *groups);
  }
  into = {proxy::PathMatch::Kind::kRegex, std::move(pattern)};
}

/// False when there is something wrong with it.
bool read_match(ConfigDraft& draft, const Field& field, proxy::PathMatch& into,
                proxy::RequestMatch& beside) {
  Reader& reader = draft.reader;
  Fields fields = reader.mapping(field, {"\"match\""});
  const Field prefix = fields.find("path"), exact = fields.find("exact"),
              regex = fields.find("regex");
  const bool is_good_beside = read_request_match(reader, fields, beside);
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
  return is_good_beside && (kinds == 0 || into.kind != proxy::PathMatch::Kind::kAny);
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

proxy::RedirectAction read_redirect(Reader& reader, const Field& field, std::optional<int> groups) {
  static constexpr int kStatuses[] = {301, 302, 303, 307, 308};
  proxy::RedirectAction redirect;
  Fields fields = reader.mapping(field, {"\"redirect\""});
  read_location(reader, fields.need("to", "to: \"https://www.mydomain.com/new\""), groups,
                redirect.to);
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

/// `limits` of a route: those that make sense for a part of a site.
void read_route_limits(Reader& reader, const Field& field, proxy::RouteRules& into) {
  Fields fields = reader.mapping(field, {"\"limits\" of a route"});
  std::uint64_t body_bytes = 0;
  if (reader.size(fields.find("body_bytes"), body_bytes)) into.body_bytes = body_bytes;
  fields.finish();
}

/// False when it matches nothing that can be told: it then shadows nobody.
bool read_route(ConfigDraft& draft, const Field& field, proxy::Route& route) {
  Reader& reader = draft.reader;
  Fields fields = reader.mapping(field, {"route", route.name});
  proxy::RouteRules rules;
  const bool is_good_match = read_match(draft, fields.find("match"), route.match, rules.match);
  const Field backend = fields.find("backend"), split = fields.find("split"),
              redirect = fields.find("redirect"), respond = fields.find("respond");
  const int actions = (backend ? 1 : 0) + (split ? 1 : 0) + (redirect ? 1 : 0) + (respond ? 1 : 0);
  if (field.value.is_mapping() && actions != 1)
    reader.error(field.mark(),
                 actions == 0 ? "a route needs one of backend, split, redirect or respond"
                              : "a route has only one of backend, split, redirect and respond");
  if (const auto index = read_backend_reference(draft, backend)) route.split.push_back({*index, 1});
  read_split(draft, split, route.split);
  std::optional<int> groups;  // of the regex
  if (route.match.kind == proxy::PathMatch::Kind::kRegex)
    groups = draft.good_regexes.at(route.match.text);
  if (redirect) route.redirect = read_redirect(reader, redirect, groups);
  if (respond) route.respond = read_respond(reader, respond);
  const Field rewrite = fields.find("rewrite"), to_backend = fields.find("request_headers"),
              limits = fields.find("limits"), retries = fields.find("retries"),
              timeout = fields.find("timeout");
  read_retries(reader, retries, route.retries);
  reader.duration(timeout, route.timeout);
  read_rewrite(reader, rewrite, groups, rules.rewrite);
  read_header_edits(reader, to_backend, proxy::Template::Use::kRequestHeader,
                    rules.request_headers);
  read_header_edits(reader, fields.find("response_headers"), proxy::Template::Use::kResponseHeader,
                    rules.response_headers);
  read_route_limits(reader, limits, rules);
  for (const Field& only : {rewrite, to_backend, limits, retries, timeout})
    if (only && (redirect || respond))
      reader.error(only.key_mark, in_quotes(only.key) + " has no effect without a backend",
                   "only what goes to a backend is changed or limited");
  static constexpr Choice<bool> kUpgrades[] = {{"websocket", true}, {"off", false}};
  reader.choice<bool>(fields.find("upgrade"), route.allows_upgrade, kUpgrades);
  reader.boolean(fields.find("early_data"), route.allows_early_data);
  fields.finish();
  const bool has_rules = !rules.match.empty() || rules.body_bytes || !rules.rewrite.path.empty() ||
                         !rules.rewrite.host.empty() || !rules.request_headers.empty() ||
                         !rules.response_headers.empty();
  if (has_rules) route.rules = std::make_shared<proxy::RouteRules>(std::move(rules));
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
      if (const auto by = shadows.add(route)) {
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
