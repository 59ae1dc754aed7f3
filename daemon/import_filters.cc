// Filters of an HTTPRoute's rule. A filter that is not translated is refused; unless it only copies
// requests, they get an error in its place, as the Gateway API demands.

#include <algorithm>

#include "daemon/base/text.h"
#include "daemon/import_draft.h"
#include "proxy/protocol/field_syntax.h"
#include "proxy/protocol/message.h"
#include "proxy/routing/header_edits.h"

namespace gatehouse::daemon {

namespace {

/// Text in which no variable is meant.
std::string without_variables(std::string_view text) {
  std::string out;
  for (const char c : text) out.append(c == '%' ? "%%" : std::string(1, c));
  return out;
}

void read_edits(const Item& filter, ImportedRoute::Edits& into) {
  const auto refuse = [](const Item& name) {
    const std::string_view why = proxy::HeaderEditor::refusal(to_lower(name.text()));
    if (!why.empty()) name.refused(std::string(why));
    return !why.empty();
  };
  for (const auto& [key, list] : {std::pair("set", &into.set), std::pair("add", &into.add)}) {
    for (const Item& item : filter.at(key).items()) {
      const Item name = item.at("name"), value = item.at("value");
      if (refuse(name)) continue;
      if (!proxy::is_field_value(value.text()) || trim(value.text()) != value.text() ||
          value.text().empty()) {
        value.refused("no value that a header can have");
        continue;
      }
      const std::string lower = to_lower(name.text());
      const auto is_same = [&](const auto& pair) { return pair.first == lower; };
      if (std::any_of(list->begin(), list->end(), is_same)) {
        name.dropped("named twice: the first counts");
        continue;
      }
      name.used();
      value.used();
      list->emplace_back(lower, without_variables(value.text()));
    }
  }
  for (const Item& name : filter.at("remove").items()) {
    if (refuse(name)) continue;
    name.used();
    into.remove.push_back(to_lower(name.text()));
  }
}

bool is_path(std::string_view text) {
  const auto is_visible = [](char c) { return c > 0x20 && c < 0x7f && c != '?' && c != '#'; };
  return text.starts_with('/') && std::all_of(text.begin(), text.end(), is_visible) &&
         text.find('$') == text.npos && text.find('%') == text.npos &&
         text.find("/.") == text.npos && text.find('\\') == text.npos;
}

/// The new path of a redirect or rewrite, by its form. False: refused.
bool read_new_path(const Item& path, Item& value, bool& is_whole) {
  const Item type = path.at("type");
  is_whole = type.is("ReplaceFullPath");
  value = is_whole ? path.at("replaceFullPath") : path.at("replacePrefixMatch");
  const bool is_empty_prefix = !is_whole && value && value.text().empty();
  if (!value || (!is_empty_prefix && !is_path(value.text()))) {
    path.refused("nothing that a path can become here");
    return false;
  }
  type.used();
  value.used();
  return true;
}

bool read_redirect(const Item& redirect, ImportedRoute& route, const ImportedHost& host) {
  const Item scheme = redirect.at("scheme"), name = redirect.at("hostname"),
             port = redirect.at("port"), path = redirect.at("path"),
             status = redirect.at("statusCode");
  std::string rest = "%PATH%";
  if (path) {
    Item value;
    bool is_whole = false;
    if (!read_new_path(path, value, is_whole)) return false;
    rest = value.text();
    if (!is_whole) {
      while (rest.ends_with('/')) rest.pop_back();
      rest += "%REST%";
    }
  } else if (!scheme && !name && !port) {
    redirect.refused("it leads to where it comes from");
    return false;
  }
  std::string target_host = "%HOST%";
  if (name) {
    const auto given = import_host(name);
    if (!given) return false;
    target_host = *given;
    name.used();
  }
  const std::string text = scheme ? to_lower(scheme.text()) : host.has_tls ? "https" : "http";
  if (text != "http" && text != "https") {
    scheme.refused("http or https");
    return false;
  }
  scheme.used();
  const auto number = parse_decimal(port.text());
  if (port && (!number || *number == 0 || *number > 65535)) {
    port.refused("not a port");
    return false;
  }
  port.used();
  const bool is_usual = !port || port.is(text == "https" ? "443" : "80");
  route.redirect_to = text + "://" + target_host +
                      (is_usual ? "" : ":" + std::string(port.text())) + rest + "%QUERY%";
  route.redirect_status =
      static_cast<int>(status ? parse_decimal(status.text()).value_or(302) : 302);
  const int known[] = {301, 302, 303, 307, 308};
  if (std::find(std::begin(known), std::end(known), route.redirect_status) == std::end(known)) {
    status.refused("not the status of a redirect");
    return false;
  }
  status.used();
  return true;
}

/// A rewrite's path replaces the matched prefix; of a regex, or an exact path, all of it.
bool read_rewrite(const Item& rewrite, ImportedRoute& route) {
  const Item name = rewrite.at("hostname"), path = rewrite.at("path");
  if (name) {
    const auto host = import_host(name);
    if (!host) return false;
    route.rewrite_host = *host;
    name.used();
  }
  if (!path) return true;
  Item value;
  bool is_whole = false;
  if (!read_new_path(path, value, is_whole)) return false;
  route.rewrite_path = value.text().empty() ? "/" : std::string(value.text());
  if (is_whole && route.path != ImportedRoute::Path::kExact) {
    route.path_text =
        route.path == ImportedRoute::Path::kAny ? "/.*" : regex_of(route.path_text) + "(?:/.*)?";
    route.path = ImportedRoute::Path::kRegex;
    value.translated("the whole path, so the match is a regex");
  }
  return true;
}

}  // namespace

bool import_filters(const Item& filters, ImportedRoute& route, const ImportedHost& host) {
  bool is_passable = true;
  for (const Item& filter : filters.items()) {
    const Item type = filter.at("type");
    type.used();
    if (type.is("RequestHeaderModifier")) {
      read_edits(filter.at("requestHeaderModifier"), route.request_headers);
    } else if (type.is("ResponseHeaderModifier")) {
      read_edits(filter.at("responseHeaderModifier"), route.response_headers);
    } else if (type.is("RequestRedirect")) {
      is_passable = read_redirect(filter.at("requestRedirect"), route, host) && is_passable;
    } else if (type.is("URLRewrite")) {
      is_passable = read_rewrite(filter.at("urlRewrite"), route) && is_passable;
    } else if (type.is("RequestMirror")) {
      filter.all_refused("copies of requests are not sent");
    } else {
      filter.all_refused("not translated: its requests get an error");
      is_passable = false;
    }
  }
  return is_passable;
}

}  // namespace gatehouse::daemon
