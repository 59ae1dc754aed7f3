#include "daemon/net/client_hello.h"

#include <algorithm>
#include <string_view>

#include "daemon/base/text.h"

namespace gatehouse::net {

namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::uint8_t kHostName = 0;
constexpr std::size_t kHostNameBytesMax = 253;

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Takes a vector with a length of `length_bytes` (1 or 2) off the front. nullopt: cut short.
std::optional<Bytes> take_vector(Bytes& from, std::size_t length_bytes) {
  if (from.size() < length_bytes) return std::nullopt;
  std::size_t size = from[0];
  if (length_bytes == 2) size = size << 8 | from[1];
  from = from.subspan(length_bytes);
  if (from.size() < size) return std::nullopt;
  const Bytes taken = from.first(size);
  from = from.subspan(size);
  return taken;
}

bool is_host_name(std::string_view name) {
  const auto is_allowed = [](char c) {
    return is_alpha(c) || is_digit(c) || c == '-' || c == '_' || c == '.';
  };
  return !name.empty() && name.size() <= kHostNameBytesMax && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), is_allowed);
}

}  // namespace

std::optional<std::string> parse_server_name(Bytes extension) {
  auto list = take_vector(extension, 2);
  if (!list || !extension.empty() || list->empty()) return std::nullopt;
  const std::uint8_t type = list->front();
  *list = list->subspan(1);
  const auto host = take_vector(*list, 2);
  // One entry of the one type that exists: RFC 6066 forbids a second, and nobody sends other types.
  if (!host || !list->empty() || type != kHostName) return std::nullopt;
  std::string_view name = text_of(*host);
  if (name.ends_with('.')) name.remove_suffix(1);
  if (!is_host_name(name)) return std::nullopt;
  return to_lower(name);
}

std::optional<AlpnOffer> parse_alpn(Bytes extension) {
  const auto list = take_vector(extension, 2);
  if (!list || !extension.empty()) return std::nullopt;
  return parse_alpn_list(*list);
}

std::optional<AlpnOffer> parse_alpn_list(Bytes list) {
  if (list.empty()) return std::nullopt;
  AlpnOffer offer;
  std::size_t count = 0;
  bool has_acme_tls = false;
  while (!list.empty()) {
    const auto protocol = take_vector(list, 1);
    if (!protocol || protocol->empty()) return std::nullopt;
    const std::string_view name = text_of(*protocol);
    offer.has_h2 |= name == "h2";
    offer.has_http1 |= name == "http/1.1";
    offer.has_http10 |= name == "http/1.0";
    has_acme_tls |= name == "acme-tls/1";
    ++count;
  }
  offer.is_acme_tls = has_acme_tls && count == 1;
  return offer;
}

}  // namespace gatehouse::net
