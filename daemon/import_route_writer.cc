// One imported route as an item of `routes:`.

#include "daemon/import_draft.h"

namespace gatehouse::daemon {

namespace {

std::string match_of(const ImportedRoute& route) {
  std::string out;
  const auto add = [&](std::string_view key, const std::string& value) {
    out.append(out.empty() ? "" : ", ").append(key).append(": ").append(value);
  };
  switch (route.path) {
    case ImportedRoute::Path::kAny: break;
    case ImportedRoute::Path::kPrefix: add("path", yaml_text(route.path_text)); break;
    case ImportedRoute::Path::kExact: add("exact", yaml_text(route.path_text)); break;
    case ImportedRoute::Path::kRegex: add("regex", yaml_text(route.path_text)); break;
  }
  if (!route.method.empty()) add("methods", "[" + yaml_text(route.method) + "]");
  if (!route.headers.empty()) add("headers", yaml_mapping(route.headers));
  if (!route.query.empty()) add("query", yaml_mapping(route.query));
  return out.empty() ? out : "match: {" + out + "}";
}

std::string action_of(const ImportedRoute& route) {
  if (route.respond_status != 0)
    return "respond: {status: " + std::to_string(route.respond_status) +
           ", body: " + yaml_text(route.respond_body) + "}";
  if (!route.redirect_to.empty())
    return "redirect: {to: " + yaml_text(route.redirect_to) +
           ", status: " + std::to_string(route.redirect_status) + "}";
  if (route.backends.size() == 1) return "backend: " + yaml_text(route.backends.front().first);
  std::string out = "split: [";
  for (const auto& [key, weight] : route.backends) {
    if (!out.ends_with('[')) out.append(", ");
    out.append("{backend: ").append(yaml_text(key)).append(", weight: ");
    out.append(std::to_string(weight)).append("}");
  }
  return out + "]";
}

std::string edits_of(const ImportedRoute::Edits& edits) {
  std::string out;
  const auto add = [&](std::string_view key, const std::string& value) {
    out.append(out.empty() ? "" : ", ").append(key).append(": ").append(value);
  };
  if (!edits.set.empty()) add("set", yaml_mapping(edits.set));
  if (!edits.add.empty()) add("add", yaml_mapping(edits.add));
  if (!edits.remove.empty()) {
    std::string names;
    for (const std::string& name : edits.remove)
      names.append(names.empty() ? "" : ", ").append(yaml_text(name));
    add("remove", "[" + names + "]");
  }
  return "{" + out + "}";
}

}  // namespace

void write_route(const ImportedRoute& route, std::string& out) {
  std::string_view lead = "      - ";
  const auto line = [&](const std::string& text) {
    out.append(lead).append(text).append("\n");
    lead = "        ";
  };
  if (const std::string match = match_of(route); !match.empty()) line(match);
  line(action_of(route));
  const bool has_backend = route.respond_status == 0 && route.redirect_to.empty();
  if (has_backend && (!route.rewrite_path.empty() || !route.rewrite_host.empty())) {
    std::string rewrite;
    if (!route.rewrite_path.empty()) rewrite = "path: " + yaml_text(route.rewrite_path);
    if (!route.rewrite_host.empty())
      rewrite.append(rewrite.empty() ? "" : ", ")
          .append("host: ")
          .append(yaml_text(route.rewrite_host));
    line("rewrite: {" + rewrite + "}");
  }
  if (has_backend && !route.timeout.empty()) line("timeout: " + yaml_text(route.timeout));
  if (has_backend && !route.request_headers.empty())
    line("request_headers: " + edits_of(route.request_headers));
  if (!route.response_headers.empty())
    line("response_headers: " + edits_of(route.response_headers));
}

}  // namespace gatehouse::daemon
