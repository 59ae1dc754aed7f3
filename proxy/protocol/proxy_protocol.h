#pragma once
// The PROXY protocol, versions 1 and 2, both ways: the few bytes before everything else by which a
// proxy in front says who the client is (haproxy.org/download/3.0/doc/proxy-protocol.txt; the
// sections named in the source are that text's). Pure. Whom to believe is decided elsewhere.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/options.h"

namespace gatehouse::proxy {

/// The two ends of the client's connection to the sender. Unix sockets have no names there, mostly.
struct ProxiedAddresses {
  net::SocketAddress source, destination;
};

struct ProxyHeaderReading {
  enum class State : std::uint8_t { kIncomplete, kComplete, kMalformed };
  State state = State::kIncomplete;
  std::size_t size = 0;  // of the complete header; what follows is the client's
  /// Nothing when the sender speaks for itself (LOCAL: its health checks) or does not know
  /// (UNKNOWN, families that are no streams): the connection's own addresses hold.
  std::optional<ProxiedAddresses> addresses;
};

/// More than any sender needs; a longer header is malformed.
inline constexpr std::size_t kProxyHeaderBytesMax = 16 * 1024;

/// Reads the header at the front of `bytes`, all that has come so far. Bytes that cannot become a
/// header are malformed at once, whatever may follow. TLVs are checked for form, and for their sum
/// when there is one, and otherwise skipped.
ProxyHeaderReading read_proxy_header(std::string_view bytes);

/// What version 2 says beside the addresses. Views live during the call; empty ones are left out.
struct ProxyFacts {
  std::string_view alpn;         // that was negotiated: "h2"
  std::string_view server_name;  // SNI
  std::string_view unique_id;    // of the connection, at most 128 bytes
  bool is_tls = false;
  std::string_view tls_version;         // "TLSv1.3"
  bool has_client_certificate = false;  // shown and verified
  std::string_view common_name;         // of its subject
};

/// "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"; UNKNOWN for unix sockets.
std::string proxy_header_v1(const ProxiedAddresses& addresses);
/// For connections that are nobody's but ours, such as health checks: UNKNOWN, or LOCAL.
std::string own_proxy_header(ProxyProtocol version);
/// With all facts and a CRC32C.
std::string proxy_header_v2(const ProxiedAddresses& addresses, const ProxyFacts& facts);

}  // namespace gatehouse::proxy
