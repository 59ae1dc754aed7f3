#pragma once
// Host and path to a route. A Router is the compiled, immutable form of the proxy's Options: the
// snapshot that a request keeps from its first byte to its last. It is shared by loops and holds
// the Options that it was made from, so pointers into both live as long as it does. It decides; it
// sends nothing.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/base/error.h"
#include "daemon/base/random.h"
#include "proxy/options.h"
#include "proxy/routing/host_table.h"

namespace re2 {
class RE2;
}

namespace gatehouse::proxy {

/// A route of the options, ready to be matched: what a lookup reads lies together, because with
/// many vhosts each place it has to visit is a cache miss.
struct CompiledRoute {
  const Route* options = nullptr;
  std::string_view text;            // of the match, in the router; a prefix has no slash at its end
  const re2::RE2* regex = nullptr;  // for PathMatch::Kind::kRegex; shared by equal patterns
  PathMatch::Kind kind = PathMatch::Kind::kAny;

  const std::string& name() const { return options->name; }
  /// `path` is in normal form, without query.
  bool matches(std::string_view path) const;
  /// An index into Options::backends, in proportion to the weights. Only for a route with a split.
  std::size_t choose_backend(Random& random) const;
};

struct CompiledVhost {
  const Vhost* options = nullptr;
  std::span<const CompiledRoute> routes;

  /// The first route that matches; null: none does. `path` as for CompiledRoute::matches().
  const CompiledRoute* find(std::string_view path) const;
};

/// No vhost: an unknown host. A vhost, but no route: nothing for that path. Both are 404 with NR.
struct RouteMatch {
  const CompiledVhost* vhost = nullptr;
  const CompiledRoute* route = nullptr;
};

class Router {
 public:
  /// Fails on a regex that RE2 does not take within our bound of memory; the message names the
  /// vhost. Of two vhosts with the same host the first has it (the roof refuses that before).
  static Result<std::shared_ptr<const Router>> compile(std::shared_ptr<const Options> options);
  /// Whether compile() would take this pattern; for the checking of configurations.
  static Result<void> check_regex(std::string_view pattern);
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  /// `authority` is host[:port] in lower case; `target` is in normal form, its query is ignored.
  RouteMatch match(std::string_view authority, std::string_view target) const;
  /// By exact host, one-label wildcard, then "*"; null: an unknown host.
  const CompiledVhost* vhost_for(std::string_view authority) const;

  const Options& options() const { return *options_; }
  std::size_t vhost_count() const { return vhosts_.size(); }
  std::size_t regex_count() const { return regexes_.size(); }

 private:
  explicit Router(std::shared_ptr<const Options> options);
  Result<CompiledRoute> compile_route(const Route& route);
  Result<const re2::RE2*> regex_for(const std::string& pattern);

  std::shared_ptr<const Options> options_;
  std::string texts_;                  // of all prefixes and exact paths, one behind the other
  std::vector<CompiledRoute> routes_;  // of all vhosts, one behind the other
  std::vector<CompiledVhost> vhosts_;
  HostTable<std::uint32_t> hosts_;                                           // index into vhosts_
  std::unordered_map<std::string_view, std::unique_ptr<re2::RE2>> regexes_;  // keys in *options_
};

/// Where the plain port's redirect points (DESIGN.md "Redirect"): the host without port, path and
/// query as they came in. "*" (OPTIONS) becomes the root.
std::string https_location(std::string_view authority, std::string_view target);

}  // namespace gatehouse::proxy
