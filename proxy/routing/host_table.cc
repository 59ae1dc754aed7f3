#include "proxy/routing/host_table.h"

#include "daemon/net/address.h"

namespace gatehouse::proxy {

std::string_view bracketed_host_of(std::string_view authority) {
  if (authority.starts_with('[')) {
    const auto end = authority.find(']');
    return end == authority.npos ? authority : authority.substr(0, end + 1);
  }
  const auto colon = authority.find(':');
  // Two colons and no brackets: a bare IPv6 address, as local addresses and configurations have it.
  if (colon == authority.npos || authority.find(':', colon + 1) != authority.npos) return authority;
  return authority.substr(0, colon);
}

std::string_view host_of(std::string_view authority) {
  std::string_view host = bracketed_host_of(authority);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
    return host.substr(1, host.size() - 2);
  if (host.size() > 1 && host.back() == '.') host.remove_suffix(1);
  return host;
}

std::string_view canonical_host(std::string_view host, std::string& room) {
  if (host.find(':') == host.npos) return host;
  const auto address = net::IpAddress::parse(host);
  if (!address) return host;
  room = address->to_string();
  return room;
}

}  // namespace gatehouse::proxy
