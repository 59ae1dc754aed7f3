#pragma once
// Which route of a vhost can never be reached, because an earlier one matches all that it could
// match. Exact for paths; of regexes only what is certain is said. Pure; the cost is linear but for
// regexes, of which the first few dozen are tried.

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proxy/options.h"

namespace re2 {
class RE2;
}

namespace gatehouse::daemon {

class RouteShadows {
 public:
  RouteShadows();
  ~RouteShadows();

  /// Adds the next route; the index of an earlier one that takes everything from it.
  std::optional<std::size_t> add(const proxy::PathMatch& match);

 private:
  struct Pattern {
    std::string text;
    std::size_t index = 0;
    std::unique_ptr<re2::RE2> regex;  // made when an exact path first asks: most never do
  };
  std::optional<std::size_t> find(const proxy::PathMatch& match);
  std::optional<std::size_t> find_prefix_of(std::string_view path) const;

  std::size_t count_ = 0;
  std::optional<std::size_t> catch_all_;
  std::unordered_map<std::string, std::size_t> prefixes_, exact_, regex_texts_;
  std::vector<Pattern> regexes_;
};

}  // namespace gatehouse::daemon
