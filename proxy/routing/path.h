#pragma once
// The one normal form of a request's path (DESIGN.md "Paths"): what is matched is what is
// forwarded. Dot segments are removed as RFC 3986 section 5.2.4 says, also when their dots are
// written %2e or %2E, and never climb above the root. A backslash is refused, because some backends
// take it for a slash. Every other byte and escape stays as sent: %2F, %5C, //, invalid escapes.
// The query is not looked at.

#include <cstdint>
#include <string>
#include <string_view>

namespace gatehouse::proxy {

enum class PathForm : std::uint8_t {
  kNormal,     // It was in normal form.
  kRewritten,  // It was not: the normal form is in the other argument.
  kRefused,    // 400.
};

/// `target` is RequestHead::path, query included. `normal` means something for kRewritten only; the
/// usual case costs one pass over the path and no memory.
PathForm normalise_path(std::string_view target, std::string& normal);

/// The target without its query.
inline std::string_view path_of(std::string_view target) {
  return target.substr(0, target.find('?'));
}

}  // namespace gatehouse::proxy
