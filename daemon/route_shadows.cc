#include "daemon/route_shadows.h"

#include <re2/re2.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace gatehouse::daemon {

using proxy::PathMatch;

class RouteShadows::Paths {
 public:
  std::optional<std::size_t> find(const PathMatch& match);
  void add(const PathMatch& match, std::size_t index);

 private:
  struct Pattern {
    std::string text;
    std::size_t index = 0;
    std::unique_ptr<re2::RE2> regex;  // made when an exact path first asks: most never do
  };
  std::optional<std::size_t> find_prefix_of(std::string_view path) const;

  std::optional<std::size_t> catch_all_;
  std::unordered_map<std::string, std::size_t> prefixes_, exact_, regex_texts_;
  std::vector<Pattern> regexes_;
};

namespace {

/// With its length, so that no two lists of texts look alike.
std::string sized(std::string_view text) {
  return std::to_string(text.size()).append(":").append(text);
}

/// A list whose order says nothing: one text for all orders.
void append_sorted(std::string& out, std::vector<std::string> items) {
  std::sort(items.begin(), items.end());
  for (const std::string& item : items) out.append(sized(item));
  out.push_back(';');
}

std::vector<std::string> texts_of(const proxy::RequestMatch::Pairs& pairs) {
  std::vector<std::string> texts;
  for (const auto& [name, value] : pairs) texts.push_back(sized(name) + value);
  return texts;
}

std::string text_of(const proxy::RequestMatch& match) {
  std::string text;
  if (match.empty()) return text;
  std::vector<std::string> sources;
  for (const auto& network : match.sources) sources.push_back(network.to_string());
  append_sorted(text, match.methods);
  append_sorted(text, texts_of(match.headers));
  append_sorted(text, texts_of(match.query));
  append_sorted(text, std::move(sources));
  return text;
}

}  // namespace

RouteShadows::RouteShadows() = default;
RouteShadows::~RouteShadows() = default;

std::optional<std::size_t> RouteShadows::add(const proxy::Route& route) {
  const std::size_t index = count_++;
  const std::string conditions = route.rules ? text_of(route.rules->match) : std::string();
  auto by = by_conditions_[{}].find(route.match);
  if (!conditions.empty())
    if (const auto same = by_conditions_[conditions].find(route.match);
        same && (!by || *same < *by))
      by = same;
  by_conditions_[conditions].add(route.match, index);
  return by;
}

std::optional<std::size_t> RouteShadows::Paths::find_prefix_of(std::string_view path) const {
  while (true) {
    if (const auto it = prefixes_.find(std::string(path)); it != prefixes_.end()) return it->second;
    const auto slash = path.rfind('/');
    if (slash == 0 || slash == path.npos) return std::nullopt;
    path = path.substr(0, slash);
  }
}

std::optional<std::size_t> RouteShadows::Paths::find(const PathMatch& match) {
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

void RouteShadows::Paths::add(const PathMatch& match, std::size_t index) {
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
}

}  // namespace gatehouse::daemon
