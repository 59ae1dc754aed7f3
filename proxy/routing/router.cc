#include "proxy/routing/router.h"

#include <re2/re2.h>

#include <utility>

#include "proxy/routing/path.h"

namespace gatehouse::proxy {
namespace {

/// Bounds what one pattern may take: its program, and the states that RE2 keeps while matching (it
/// forgets and starts over when they are used up). Visitors cannot make it grow beyond.
constexpr std::int64_t kRegexBytesMax = 512 * 1024;

std::unique_ptr<re2::RE2> make_regex(std::string_view pattern) {
  re2::RE2::Options options(re2::RE2::Quiet);
  options.set_encoding(re2::RE2::Options::EncodingLatin1);  // a path is bytes, not always UTF-8
  options.set_dot_nl(true);                                 // so /.* is every path
  options.set_never_capture(true);
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

bool CompiledRoute::matches(std::string_view path) const {
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

const CompiledRoute* CompiledVhost::find(std::string_view path) const {
  for (const auto& route : routes)
    if (route.matches(path)) return &route;
  return nullptr;
}

Router::Router(std::shared_ptr<const Options> options) : options_(std::move(options)) {}
Router::~Router() = default;

Result<std::shared_ptr<const Router>> Router::compile(std::shared_ptr<const Options> options) {
  std::unique_ptr<Router> router(new Router(std::move(options)));
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
    for (const auto& route : vhost.routes) {
      auto compiled = router->compile_route(route);
      if (!compiled) return std::move(compiled).error().in("route " + route.name);
      router->routes_.push_back(*compiled);
    }
    const auto index = static_cast<std::uint32_t>(router->vhosts_.size());
    router->vhosts_.push_back({&vhost, {router->routes_.data() + first, vhost.routes.size()}});
    for (const auto& host : vhost.hosts) router->hosts_.add(host, index);
  }
  return std::shared_ptr<const Router>(std::move(router));
}

Result<void> Router::check_regex(std::string_view pattern) {
  const auto regex = make_regex(pattern);
  if (!regex->ok()) return regex_error(pattern, *regex);
  return {};
}

Result<CompiledRoute> Router::compile_route(const Route& route) {
  CompiledRoute compiled;
  compiled.options = &route;
  compiled.kind = route.match.kind;
  if (compiled.kind == PathMatch::Kind::kRegex) {
    auto regex = regex_for(route.match.text);
    if (!regex) return std::move(regex).error();
    compiled.regex = *regex;
    return compiled;
  }
  std::string_view text = route.match.text;
  if (compiled.kind == PathMatch::Kind::kPrefix && text.ends_with('/')) text.remove_suffix(1);
  const std::size_t at = texts_.size();
  texts_.append(text);
  compiled.text = {texts_.data() + at, text.size()};
  return compiled;
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

RouteMatch Router::match(std::string_view authority, std::string_view target) const {
  RouteMatch match;
  match.vhost = vhost_for(authority);
  if (match.vhost) match.route = match.vhost->find(path_of(target));
  return match;
}

std::string https_location(std::string_view authority, std::string_view target) {
  std::string location = "https://";
  location.append(bracketed_host_of(authority)).append(target == "*" ? "/" : target);
  return location;
}

}  // namespace gatehouse::proxy
