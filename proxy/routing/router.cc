#include "proxy/routing/router.h"

#include <re2/re2.h>

#include <utility>

#include "proxy/routing/client_address.h"
#include "proxy/routing/path.h"
#include "proxy/routing/path_rewrite.h"

namespace gatehouse::proxy {
namespace {

/// Bounds what one pattern may take: its program, and the states that RE2 keeps while matching (it
/// forgets and starts over when they are used up). Visitors cannot make it grow beyond.
constexpr std::int64_t kRegexBytesMax = 512 * 1024;

std::unique_ptr<re2::RE2> make_regex(std::string_view pattern) {
  re2::RE2::Options options(re2::RE2::Quiet);
  options.set_encoding(re2::RE2::Options::EncodingLatin1);  // a path is bytes, not always UTF-8
  options.set_dot_nl(true);                                 // so /.* is every path
  options.set_max_mem(kRegexBytesMax);
  return std::make_unique<re2::RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
}

Error regex_error(std::string_view pattern, const re2::RE2& regex) {
  return {Fault::kInvalid, "regex \"" + std::string(pattern) + "\": " + regex.error()};
}

/// "/api" takes in /api, /api/ and /api/x, but not /apix; "" takes in everything.
bool has_prefix(std::string_view path, std::string_view prefix) {
  if (!path.starts_with(prefix)) return false;
  return path.size() == prefix.size() || path[prefix.size()] == '/' || prefix.empty();
}

}  // namespace

bool CompiledRoute::takes_path(std::string_view path) const {
  switch (kind) {
    case PathMatch::Kind::kAny: return true;
    case PathMatch::Kind::kPrefix: return has_prefix(path, text);
    case PathMatch::Kind::kExact: return path == text;
    case PathMatch::Kind::kRegex:
      return regex->Match(re2::StringPiece(path.data(), path.size()), 0, path.size(),
                          re2::RE2::ANCHOR_BOTH, nullptr, 0);
  }
  return false;
}

std::size_t CompiledRoute::choose_backend(Random& random) const {
  const auto& split = options->split;
  check(!split.empty(), "only a route with backends chooses one");
  if (split.size() == 1) return split[0].backend;
  std::uint64_t sum = 0;
  for (const auto& part : split) sum += part.weight;
  std::uint64_t drawn = random.below(sum);
  for (const auto& part : split) {
    if (drawn < part.weight) return part.backend;
    drawn -= part.weight;
  }
  return split[0].backend;  // all weights are 0
}

Captures CompiledRoute::captures(std::string_view path) const {
  Captures found;
  if (kind != PathMatch::Kind::kRegex) return found;
  re2::StringPiece pieces[std::tuple_size_v<Captures>];
  const int count = std::min<int>(1 + regex->NumberOfCapturingGroups(), std::size(pieces));
  if (regex->Match(re2::StringPiece(path.data(), path.size()), 0, path.size(),
                   re2::RE2::ANCHOR_BOTH, pieces, count))
    for (std::size_t i = 0; i < found.size(); ++i) found[i] = {pieces[i].data(), pieces[i].size()};
  return found;
}

std::string_view CompiledRoute::rest_of(std::string_view path) const {
  switch (kind) {
    case PathMatch::Kind::kAny: return path == "*" ? std::string_view() : path;
    case PathMatch::Kind::kPrefix:
      return path == "*" ? std::string_view() : path.substr(text.size());
    case PathMatch::Kind::kExact:
    case PathMatch::Kind::kRegex: break;
  }
  return {};
}

std::string CompiledRoute::rewrite(std::string_view target) const {
  const Template& path = rules->path;
  if (path.empty() || target == "*") return std::string(target);
  if (kind == PathMatch::Kind::kPrefix) return replace_prefix(target, text, path.constant_start());
  if (path.is_constant()) return replace_path(target, path.constant_start());
  const Captures groups = captures(path_of(target));
  const RequestHead nothing;
  return replace_path(target, path.expand({.request = nothing, .captures = groups}));
}

const CompiledRoute* CompiledVhost::find(const Asked& asked) const {
  for (const auto& route : routes)
    if (route.matches(asked)) return &route;
  return nullptr;
}

bool CompiledVhost::admits(const net::IpAddress* client) const {
  if (client && is_in(options->deny, *client)) return false;
  return options->allow.empty() || (client && is_in(options->allow, *client));
}

Router::Router(std::shared_ptr<const Options> options) : options_(std::move(options)) {}
Router::~Router() = default;

std::string name_of(const TlsPolicy& policy) {
  std::string name = std::to_string(static_cast<int>(policy.profile));
  name.append(1, ' ').append(std::to_string(static_cast<int>(policy.clients)));
  return name.append(1, '\0').append(policy.ca_file).append(1, '\0').append(policy.crl_file);
}

Result<std::shared_ptr<const net::ServerTlsPolicy>> compile_policy(const TlsPolicy& policy) {
  net::ServerTlsPolicy::Options options;
  options.name = name_of(policy);
  options.profile = policy.profile == TlsProfile::kModern ? net::TlsProfile::kModern
                                                          : net::TlsProfile::kIntermediate;
  switch (policy.clients) {
    case TlsPolicy::Clients::kOff: options.clients = net::ClientCertificates::kOff; break;
    case TlsPolicy::Clients::kOptional: options.clients = net::ClientCertificates::kOptional; break;
    case TlsPolicy::Clients::kRequired: options.clients = net::ClientCertificates::kRequired; break;
  }
  if (policy.ca_pem) options.ca_pem = *policy.ca_pem;
  if (policy.crl_pem) options.crl_pem = *policy.crl_pem;
  return net::ServerTlsPolicy::create(options);
}

Result<std::shared_ptr<const Router>> Router::compile(std::shared_ptr<const Options> options) {
  std::unique_ptr<Router> router(new Router(std::move(options)));
  std::vector<std::shared_ptr<const net::ServerTlsPolicy>> policies;
  for (const TlsPolicy& policy : router->options_->tls_policies) {
    auto made = compile_policy(policy);
    if (!made) return std::move(made).error().in("client certificates of a vhost");
    policies.push_back(std::move(*made));
  }
  const auto& vhosts = router->options_->vhosts;
  std::size_t routes = 0, hosts = 0, text_bytes = 0;
  for (const auto& vhost : vhosts) {
    routes += vhost.routes.size();
    hosts += vhost.hosts.size();
    for (const auto& route : vhost.routes) text_bytes += route.match.text.size();
  }
  router->texts_.reserve(text_bytes);  // views point into it
  router->routes_.reserve(routes);     // spans point into it
  router->vhosts_.reserve(vhosts.size());
  router->hosts_.reserve(hosts);

  for (const auto& vhost : vhosts) {
    const std::size_t first = router->routes_.size();
    bool looks_at_client = !vhost.allow.empty() || !vhost.deny.empty(), allows_early_data = false;
    for (const auto& route : vhost.routes) {
      auto compiled = router->compile_route(route);
      if (!compiled) return std::move(compiled).error().in("route " + route.name);
      router->routes_.push_back(*compiled);
      looks_at_client |= compiled->request && !compiled->request->sources.empty();
      allows_early_data |= route.allows_early_data;
    }
    const auto index = static_cast<std::uint32_t>(router->vhosts_.size());
    CompiledVhost& compiled_vhost = router->vhosts_.emplace_back();
    compiled_vhost.options = &vhost;
    compiled_vhost.routes = {router->routes_.data() + first, vhost.routes.size()};
    compiled_vhost.looks_at_client = looks_at_client;
    compiled_vhost.allows_early_data = allows_early_data;
    router->allows_early_data_ |= allows_early_data;
    if (vhost.tls_policy) compiled_vhost.tls_policy = policies[*vhost.tls_policy];
    for (const auto& host : vhost.hosts) router->hosts_.add(host, index);
  }
  return std::shared_ptr<const Router>(std::move(router));
}

Result<int> Router::check_regex(std::string_view pattern) {
  const auto regex = make_regex(pattern);
  if (!regex->ok()) return regex_error(pattern, *regex);
  return regex->NumberOfCapturingGroups();
}

Result<CompiledRoute> Router::compile_route(const Route& route) {
  CompiledRoute compiled;
  compiled.options = &route;
  compiled.kind = route.match.kind;
  if (route.rules && !route.rules->match.empty()) compiled.request = &route.rules->match;
  if (compiled.kind == PathMatch::Kind::kRegex) {
    auto regex = regex_for(route.match.text);
    if (!regex) return std::move(regex).error();
    compiled.regex = *regex;
    if (auto ruled = compile_rules(route, compiled); !ruled) return ruled.error();
    return compiled;
  }
  std::string_view text = route.match.text;
  if (compiled.kind == PathMatch::Kind::kPrefix && text.ends_with('/')) text.remove_suffix(1);
  const std::size_t at = texts_.size();
  texts_.append(text);
  compiled.text = {texts_.data() + at, text.size()};
  if (auto ruled = compile_rules(route, compiled); !ruled) return ruled.error();
  return compiled;
}

Result<void> Router::compile_rules(const Route& route, CompiledRoute& into) {
  const bool has_location =
      route.redirect && route.redirect->to.find_first_of("%$") != std::string::npos;
  const RouteRules* given = route.rules.get();
  const bool changes =
      given && (!given->rewrite.path.empty() || !given->rewrite.host.empty() ||
                !given->request_headers.empty() || !given->response_headers.empty());
  if (!has_location && !changes) return {};
  CompiledRules rules;
  std::optional<int> groups;
  if (into.regex) groups = into.regex->NumberOfCapturingGroups();
  const auto parse = [&](std::string_view text, Template::Use use, Template& made) -> Result<void> {
    Template::Problem problem;
    auto parsed = Template::parse(text, use, groups, problem);
    if (!parsed) return Error{Fault::kInvalid, std::move(problem.message)};
    made = std::move(*parsed);
    return {};
  };
  if (has_location)
    if (auto good = parse(route.redirect->to, Template::Use::kRedirect, rules.location); !good)
      return good;
  if (changes) {
    if (auto good = parse(given->rewrite.path, Template::Use::kRewrite, rules.path); !good)
      return good;
    rules.new_host = given->rewrite.host;
    auto request = HeaderEditor::compile(given->request_headers, Template::Use::kRequestHeader);
    if (!request) return std::move(request).error();
    auto response = HeaderEditor::compile(given->response_headers, Template::Use::kResponseHeader);
    if (!response) return std::move(response).error();
    rules.request_headers = std::move(*request);
    rules.response_headers = std::move(*response);
  }
  rules_.push_back(std::move(rules));
  into.rules = &rules_.back();
  return {};
}

Result<const re2::RE2*> Router::regex_for(const std::string& pattern) {
  const auto [it, is_new] = regexes_.try_emplace(pattern);
  if (is_new) it->second = make_regex(pattern);
  if (!it->second->ok()) return regex_error(pattern, *it->second);
  return static_cast<const re2::RE2*>(it->second.get());
}

const CompiledVhost* Router::vhost_for(std::string_view authority) const {
  const std::uint32_t* index = hosts_.find(host_of(authority));
  if (!index) index = hosts_.fallback();
  return index ? &vhosts_[*index] : nullptr;
}

RouteMatch Router::match(const RequestHead& head, const net::IpAddress* client) const {
  RouteMatch match;
  match.vhost = vhost_for(head.authority);
  if (match.vhost) match.route = match.vhost->find({path_of(head.path), head, client});
  return match;
}

std::string https_location(std::string_view authority, std::string_view target) {
  std::string location = "https://";
  location.append(bracketed_host_of(authority)).append(target == "*" ? "/" : target);
  return location;
}

}  // namespace gatehouse::proxy
