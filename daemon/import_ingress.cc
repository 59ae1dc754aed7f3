// Ingresses: extensions/v1beta1, networking.k8s.io/v1beta1 and v1. What a path means depends on the
// controller: without a pathType Istio takes "/foo" exactly and "/foo.*" as a prefix of the text;
// others take a path as a prefix.

#include <algorithm>

#include "daemon/config_hosts.h"
#include "daemon/import_draft.h"
#include "proxy/routing/path.h"

namespace gatehouse::daemon {

namespace {

constexpr std::string_view kChallengePath = "/.well-known/acme-challenge";

struct Ingress {
  ImportDraft& draft;
  Manifest& manifest;
  std::string class_name{};
  bool is_istio = false;
  bool refuses_plain = false;   // allow-http: "false"
  bool wants_redirect = false;  // an annotation asks for https
  bool serves_plain = false;    // an annotation says that it does not
  std::string issuer{};         // a key, by an annotation
};

void read_class(Ingress& ingress) {
  const Item old = ingress.manifest.annotations().at("kubernetes.io/ingress.class");
  const Item name = ingress.manifest.spec().at("ingressClassName");
  const Item& given = name ? name : old;
  ingress.class_name = given.text();
  ingress.is_istio = ingress.class_name.empty() || ingress.class_name == "istio";
  const std::string_view wanted = ingress.draft.options.ingress_class;
  for (const Item& item : {old, name})
    item.used(wanted.empty() ? "says how its paths are read" : "the class that is imported");
}

/// Annotations of controllers that are about the plain port; those of cert-manager are read with
/// the certificate.
void read_annotations(Ingress& ingress) {
  for (const Item& entry : ingress.manifest.annotations().entries()) {
    const std::string_view key = entry.key();
    const auto slash = key.find('/');
    const std::string_view domain = key.substr(0, slash == key.npos ? 0 : slash);
    if (key == "kubernetes.io/ingress.allow-http") {
      ingress.refuses_plain = entry.is("false");
      if (!ingress.refuses_plain)
        entry.used();
      else if (ingress.draft.options.refuses_plain_2018)
        entry.translated("http: refuse, unless another Ingress has the host without tls");
      else
        entry.translated("http: redirect, unless another Ingress has the host without tls");
    } else if (key.ends_with("/ssl-redirect") || key.ends_with("/force-ssl-redirect")) {
      (entry.is("false") ? ingress.serves_plain : ingress.wants_redirect) = true;
      entry.translated(entry.is("false") ? "http: serve" : "http: redirect");
    } else if (key == "kubernetes.io/tls-acme") {
      entry.dropped("every site has its certificate anyway");
    } else if (domain.ends_with("ingress.kubernetes.io") || domain.starts_with("traefik.") ||
               domain.starts_with("haproxy") || domain.starts_with("alb.")) {
      entry.refused("changes what happens to requests, and is not translated");
    }
  }
}

/// False: no request can have that path.
bool is_possible(std::string_view path) {
  std::string normal;
  const auto is_visible = [](char c) { return c > 0x20 && c < 0x7f && c != '?' && c != '#'; };
  return path.starts_with('/') && std::all_of(path.begin(), path.end(), is_visible) &&
         proxy::normalise_path(path, normal) == proxy::PathForm::kNormal;
}

void match_string_prefix(ImportedRoute& route, std::string_view prefix) {
  route.length = prefix.size();
  if (prefix.empty() || prefix == "/") return;
  route.path = ImportedRoute::Path::kRegex;
  route.path_text = regex_of(prefix) + ".*";
}

void match_segments(ImportedRoute& route, std::string_view prefix) {
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  route.length = prefix.size();
  if (prefix.empty()) return;
  route.path = ImportedRoute::Path::kPrefix;
  route.path_text = prefix;
}

void match_exactly(ImportedRoute& route, std::string_view path) {
  route.path = ImportedRoute::Path::kExact;
  route.path_text = path;
  route.length = path.size();
}

/// Without a pathType, or with ImplementationSpecific. False: refused, with the reason.
bool read_open_path(const Ingress& ingress, const Item& path, ImportedRoute& route) {
  std::string_view text = path.text();
  if (text.empty() || text == "*" || text == "/*" || text == ".*" || text == "/.*") {
    path.translated("all paths");
    return true;
  }
  const bool is_prefix = text.ends_with(".*") || text.ends_with("/*");
  if (is_prefix) text.remove_suffix(2);
  if (!is_possible(text)) {
    path.refused("no request has such a path");
    return false;
  }
  if (is_prefix) {
    match_string_prefix(route, text);
    path.translated("a prefix of the text, not of whole segments: regex: " + route.path_text);
  } else if (ingress.is_istio) {
    match_exactly(route, text);
    path.translated("exact, as Istio takes a path without .* at its end");
  } else {
    match_segments(route, text);
    path.translated("whole segments");
  }
  return true;
}

/// False: refused, with the reason.
bool read_path(const Ingress& ingress, const Item& entry, ImportedRoute& route) {
  const Item path = entry.at("path"), type = entry.at("pathType");
  type.used();
  if (!type || type.is("ImplementationSpecific")) return read_open_path(ingress, path, route);
  if (!type.is("Exact") && !type.is("Prefix")) {
    type.refused("not a type of path");
    return false;
  }
  if (!is_possible(path.text())) {
    path.refused("no request has such a path");
    return false;
  }
  path.used();
  if (type.is("Prefix"))
    match_segments(route, path.text());
  else
    match_exactly(route, path.text());
  return true;
}

/// serviceName and servicePort, or service.name and service.port.
void read_backend(const Ingress& ingress, const Item& backend, ImportedRoute& route) {
  const Item service = backend.at("service");
  const Item name = service ? service.at("name") : backend.at("serviceName");
  BackendReference reference;
  reference.name_space = ingress.manifest.name_space();
  reference.service = name.text();
  reference.port = service ? service.at("port").at("number") : backend.at("servicePort");
  if (service && !reference.port) {
    reference.port = service.at("port").at("name");
    reference.is_named = true;
  }
  if (reference.service.empty() || !reference.port) {
    backend.refused(backend.at("resource") ? "only Services are backends here"
                                           : "it has no Service with a port");
    return answer_instead(route, 503, "no Service was imported for it");
  }
  name.used();
  if (const auto key = import_backend(ingress.draft, reference))
    route.backends.emplace_back(*key, 1);
  else
    answer_instead(route, 503, "no Service was imported for it");
}

using TlsHosts = std::vector<std::pair<std::string, std::string>>;

/// Which hosts have TLS, and the certificate of each: "*" for rules without a host.
TlsHosts read_tls(const Ingress& ingress) {
  TlsHosts hosts;
  for (const Item& entry : ingress.manifest.spec().at("tls").items()) {
    std::vector<std::string> names;
    bool has_any = false;
    const auto add = [&](const Item& item) {
      const auto name = import_host(item);
      if (name && std::find(names.begin(), names.end(), *name) == names.end())
        names.push_back(*name);
      return name.has_value();
    };
    for (const Item& item : entry.at("hosts").items())
      if (add(item)) item.used();
    if (names.empty()) {  // All hosts of the rules.
      for (const Item& rule : ingress.manifest.spec().at("rules").items()) {
        if (rule.at("host"))
          add(rule.at("host"));
        else
          has_any = true;
      }
    }
    const Item secret = entry.at("secretName");
    std::string certificate;
    if (!secret.text().empty())
      certificate = certificate_in_secret(ingress.draft, ingress.manifest, secret,
                                          ingress.manifest.name_space(), names);
    for (const std::string& name : names) hosts.emplace_back(name, certificate);
    if (has_any) hosts.emplace_back("*", certificate);
  }
  return hosts;
}

void note(std::vector<std::string>& notes, std::string text) {
  if (std::find(notes.begin(), notes.end(), text) == notes.end()) notes.push_back(std::move(text));
}

/// What an Ingress says of a host as a whole.
void settle(const Ingress& ingress, ImportedHost& host, const std::string* certificate) {
  note(host.origins, ingress.manifest.title() + " (" + ingress.manifest.origin() + ")");
  host.wants_redirect = host.wants_redirect || ingress.wants_redirect;
  host.refuses_plain = host.refuses_plain || ingress.refuses_plain;
  if (certificate == nullptr) {
    host.is_plain = true;
    return;
  }
  host.has_tls = true;
  host.is_plain = host.is_plain || ingress.serves_plain;
  if (host.certificate.empty()) host.certificate = *certificate;
  if (host.issuer.empty()) host.issuer = ingress.issuer;
}

void read_rule(const Ingress& ingress, const Item& rule, const TlsHosts& tls) {
  const Item host_item = rule.at("host");
  std::string host_name = "*";
  if (!host_item.text().empty()) {
    const auto name = import_host(host_item);
    if (!name) return rule.all_refused("its host is none");
    host_name = *name;
  }
  const auto found = std::find_if(tls.begin(), tls.end(), [&](const auto& entry) {
    return entry.first == host_name || is_covered({entry.first}, host_name);
  });
  const bool is_tls = found != tls.end();
  host_item.dropped(std::string(kInProcess));  // Until there is a path for anything else.
  for (const Item& entry : rule.at("http").at("paths").items()) {
    if (entry.at("path").text().starts_with(kChallengePath)) {
      entry.dropped(std::string(kInProcess));
      continue;
    }
    ImportedRoute route;
    route.source = entry;
    route.is_plain = !is_tls;
    if (!read_path(ingress, entry, route)) {
      entry.all_refused("its path is refused");
      continue;
    }
    host_item.used();
    read_backend(ingress, entry.at("backend"), route);
    ImportedHost& host = ingress.draft.host(host_name);
    if (!host.where) host.where = host_item;
    settle(ingress, host, is_tls ? &found->second : nullptr);
    host.routes.push_back(std::move(route));
  }
}

}  // namespace

void import_ingress(ImportDraft& draft, Manifest& manifest) {
  Ingress ingress{draft, manifest};
  const Item spec = manifest.spec();
  read_class(ingress);
  const std::string& wanted = draft.options.ingress_class;
  if (!wanted.empty() && !ingress.class_name.empty() && ingress.class_name != wanted) {
    manifest.root().all_dropped("of class " + ingress.class_name);
    return;
  }
  read_annotations(ingress);
  const auto tls = read_tls(ingress);
  const auto* issuer = annotated_issuer(draft, manifest, static_cast<bool>(spec.at("tls")));
  if (issuer != nullptr && issuer->can_issue) ingress.issuer = issuer->key;
  for (const Item& rule : spec.at("rules").items()) read_rule(ingress, rule, tls);
  const Item backend = spec.at("defaultBackend") ? spec.at("defaultBackend") : spec.at("backend");
  if (!backend) return;
  ImportedRoute route;
  route.source = backend;
  route.is_plain = true;
  read_backend(ingress, backend, route);
  ImportedHost& host = draft.host("*");
  settle(ingress, host, nullptr);
  note(host.notes, "the default backend gets hosts that nobody else has (Istio ignores it)");
  host.routes.push_back(std::move(route));
}

}  // namespace gatehouse::daemon
