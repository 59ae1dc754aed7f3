#pragma once
// The two extensions of a ClientHello that decide which certificate answers, read strictly from
// their bytes before OpenSSL acts on them. Pure; for the server's TLS context only.

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace gatehouse::net {

/// The host name of the server_name extension (RFC 6066 section 3), in lower case, without a
/// trailing dot. nullopt: malformed. Bytes that no host name has make it malformed, too.
std::optional<std::string> parse_server_name(std::span<const std::uint8_t> extension);

/// What an application_layer_protocol_negotiation extension offers (RFC 7301 section 3.1).
struct AlpnOffer {
  bool has_h2 = false, has_http1 = false;
  bool has_http10 = false;   // what clients offer that speak nothing newer
  bool is_acme_tls = false;  // the list is exactly "acme-tls/1" (RFC 8737 section 3)
};
/// nullopt: malformed.
std::optional<AlpnOffer> parse_alpn(std::span<const std::uint8_t> extension);
/// The same from the list inside the extension, as OpenSSL's ALPN callback has it.
std::optional<AlpnOffer> parse_alpn_list(std::span<const std::uint8_t> list);

}  // namespace gatehouse::net
