#pragma once
// WebSocket on every version of HTTP (RFC 6455, RFC 8441). Between the sessions a request for one
// always looks as in HTTP/1.1: GET, RequestHead::upgrade says "websocket", a Sec-WebSocket-Key; and
// what grants it is a 101 with Sec-WebSocket-Accept. Sessions of HTTP/2 translate to and from
// extended CONNECT and 200, before anything is matched: to a route, as in Envoy, and to the access
// log both are a GET, so that what a site says of its WebSocket holds however it is asked for. What
// follows is a tunnel, carried by the exchange (exchange_tunnel.cc).
//
// No other protocol is ever switched to: h2c above all is ignored, as RFC 9110 section 7.8 allows,
// for a tunnel that nobody looks into gets requests past the rules of a proxy.

#include <string>
#include <string_view>

#include "daemon/base/random.h"
#include "proxy/protocol/message.h"

namespace gatehouse::proxy {

inline constexpr std::string_view kWebSocket = "websocket";
inline constexpr std::string_view kWebSocketKey = "sec-websocket-key";
inline constexpr std::string_view kWebSocketAccept = "sec-websocket-accept";

enum class UpgradeVerdict : std::uint8_t {
  kNone,     // An ordinary request.
  kForward,  // A WebSocket is asked for, and may be.
  kRefused,  // It may not.
  kHasBody,  // It comes with a body: an attempt to smuggle.
};

/// Decides about a request's upgrade and brings it into the form above; what is ignored is removed.
UpgradeVerdict settle_upgrade(RequestHead& request, bool is_allowed, bool has_body, Random& random);

/// Sec-WebSocket-Accept for that Sec-WebSocket-Key (RFC 6455 section 4.2.2).
std::string websocket_accept(std::string_view key);

}  // namespace gatehouse::proxy
