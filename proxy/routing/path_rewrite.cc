#include "proxy/routing/path_rewrite.h"

#include "daemon/base/error.h"
#include "proxy/routing/path.h"

namespace gatehouse::proxy {

std::string replace_prefix(std::string_view target, std::string_view prefix,
                           std::string_view replacement) {
  check(target.starts_with(prefix), "a rewritten path has the prefix that was matched");
  const std::string_view rest = target.substr(prefix.size());
  std::string rewritten(replacement);
  // What follows a prefix is a slash, the query, or nothing.
  if (rest.starts_with('/') && rewritten.ends_with('/')) rewritten.pop_back();
  return rewritten.append(rest);
}

std::string replace_path(std::string_view target, std::string_view path) {
  std::string rewritten;
  if (!path.starts_with('/')) rewritten.push_back('/');
  rewritten.append(path).append(target.substr(path_of(target).size()));
  std::string normal;
  return normalise_path(rewritten, normal) == PathForm::kRewritten ? normal : rewritten;
}

}  // namespace gatehouse::proxy
