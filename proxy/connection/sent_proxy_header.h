#pragma once
// The PROXY header with which our own connections to backends begin, where the backend wants one
// (`send_proxy_protocol`).

#include <string>

#include "proxy/options.h"

namespace gatehouse::proxy {

class FrontendConnection;

/// Names the client at the other end of that connection. In version 2 with what its TLS came to,
/// and the connection's own unique id.
std::string sent_proxy_header(ProxyProtocol version, FrontendConnection& client);

}  // namespace gatehouse::proxy
