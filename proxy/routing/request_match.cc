#include "proxy/routing/request_match.h"

#include <algorithm>
#include <optional>

#include "daemon/base/text.h"
#include "proxy/routing/client_address.h"

namespace gatehouse::proxy {

namespace {

std::optional<unsigned> hex_digit(char c) {
  if (is_digit(c)) return static_cast<unsigned>(c - '0');
  const char lower = to_lower(c);
  if (lower >= 'a' && lower <= 'f') return static_cast<unsigned>(lower - 'a') + 10;
  return std::nullopt;
}

/// The byte that `text` begins with, decoded; `text` becomes the rest. A "%" without two digits
/// behind it stands for itself.
char take_decoded(std::string_view& text) {
  const char first = text.front();
  if (first == '%' && text.size() >= 3) {
    const auto high = hex_digit(text[1]), low = hex_digit(text[2]);
    if (high && low) {
      text.remove_prefix(3);
      return static_cast<char>(*high << 4 | *low);
    }
  }
  text.remove_prefix(1);
  return first == '+' ? ' ' : first;
}

bool is_decoded(std::string_view encoded, std::string_view plain) {
  for (const char c : plain)
    if (encoded.empty() || take_decoded(encoded) != c) return false;
  return encoded.empty();
}

bool has_field(const Fields& fields, std::string_view name, std::string_view value) {
  for (const auto field : fields)
    if (field.name == name && field.value == value) return true;
  return false;
}

std::string_view query_of(std::string_view target) {
  const auto mark = target.find('?');
  return mark == target.npos ? std::string_view() : target.substr(mark + 1);
}

}  // namespace

bool has_parameter(std::string_view query, std::string_view name, std::string_view value) {
  while (!query.empty()) {
    std::string_view given_value = take_until(query, '&');
    const std::string_view given_name = take_until(given_value, '=');
    if (is_decoded(given_name, name) && is_decoded(given_value, value)) return true;
  }
  return false;
}

bool holds(const RequestMatch& match, const Asked& asked) {
  const RequestHead& head = asked.head;
  if (!match.methods.empty() &&
      std::find(match.methods.begin(), match.methods.end(), head.method) == match.methods.end())
    return false;
  if (!match.sources.empty() && (!asked.client || !is_in(match.sources, *asked.client)))
    return false;
  for (const auto& [name, value] : match.headers)
    if (!has_field(head.fields, name, value)) return false;
  for (const auto& [name, value] : match.query)
    if (!has_parameter(query_of(head.path), name, value)) return false;
  return true;
}

}  // namespace gatehouse::proxy
