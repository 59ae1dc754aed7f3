// Gateways and HTTPRoutes of the Gateway API: the core of it. What is not there, and decides where
// requests go, is refused by name.

#include <algorithm>

#include "daemon/base/text.h"
#include "daemon/config_fields.h"
#include "daemon/config_hosts.h"
#include "daemon/import_draft.h"
#include "proxy/protocol/field_syntax.h"
#include "proxy/protocol/headers.h"
#include "proxy/routing/path.h"

namespace gatehouse::daemon {

namespace {

/// Listeners that a route's parentRefs lead to.
struct Parents {
  std::vector<const ImportedListener*> listeners;
  bool is_known = false;    // its Gateway is among the files
  bool is_at_edge = false;  // a parent is a Gateway, and not the mesh

  bool is_all_plain() const {
    return !listeners.empty() &&
           std::none_of(listeners.begin(), listeners.end(),
                        [](const ImportedListener* listener) { return listener->is_tls; });
  }
};

Parents read_parents(ImportDraft& draft, Manifest& manifest) {
  Parents parents;
  for (const Item& parent : manifest.spec().at("parentRefs").items()) {
    const Item kind = parent.at("kind"), group = parent.at("group"), name = parent.at("name"),
               name_space = parent.at("namespace"), section = parent.at("sectionName"),
               port = parent.at("port");
    if (kind && !kind.is("Gateway")) {
      parent.dropped("about the inside of the mesh, not the edge");
      continue;
    }
    parents.is_at_edge = true;
    for (const Item& item : {kind, group, name, name_space, section, port}) item.used();
    const std::string key = (name_space ? std::string(name_space.text()) : manifest.name_space()) +
                            "/" + std::string(name.text());
    const auto gateway = draft.gateways.find(key);
    if (gateway == draft.gateways.end()) {
      name.dropped("the Gateway is not in the files: TLS is assumed");
      continue;
    }
    parents.is_known = true;
    for (const ImportedListener& listener : gateway->second) {
      const bool is_meant = (!section || section.is(listener.name)) &&
                            (!port || port.is(listener.port)) && listener.is_usable;
      if (is_meant) parents.listeners.push_back(&listener);
    }
  }
  return parents;
}

/// Whether a listener of that hostname takes the host.
bool takes(const std::string& listener, const std::string& host) {
  if (listener.empty() || listener == host) return true;
  return is_wildcard(listener) && host.ends_with(std::string_view(listener).substr(1));
}

std::vector<std::string> hosts_of(Manifest& manifest, const Parents& parents) {
  std::vector<std::string> hosts;
  const auto add = [&](const std::string& host) {
    if (std::find(hosts.begin(), hosts.end(), host) == hosts.end()) hosts.push_back(host);
  };
  const Item names = manifest.spec().at("hostnames");
  for (const Item& item : names.items()) {
    const auto host = import_host(item);
    if (!host) continue;
    if (is_wildcard(*host))
      item.translated("a wildcard of one label here, of any number there");
    else
      item.used();
    add(*host);
  }
  if (!names.items().empty()) return hosts;
  for (const ImportedListener* listener : parents.listeners)
    add(listener->hostname.empty() ? "*" : listener->hostname);
  if (hosts.empty()) hosts.emplace_back("*");
  return hosts;
}

Item place_of(Manifest& manifest, const std::string& host) {
  for (const Item& item : manifest.spec().at("hostnames").items())
    if (to_lower(item.text()) == host) return item;
  return {};
}

bool read_path_match(const Item& path, ImportedRoute& route) {
  const Item type = path.at("type"), value = path.at("value");
  const std::string text(path && value ? value.text() : "/");
  std::string normal;
  if (type.is("RegularExpression")) {
    type.refused("RegularExpression differs from one implementation to another: write the route");
    return false;
  }
  const auto is_visible = [](char c) { return c > 0x20 && c < 0x7f && c != '?' && c != '#'; };
  if (!text.starts_with('/') || !std::all_of(text.begin(), text.end(), is_visible) ||
      proxy::normalise_path(text, normal) != proxy::PathForm::kNormal) {
    value.refused("no request has such a path");
    return false;
  }
  type.used();
  value.used();
  route.path_text = text;
  route.path = ImportedRoute::Path::kExact;
  if (!type.is("Exact")) {
    while (route.path_text.ends_with('/')) route.path_text.pop_back();
    route.path = route.path_text.empty() ? ImportedRoute::Path::kAny : ImportedRoute::Path::kPrefix;
  }
  route.length = route.path_text.size();
  return true;
}

/// Headers or query parameters, by their exact values.
bool read_pairs(const Item& list, bool is_header, ImportedRoute::Pairs& into) {
  for (const Item& item : list.items()) {
    const Item type = item.at("type"), name = item.at("name"), value = item.at("value");
    if (type && !type.is("Exact")) {
      type.refused("only exact values are matched");
      return false;
    }
    const std::string key = is_header ? to_lower(name.text()) : std::string(name.text());
    const bool is_possible =
        !is_header ||
        (proxy::is_lower_case_name(key) && key != "host" && !proxy::is_connection_field(key) &&
         proxy::is_field_value(value.text()) && trim(value.text()) == value.text());
    if (key.empty() || !is_possible) {
      name.refused("nothing that a route can match");
      return false;
    }
    type.used();
    name.used();
    value.used();
    const auto is_same = [&](const auto& pair) { return pair.first == key; };
    if (std::none_of(into.begin(), into.end(), is_same)) into.emplace_back(key, value.text());
  }
  return true;
}

bool read_match(const Item& match, ImportedRoute& route) {
  bool is_good = read_path_match(match.at("path"), route);
  is_good = read_pairs(match.at("headers"), /*is_header=*/true, route.headers) && is_good;
  is_good = read_pairs(match.at("queryParams"), /*is_header=*/false, route.query) && is_good;
  const Item method = match.at("method");
  route.method = method.text();
  const bool is_upper = std::all_of(route.method.begin(), route.method.end(),
                                    [](char c) { return c >= 'A' && c <= 'Z'; });
  if (is_upper)
    method.used();
  else
    method.refused("not a method");
  is_good = is_good && is_upper;
  if (!is_good) match.all_refused("its route is left out: a condition is refused");
  return is_good;
}

void read_backends(ImportDraft& draft, Manifest& manifest, const Item& rule, ImportedRoute& route) {
  std::uint64_t sum = 0;
  for (const Item& entry : rule.at("backendRefs").items()) {
    const Item kind = entry.at("kind"), group = entry.at("group"), name = entry.at("name"),
               place = entry.at("namespace"), port = entry.at("port"), weight = entry.at("weight");
    if ((kind && !kind.is("Service")) || !port) {
      entry.refused(kind && !kind.is("Service") ? "only Services are backends here"
                                                : "it has no port");
      return answer_instead(route, 500, "a backend was not imported");
    }
    entry.at("filters").refused("filters of one backend are not translated");
    BackendReference reference{place ? std::string(place.text()) : manifest.name_space(),
                               std::string(name.text()), port};
    const auto key = import_backend(draft, reference);
    if (!key) return answer_instead(route, 500, "a backend was not imported");
    for (const Item& item : {kind, group, name, place, weight}) item.used();
    const std::uint64_t share = weight ? parse_decimal(weight.text()).value_or(1) : 1;
    sum += share;
    const auto same = std::find_if(route.backends.begin(), route.backends.end(),
                                   [&](const auto& known) { return known.first == *key; });
    if (same == route.backends.end())
      route.backends.emplace_back(*key, share);
    else
      same->second += share;
  }
  if (sum == 0) answer_instead(route, 500, "the rule has no backend");
}

void read_timeouts(const Item& timeouts, ImportedRoute& route) {
  const Item whole = timeouts.at("request"), each = timeouts.at("backendRequest");
  const Item& item = whole ? whole : each;
  if (!item) return;
  const auto given = parse_duration(item.text());
  if (given && *given > Duration::zero()) {
    route.timeout = item.text();
    item.translated("timeout");
  } else {
    item.dropped("no bound");
  }
  if (whole && each) each.dropped("one attempt is made, which the other one bounds");
}

/// What the listeners say of a host.
void settle(Manifest& manifest, const Parents& parents, ImportedHost& host) {
  const std::string origin = manifest.title() + " (" + manifest.origin() + ")";
  if (std::find(host.origins.begin(), host.origins.end(), origin) == host.origins.end())
    host.origins.push_back(origin);
  if (!parents.is_known) host.has_tls = true;
  for (const ImportedListener* listener : parents.listeners) {
    if (!takes(listener->hostname, host.host) && host.host != "*") continue;
    (listener->is_tls ? host.has_tls : host.is_plain) = true;
    if (listener->is_tls && host.certificate.empty()) host.certificate = listener->certificate;
  }
}

/// The usual redirect to https, on a plain listener: what `http: redirect` does.
bool is_redirect_to_https(const Item& rule, const Parents& parents) {
  if (!parents.is_all_plain()) return false;
  for (const Item& filter : rule.at("filters").items()) {
    const Item redirect = filter.at("requestRedirect");
    if (!redirect.at("scheme").is("https") || redirect.at("hostname") || redirect.at("path") ||
        (redirect.at("port") && !redirect.at("port").is("443")))
      continue;
    filter.translated("http: redirect");
    return true;
  }
  return false;
}

void read_rule(ImportDraft& draft, Manifest& manifest, const Parents& parents,
               const std::vector<std::string>& hosts, const Item& rule) {
  const bool redirects = is_redirect_to_https(rule, parents);
  std::vector<Item> matches = rule.at("matches").items();
  if (matches.empty()) matches.emplace_back();  // All requests.
  for (const Item& match : matches) {
    ImportedRoute route;
    route.source = match ? match : rule;
    route.is_plain = parents.is_all_plain();
    if (!read_match(match, route)) continue;
    if (redirects && !route.matches_all()) {
      route.source.all_refused("the plain port redirects a whole host, or nothing of it");
      continue;
    }
    for (const std::string& name : hosts) {
      ImportedHost& host = draft.host(name);
      if (!host.where) host.where = place_of(manifest, name);
      settle(manifest, parents, host);
      if (redirects) {
        host.wants_redirect = true;
        continue;
      }
      ImportedRoute own = route;
      const bool is_passable = import_filters(rule.at("filters"), own, host);
      if (!is_passable)
        answer_instead(own, 500, "a filter was not imported");
      else if (own.redirect_to.empty())
        read_backends(draft, manifest, rule, own);
      read_timeouts(rule.at("timeouts"), own);
      host.routes.push_back(std::move(own));
    }
  }
  rule.at("retry").refused("not translated: write retries at the route");
  rule.at("sessionPersistence").refused("not translated: write sticky at the backend");
}

void read_listener(ImportDraft& draft, Manifest& manifest, const Item& item,
                   ImportedListener& listener) {
  const Item name = item.at("name"), protocol = item.at("protocol"), hostname = item.at("hostname"),
             tls = item.at("tls");
  listener.name = name.text();
  listener.port = item.at("port").text();
  listener.is_tls = protocol.is("HTTPS");
  listener.is_usable = listener.is_tls || protocol.is("HTTP");
  item.at("port").dropped("the ports are those of listen:");
  if (!listener.is_usable) return item.all_refused("only HTTP and HTTPS listeners");
  name.used();
  protocol.used();
  if (const auto host = hostname ? import_host(hostname) : std::nullopt) {
    listener.hostname = *host;
    hostname.used();
  }
  if (tls.at("mode").is("Passthrough")) tls.at("mode").refused("TLS ends here");
  tls.at("mode").used();
  tls.at("frontendValidation").refused("client certificates: write tls.client at the vhost");
  std::vector<std::string> names;
  if (!listener.hostname.empty()) names.push_back(listener.hostname);
  for (const Item& reference : tls.at("certificateRefs").items()) {
    const Item kind = reference.at("kind"), place = reference.at("namespace"),
               secret = reference.at("name");
    if (kind && !kind.is("Secret")) {
      reference.refused("a certificate is in a Secret");
      continue;
    }
    for (const Item& part : {kind, reference.at("group"), place}) part.used();
    const std::string name_space = place ? std::string(place.text()) : manifest.name_space();
    const std::string key = certificate_in_secret(draft, manifest, secret, name_space, names);
    if (listener.certificate.empty())
      listener.certificate = key;
    else
      secret.dropped("a host has one certificate here: the first");
  }
}

}  // namespace

void import_gateway(ImportDraft& draft, Manifest& manifest) {
  const Item spec = manifest.spec();
  spec.dropped("of the gateway's own deployment");
  auto& listeners = draft.gateways[manifest.name_space() + "/" + manifest.name()];
  for (const Item& item : spec.at("listeners").items())
    read_listener(draft, manifest, item, listeners.emplace_back());
  annotated_issuer(draft, manifest, /*has_tls=*/true);
}

void import_http_route(ImportDraft& draft, Manifest& manifest) {
  const Parents parents = read_parents(draft, manifest);
  const Item spec = manifest.spec();
  if (spec.at("parentRefs") && !parents.is_at_edge)
    return spec.all_dropped("about the inside of the mesh, not the edge");
  const std::vector<std::string> hosts = hosts_of(manifest, parents);
  for (const Item& rule : spec.at("rules").items()) {
    rule.at("name").dropped("names are for people");
    read_rule(draft, manifest, parents, hosts, rule);
  }
  if (spec.at("rules").items().empty()) spec.refused("it has no rules");
}

}  // namespace gatehouse::daemon
