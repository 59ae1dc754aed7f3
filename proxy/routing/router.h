#pragma once
// Host and path to a route. A Router is the compiled, immutable form of the proxy's Options: the
// snapshot that a request keeps from its first byte to its last. It is shared by loops and holds
// the Options that it was made from, so pointers into both live as long as it does. It decides; it
// sends nothing.

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/base/error.h"
#include "daemon/base/random.h"
#include "daemon/net/server_tls_policy.h"
#include "proxy/options.h"
#include "proxy/routing/header_edits.h"
#include "proxy/routing/host_table.h"
#include "proxy/routing/request_match.h"
#include "proxy/routing/variables.h"

namespace re2 {
class RE2;
}

namespace gatehouse::proxy {

/// How a route changes messages on their way; few do.
struct CompiledRules {
  HeaderEditor request_headers, response_headers;
  Template path;         // of a rewrite
  std::string new_host;  // of a rewrite; empty: kept
  Template location;     // of a redirect
};

/// The whole path and "$1" to "$9".
using Captures = std::array<std::string_view, 10>;

/// A route of the options, ready to be matched: what a lookup reads lies together, because with
/// many vhosts each place it has to visit is a cache miss.
struct CompiledRoute {
  const Route* options = nullptr;
  std::string_view text;            // of the match, in the router; a prefix has no slash at its end
  const re2::RE2* regex = nullptr;  // for PathMatch::Kind::kRegex; shared by equal patterns
  const RequestMatch* request = nullptr;  // beside the path; null: nothing
  const CompiledRules* rules = nullptr;   // null: messages go as they are
  PathMatch::Kind kind = PathMatch::Kind::kAny;

  const std::string& name() const { return options->name; }
  bool matches(const Asked& asked) const {
    return takes_path(asked.path) && (!request || holds(*request, asked));
  }
  /// An index into Options::backends, in proportion to the weights. Only for a route with a split.
  std::size_t choose_backend(Random& random) const;
  /// The groups of the regex in a path that it matched; empty ones for other kinds.
  Captures captures(std::string_view path) const;
  /// What is behind the prefix in a path that it matched; all of it for a route that takes all.
  std::string_view rest_of(std::string_view path) const;
  /// A rewritten target, for one that was matched.
  std::string rewrite(std::string_view target) const;

 private:
  bool takes_path(std::string_view path) const;
};

struct CompiledVhost {
  const Vhost* options = nullptr;
  std::span<const CompiledRoute> routes;
  bool looks_at_client = false;                            // allow, deny, or some route does
  bool allows_early_data = false;                          // some route does
  std::shared_ptr<const net::ServerTlsPolicy> tls_policy;  // null: the listener's own

  /// The first route that matches; null: none does.
  const CompiledRoute* find(const Asked& asked) const;
  /// By `allow` and `deny`; a client without an address (null) is in no network.
  bool admits(const net::IpAddress* client) const;
};

/// No vhost: an unknown host. A vhost, but no route: nothing for that path. Both are 404 with NR.
struct RouteMatch {
  const CompiledVhost* vhost = nullptr;
  const CompiledRoute* route = nullptr;
};

/// What was configured, in one text: policies with the same name are the same.
std::string name_of(const TlsPolicy& policy);
/// As OpenSSL has it; kInvalid when its files are not what they should be.
Result<std::shared_ptr<const net::ServerTlsPolicy>> compile_policy(const TlsPolicy& policy);

class Router {
 public:
  /// Fails on a regex that RE2 does not take within our bound of memory; the message names the
  /// vhost. Of two vhosts with the same host the first has it (the roof refuses that before).
  static Result<std::shared_ptr<const Router>> compile(std::shared_ptr<const Options> options);
  /// Whether compile() would take this pattern, and how many groups it has; for the checking of
  /// configurations.
  static Result<int> check_regex(std::string_view pattern);
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  /// Both steps at once. The head's path is in normal form.
  RouteMatch match(const RequestHead& head, const net::IpAddress* client = nullptr) const;
  /// By exact host, one-label wildcard, then "*"; null: an unknown host.
  const CompiledVhost* vhost_for(std::string_view authority) const;

  const Options& options() const { return *options_; }
  std::size_t vhost_count() const { return vhosts_.size(); }
  std::size_t regex_count() const { return regexes_.size(); }
  /// Some vhost asks for more than a certificate when a handshake names it.
  bool has_tls_rules() const { return allows_early_data_ || !options_->tls_policies.empty(); }
  bool allows_early_data() const { return allows_early_data_; }

 private:
  explicit Router(std::shared_ptr<const Options> options);
  Result<CompiledRoute> compile_route(const Route& route);
  Result<void> compile_rules(const Route& route, CompiledRoute& into);
  Result<const re2::RE2*> regex_for(const std::string& pattern);

  std::shared_ptr<const Options> options_;
  bool allows_early_data_ = false;
  std::string texts_;                  // of all prefixes and exact paths, one behind the other
  std::vector<CompiledRoute> routes_;  // of all vhosts, one behind the other
  std::deque<CompiledRules> rules_;    // of the routes that have some
  std::vector<CompiledVhost> vhosts_;
  HostTable<std::uint32_t> hosts_;                                           // index into vhosts_
  std::unordered_map<std::string_view, std::unique_ptr<re2::RE2>> regexes_;  // keys in *options_
};

/// Where the plain port's redirect points (DESIGN.md "Redirect"): the host without port, path and
/// query as they came in. "*" (OPTIONS) becomes the root.
std::string https_location(std::string_view authority, std::string_view target);

}  // namespace gatehouse::proxy
