// How a route changes messages on their way: header edits, rewrites, redirects with variables. A
// part of DataPlane; nothing here runs for routes without such rules.

#include <utility>

#include "proxy/data_plane.h"
#include "proxy/routing/client_address.h"
#include "proxy/routing/path.h"

namespace gatehouse::proxy {

VariableSource DataPlane::variables(const Exchange& exchange) const {
  const RequestHead& request = exchange.request();
  const View& view = static_cast<const View&>(*exchange.snapshot);
  VariableSource source{.request = request};
  source.target = exchange.original_path.empty() ? request.path : exchange.original_path;
  source.authority =
      exchange.original_authority.empty() ? request.authority : exchange.original_authority;
  source.route = exchange.route->name();
  if (!exchange.route->options->split.empty())
    source.backend = view.targets[exchange.target].backend->name;
  source.endpoint = exchange.endpoint;
  if (const FrontendConnection* from = frontends_.find(exchange.frontend())) {
    source.peer = &from->facts().peer;
    source.local = &from->facts().local;
    source.server_name = from->server_name();
    source.client =
        client_address(from->facts().peer, request.fields, view.router->options().trusted_proxies);
  }
  return source;
}

/// On its way to a backend: the headers first, so that they speak of what the client asked for.
void DataPlane::edit_request(Exchange& exchange) {
  const CompiledRoute& route = *exchange.route;
  if (!route.rules) return;
  const CompiledRules& rules = *route.rules;
  RequestHead& request = exchange.request();
  if (!rules.request_headers.empty())
    rules.request_headers.apply(request.fields, variables(exchange));
  if (!rules.path.empty()) {
    std::string before = std::exchange(request.path, route.rewrite(request.path));
    if (exchange.original_path.empty()) exchange.original_path = std::move(before);
  }
  if (!rules.new_host.empty())
    exchange.original_authority = std::exchange(request.authority, rules.new_host);
}

void DataPlane::edit_response(Exchange& exchange, ResponseHead& head) const {
  if (!exchange.route || !exchange.route->rules) return;
  const HeaderEditor& edits = exchange.route->rules->response_headers;
  if (edits.empty()) return;
  VariableSource source = variables(exchange);
  source.response = &head;
  edits.apply(head.fields, source);
}

std::string DataPlane::location_of(const Exchange& exchange) const {
  const CompiledRoute& route = *exchange.route;
  if (!route.rules || route.rules->location.empty()) return route.options->redirect->to;
  VariableSource source = variables(exchange);
  source.target = exchange.request().path;  // in normal form: it becomes a part of a URL
  const std::string_view path = path_of(source.target);
  const Captures captures = route.captures(path);
  source.captures = captures;
  source.rest = route.rest_of(path);
  return route.rules->location.expand_location(source);
}

}  // namespace gatehouse::proxy
