#include "proxy/routing/path.h"

#include <cstddef>

#include "daemon/base/error.h"

namespace gatehouse::proxy {
namespace {

/// Bytes of the dot that `text` starts with: 1 for ".", 3 for "%2e"; 0: it starts with none.
std::size_t dot_size(std::string_view text) {
  if (text.empty()) return 0;
  if (text[0] == '.') return 1;
  if (text.size() >= 3 && text[0] == '%' && text[1] == '2' && (text[2] | 0x20) == 'e') return 3;
  return 0;
}

/// How many dots the segment consists of: 1 or 2; 0 for any other segment.
int dots_in(std::string_view segment) {
  const std::size_t first = dot_size(segment);
  if (first == 0) return 0;
  if (first == segment.size()) return 1;
  const std::size_t second = dot_size(segment.substr(first));
  return second != 0 && first + second == segment.size() ? 2 : 0;
}

/// RFC 3986 section 5.2.4 for a path that starts with '/': each segment is taken with the slash
/// before it; what ends in a dot segment ends in a slash.
void remove_dot_segments(std::string_view path, std::string& normal) {
  std::size_t at = 0;
  while (at < path.size()) {
    std::size_t end = path.find('/', at + 1);
    const bool is_last = end == path.npos;
    if (is_last) end = path.size();
    const int dots = dots_in(path.substr(at + 1, end - at - 1));
    if (dots == 2) normal.resize(normal.empty() ? 0 : normal.rfind('/'));
    if (dots == 0)
      normal.append(path.substr(at, end - at));
    else if (is_last)
      normal.push_back('/');
    at = end;
  }
}

}  // namespace

PathForm normalise_path(std::string_view target, std::string& normal) {
  const std::string_view path = path_of(target);
  if (path.empty() || path[0] != '/') return PathForm::kNormal;  // "*", which sessions let through
  bool may_have_dots = false;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '\\') return PathForm::kRefused;
    if (path[i] == '/') may_have_dots |= dot_size(path.substr(i + 1)) != 0;
  }
  if (!may_have_dots) return PathForm::kNormal;

  normal.clear();
  normal.reserve(target.size());
  remove_dot_segments(path, normal);
  check(normal.starts_with('/') && normal.size() <= path.size(), "a normal path is absolute");
  if (normal.size() == path.size()) return PathForm::kNormal;  // ".well-known" and the like
  normal.append(target.substr(path.size()));
  return PathForm::kRewritten;
}

}  // namespace gatehouse::proxy
