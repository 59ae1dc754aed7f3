#pragma once
// What a route looks at beside the path: method, header fields, query parameters, the client's
// address. Pure.

#include <string_view>

#include "daemon/net/address.h"
#include "proxy/options.h"
#include "proxy/protocol/message.h"

namespace gatehouse::proxy {

/// A request as routes see it. Views live during the lookup.
struct Asked {
  std::string_view path;  // in normal form, without query
  const RequestHead& head;
  const net::IpAddress* client = nullptr;  // client_address(); null: it has none
};

/// Whether all conditions hold. A field or parameter that comes several times holds when one of
/// them has the value.
bool holds(const RequestMatch& match, const Asked& asked);

/// Whether a query ("a=1&b=2", without "?") has that parameter with that value. Names and values
/// are compared after decoding: %XX, and "+" for a space, as forms write it.
bool has_parameter(std::string_view query, std::string_view name, std::string_view value);

}  // namespace gatehouse::proxy
