#include "proxy/routing/sticky.h"

namespace gatehouse::proxy {

namespace {
constexpr std::string_view kDigits = "0123456789abcdef";

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}
}  // namespace

std::optional<std::string_view> find_cookie(const Fields& fields, std::string_view name) {
  for (const Fields::Field field : fields) {
    if (field.id != Name::kCookie) continue;
    for (std::string_view rest = field.value; !rest.empty();) {
      const auto end = rest.find(';');
      const std::string_view pair = trimmed(rest.substr(0, end));
      rest = end == rest.npos ? std::string_view() : rest.substr(end + 1);
      if (pair.size() <= name.size() || pair[name.size()] != '=' || !pair.starts_with(name))
        continue;
      std::string_view value = pair.substr(name.size() + 1);
      if (value.size() >= 2 && value.starts_with('"') && value.ends_with('"'))
        value = value.substr(1, value.size() - 2);
      return value;
    }
  }
  return std::nullopt;
}

std::uint64_t parse_host_id(std::string_view text) {
  if (text.size() != 16) return 0;
  std::uint64_t id = 0;
  for (const char c : text) {
    const auto digit = kDigits.find(c);
    if (digit == kDigits.npos) return 0;
    id = id << 4 | digit;
  }
  return id;
}

std::string sticky_cookie(std::string_view name, std::uint64_t host_id, bool is_secure) {
  std::string cookie(name);
  cookie.push_back('=');
  for (int shift = 60; shift >= 0; shift -= 4) cookie.push_back(kDigits[host_id >> shift & 15]);
  cookie += "; Path=/; HttpOnly; SameSite=Lax";
  if (is_secure) cookie += "; Secure";
  return cookie;
}

}  // namespace gatehouse::proxy
