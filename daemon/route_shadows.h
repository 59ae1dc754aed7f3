#pragma once
// Which route of a vhost can never be reached, because an earlier one matches all that it could
// match. Exact for paths; of regexes only what is certain is said, and of what is matched beside
// the path that a route without it takes more, and one with the very same just as much. Pure; the
// cost is linear but for regexes, of which the first few dozen are tried.

#include <cstddef>
#include <map>
#include <optional>
#include <string>

#include "proxy/options.h"

namespace gatehouse::daemon {

class RouteShadows {
 public:
  RouteShadows();
  ~RouteShadows();

  /// Adds the next route; the index of an earlier one that takes everything from it.
  std::optional<std::size_t> add(const proxy::Route& route);

 private:
  class Paths;  // of the routes that match the same beside the path

  std::size_t count_ = 0;
  std::map<std::string, Paths> by_conditions_;  // the key is their text; empty: none
};

}  // namespace gatehouse::daemon
