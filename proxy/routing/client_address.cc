#include "proxy/routing/client_address.h"

#include <algorithm>
#include <string_view>

#include "daemon/base/text.h"
#include "proxy/routing/host_table.h"

namespace gatehouse::proxy {

namespace {

/// What is right of the last comma, trimmed; `list` becomes what is left of it.
std::string_view take_last(std::string_view& list) {
  const auto comma = list.rfind(',');
  const std::string_view last = comma == list.npos ? list : list.substr(comma + 1);
  list = comma == list.npos ? std::string_view() : list.substr(0, comma);
  return trim(last);
}

}  // namespace

bool is_in(std::span<const net::Network> networks, const net::IpAddress& address) {
  return std::any_of(networks.begin(), networks.end(),
                     [&](const net::Network& network) { return network.contains(address); });
}

std::optional<net::IpAddress> client_address(const net::SocketAddress& peer, const Fields& fields,
                                             std::span<const net::Network> trusted) {
  if (peer.is_unix()) return std::nullopt;
  net::IpAddress client = peer.ip();
  if (trusted.empty() || !is_in(trusted, client)) return client;
  // Several fields are one list (RFC 9110 section 5.3): the last entry of the last field first.
  for (std::size_t i = fields.size(); i-- > 0;) {
    if (fields.at(i).id != Name::kXForwardedFor) continue;
    std::string_view list = fields.at(i).value;
    while (!list.empty()) {
      const std::string_view entry = take_last(list);
      if (entry.empty()) continue;
      const auto address = net::IpAddress::parse(host_of(entry));  // some write the port, too
      if (!address) return client;
      client = *address;
      if (!is_in(trusted, client)) return client;
    }
  }
  return client;
}

}  // namespace gatehouse::proxy
