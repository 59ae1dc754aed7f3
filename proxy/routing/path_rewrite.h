#pragma once
// The path that a backend gets in place of the one that a route matched. Pure.

#include <string>
#include <string_view>

namespace gatehouse::proxy {

/// `target` with its matched prefix replaced, query kept. The prefix has no slash at its end (""
/// takes in all). Whole segments are joined by one slash: with "/" for "/api", /api/x becomes /x
/// and /api becomes /.
std::string replace_prefix(std::string_view target, std::string_view prefix,
                           std::string_view replacement);

/// `target` with another path, query kept; the path is brought into normal form, for it may have
/// been put together from pieces of the old one.
std::string replace_path(std::string_view target, std::string_view path);

}  // namespace gatehouse::proxy
