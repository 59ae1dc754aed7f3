#include "daemon/route_shadows.h"

#include <re2/re2.h>

#include <algorithm>

namespace gatehouse::daemon {

using proxy::PathMatch;

RouteShadows::RouteShadows() = default;
RouteShadows::~RouteShadows() = default;

std::optional<std::size_t> RouteShadows::find_prefix_of(std::string_view path) const {
  while (true) {
    if (const auto it = prefixes_.find(std::string(path)); it != prefixes_.end()) return it->second;
    const auto slash = path.rfind('/');
    if (slash == 0 || slash == path.npos) return std::nullopt;
    path = path.substr(0, slash);
  }
}

std::optional<std::size_t> RouteShadows::find(const PathMatch& match) {
  if (catch_all_) return catch_all_;
  if (match.kind == PathMatch::Kind::kPrefix) return find_prefix_of(match.text);
  if (match.kind == PathMatch::Kind::kRegex) {
    const auto it = regex_texts_.find(match.text);
    return it == regex_texts_.end() ? std::nullopt : std::optional(it->second);
  }
  if (match.kind != PathMatch::Kind::kExact) return std::nullopt;
  std::optional<std::size_t> first = find_prefix_of(match.text);
  const auto earlier = [&](std::size_t index) { first = first ? std::min(*first, index) : index; };
  if (const auto it = exact_.find(match.text); it != exact_.end()) earlier(it->second);
  for (Pattern& pattern : regexes_) {
    if (!pattern.regex) pattern.regex = std::make_unique<re2::RE2>(pattern.text, re2::RE2::Quiet);
    if (pattern.regex->ok() && re2::RE2::FullMatch(match.text, *pattern.regex))
      earlier(pattern.index);
  }
  return first;
}

std::optional<std::size_t> RouteShadows::add(const PathMatch& match) {
  const auto by = find(match);
  const std::size_t index = count_++;
  switch (match.kind) {
    case PathMatch::Kind::kAny:
      if (!catch_all_) catch_all_ = index;
      break;
    case PathMatch::Kind::kPrefix:
      if (match.text == "/" && !catch_all_) catch_all_ = index;
      prefixes_.try_emplace(match.text, index);
      break;
    case PathMatch::Kind::kExact: exact_.try_emplace(match.text, index); break;
    case PathMatch::Kind::kRegex: {
      constexpr std::size_t kTried = 64;
      const bool takes_all = match.text == "/.*" || match.text == ".*" || match.text == ".+";
      if (takes_all && !catch_all_) catch_all_ = index;
      regex_texts_.try_emplace(match.text, index);
      if (regexes_.size() < kTried) regexes_.push_back({match.text, index, nullptr});
      break;
    }
  }
  return by;
}

}  // namespace gatehouse::daemon
