// What routes of Ingresses and HTTPRoutes have in common: their order, and what stands in for a
// backend that is not to be had.

#include <algorithm>
#include <map>

#include "daemon/config_hosts.h"
#include "daemon/import_draft.h"

namespace gatehouse::daemon {

namespace {

void append(std::string& out, const ImportedRoute::Pairs& pairs) {
  ImportedRoute::Pairs sorted = pairs;
  std::sort(sorted.begin(), sorted.end());
  for (const auto& [name, value] : sorted) out.append(name).append("\n").append(value).append("\n");
  out.append("\r");
}

}  // namespace

std::string ImportedRoute::match_text() const {
  std::string text = std::to_string(static_cast<int>(path)) + path_text + "\n" + method + "\n";
  append(text, headers);
  append(text, query);
  return text;
}

std::string ImportedRoute::action_text() const {
  std::string text = redirect_to + "\n" + std::to_string(redirect_status) + "\n" +
                     std::to_string(respond_status) + respond_body + "\n" + rewrite_path + "\n" +
                     rewrite_host + "\n" + timeout + "\n";
  for (const auto& [key, weight] : backends)
    text.append(key).append(" ").append(std::to_string(weight)).append("\n");
  for (const Edits* edits : {&request_headers, &response_headers}) {
    append(text, edits->set);
    append(text, edits->add);
    for (const std::string& name : edits->remove) text.append(name).append("\n");
  }
  return text;
}

ImportedHost& ImportDraft::host(const std::string& name) {
  for (ImportedHost& known : hosts)
    if (known.host == name) return known;
  hosts.emplace_back().host = name;
  return hosts.back();
}

void answer_instead(ImportedRoute& route, int status, std::string_view why) {
  route.backends.clear();
  route.respond_status = status;
  route.respond_body = std::string(why) + "\n";
}

std::string regex_of(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("\\.+*?()|[]{}^$").find(c) != std::string_view::npos) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

void arrange_routes(ImportedHost& host) {
  std::stable_sort(host.routes.begin(), host.routes.end(),
                   [](const auto& a, const auto& b) { return a.rank() < b.rank(); });
  std::map<std::string, const ImportedRoute*> seen;
  std::vector<ImportedRoute> kept;
  kept.reserve(host.routes.size());  // `seen` points into it.
  for (ImportedRoute& route : host.routes) {
    const auto first = seen.find(route.match_text());
    if (first == seen.end()) {
      kept.push_back(std::move(route));
      seen.emplace(kept.back().match_text(), &kept.back());
    } else if (first->second->action_text() == route.action_text()) {
      route.source.used("the same as another rule: one route does");
    } else if (first->second->is_plain != route.is_plain) {
      route.source.all_refused(
          "the plain port and the TLS port of a host have the same routes here");
    } else {
      route.source.all_dropped("an earlier rule of the host matches the same");
    }
  }
  host.routes = std::move(kept);
}

namespace {

ImportedCertificate* find_certificate(ImportDraft& draft, const std::string& key) {
  for (ImportedCertificate& certificate : draft.certificates)
    if (certificate.key == key) return &certificate;
  return nullptr;
}

/// The one that was named, when it serves the host, else any that does.
void choose_certificate(ImportDraft& draft, ImportedHost& host) {
  if (host.host == "*") return;
  const auto* named = find_certificate(draft, host.certificate);
  if (named != nullptr && !named->is_read && !named->covers(host.host)) {
    host.notes.push_back("certificate " + host.certificate + " does not have this name");
    host.certificate.clear();
  }
  if (host.certificate.empty())
    for (const ImportedCertificate& certificate : draft.certificates)
      if (host.certificate.empty() && !certificate.is_read && certificate.covers(host.host))
        host.certificate = certificate.key;
  if (!host.certificate.empty()) {
    host.issuer.clear();
  } else if (is_wildcard(host.host)) {
    host.where.refused("a wildcard needs dns-01, which is not supported yet");
    host.notes.push_back(
        "wildcards need dns-01, which is not supported yet: signed by the built-in CA");
    host.issuer = "internal";
  }
}

/// An own certificate is named after its host, so no other may have that name.
void free_names_of_hosts(ImportDraft& draft) {
  for (const ImportedHost& owner : draft.hosts) {
    auto* taken = find_certificate(draft, owner.host);
    if (!owner.certificate.empty() || taken == nullptr) continue;
    const std::string old = taken->key;
    taken->key = ImportDraft::free_key(draft.certificates, old + "-certificate", old + "-other");
    for (ImportedHost& host : draft.hosts)
      if (host.certificate == old) host.certificate = taken->key;
  }
}

}  // namespace

void settle_hosts(ImportDraft& draft) {
  for (ImportedHost& host : draft.hosts) {
    arrange_routes(host);
    choose_certificate(draft, host);
  }
  free_names_of_hosts(draft);
}

}  // namespace gatehouse::daemon
