#pragma once
// Who a request comes from: what vhosts allow and deny by, and routes match. The peer of the
// connection; behind trusted proxies the address that the last of them saw (X-Forwarded-For, the
// right-most that is not trusted itself). Pure.

#include <optional>
#include <span>

#include "daemon/net/address.h"
#include "proxy/protocol/message.h"

namespace gatehouse::proxy {

/// Whether one of the networks has the address.
bool is_in(std::span<const net::Network> networks, const net::IpAddress& address);

/// Nothing for the peer of a unix socket. An entry that is no address ends the search: what stands
/// to its left could be anything. The result is the same before and after apply_forwarding().
std::optional<net::IpAddress> client_address(const net::SocketAddress& peer, const Fields& fields,
                                             std::span<const net::Network> trusted);

}  // namespace gatehouse::proxy
