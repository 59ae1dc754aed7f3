#include "proxy/protocol/proxy_protocol.h"

#include <algorithm>
#include <array>

#include "daemon/base/text.h"

namespace gatehouse::proxy {

namespace {

using Reading = ProxyHeaderReading;

constexpr std::string_view kSignatureV1 = "PROXY ";
constexpr std::string_view kSignatureV2("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::size_t kLineBytesMax = 107;  // section 2.1, with the end of the line
constexpr std::size_t kHeadBytesV2 = 16;

enum Command : unsigned { kLocal = 0, kProxy = 1 };
enum Family : unsigned { kStreamV4 = 0x11, kStreamV6 = 0x21, kStreamUnix = 0x31 };
enum Tlv : std::uint8_t {
  kAlpn = 0x01,
  kAuthority = 0x02,
  kCrc32c = 0x03,
  kUniqueId = 0x05,
  kSsl = 0x20,
  kSslVersion = 0x21,
  kSslCommonName = 0x22,
};
constexpr std::size_t kUniqueIdBytesMax = 128;  // section 2.2.5
constexpr std::size_t kUnixPathBytes = 108;
constexpr std::size_t kCommonNameBytesMax = 256;

Reading malformed() { return {Reading::State::kMalformed, 0, std::nullopt}; }
Reading complete(std::size_t size, std::optional<ProxiedAddresses> addresses = std::nullopt) {
  return {Reading::State::kComplete, size, std::move(addresses)};
}

/// Both begin alike as far as both go.
bool agree(std::string_view a, std::string_view b) {
  const std::size_t size = std::min(a.size(), b.size());
  return a.substr(0, size) == b.substr(0, size);
}

// ---- version 1 ------------------------------------------------------------------------------

std::optional<std::uint16_t> parse_port(std::string_view text) {
  if (text.empty() || text.size() > 5 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  const auto port = parse_decimal(text);
  if (!port || *port > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(*port);
}

Reading read_line(std::string_view bytes) {
  const std::string_view searched = bytes.substr(0, kLineBytesMax);
  const std::size_t end = searched.find("\r\n");
  if (end == searched.npos) return bytes.size() < kLineBytesMax ? Reading{} : malformed();
  const std::size_t size = end + 2;
  const auto words = split(bytes.substr(kSignatureV1.size(), end - kSignatureV1.size()), ' ');
  if (words[0] == "UNKNOWN") return complete(size);  // The rest of the line is to be ignored.
  const bool is_v6 = words[0] == "TCP6";
  if ((words[0] != "TCP4" && !is_v6) || words.size() != 5) return malformed();
  const auto is_of_family = [&](std::string_view text) {
    return (text.find(':') != text.npos) == is_v6;
  };
  const auto source = net::IpAddress::parse(words[1]);
  const auto destination = net::IpAddress::parse(words[2]);
  const auto source_port = parse_port(words[3]), destination_port = parse_port(words[4]);
  if (!source || !destination || !source_port || !destination_port || !is_of_family(words[1]) ||
      !is_of_family(words[2]))
    return malformed();
  return complete(size, ProxiedAddresses{net::SocketAddress(*source, *source_port),
                                         net::SocketAddress(*destination, *destination_port)});
}

// ---- version 2 ------------------------------------------------------------------------------

std::size_t number_at(std::string_view bytes, std::size_t at) {
  return static_cast<std::size_t>(static_cast<std::uint8_t>(bytes[at])) << 8 |
         static_cast<std::uint8_t>(bytes[at + 1]);
}

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value & 1 ? value >> 1 ^ 0x82f63b78u : value >> 1;
    table[i] = value;
  }
  return table;
}

/// Castagnoli's, RFC 4960 appendix B.
std::uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = make_crc_table();
  std::uint32_t sum = ~0u;
  for (const char c : bytes) sum = kTable[(sum ^ static_cast<std::uint8_t>(c)) & 0xff] ^ sum >> 8;
  return ~sum;
}

std::string four_bytes(std::uint32_t number) {
  return {static_cast<char>(number >> 24), static_cast<char>(number >> 16),
          static_cast<char>(number >> 8), static_cast<char>(number)};
}

/// Section 2.2.3: a sum that is there must be right.
bool has_right_sum(std::string_view header, std::size_t at) {
  std::string zeroed(header);
  std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(at), 4, '\0');
  return header.substr(at, 4) == four_bytes(crc32c(zeroed));
}

/// `at` is where the first one begins.
bool are_tlvs_fine(std::string_view header, std::size_t at) {
  while (at < header.size()) {
    if (header.size() - at < 3) return false;
    const auto type = static_cast<std::uint8_t>(header[at]);
    const std::size_t size = number_at(header, at + 1);
    at += 3;
    if (header.size() - at < size) return false;
    if (type == kCrc32c && (size != 4 || !has_right_sum(header, at))) return false;
    at += size;
  }
  return true;
}

net::SocketAddress ip_at(std::string_view header, std::size_t at, std::size_t port_at, bool is_v6) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(header.data() + at);
  return {net::IpAddress::from_bytes(bytes, is_v6),
          static_cast<std::uint16_t>(number_at(header, port_at))};
}

net::SocketAddress unix_at(std::string_view header, std::size_t at) {
  std::string_view path = header.substr(at, kUnixPathBytes);
  path = path.substr(0, path.find('\0'));
  constexpr sockaddr kNameless{AF_UNIX, {}};
  if (path.empty()) return net::SocketAddress::from_native(&kNameless, sizeof kNameless.sa_family);
  return net::SocketAddress::unix_path(path.substr(0, kUnixPathBytes - 1));
}

Reading read_binary(std::string_view bytes) {
  if (bytes.size() < kHeadBytesV2) return {};
  const auto first = static_cast<std::uint8_t>(bytes[12]);
  const unsigned family = static_cast<std::uint8_t>(bytes[13]);
  const std::size_t size = kHeadBytesV2 + number_at(bytes, 14);
  const unsigned command = first & 0x0fu;
  if (first >> 4 != 2 || command > kProxy || size > kProxyHeaderBytesMax) return malformed();
  if (bytes.size() < size) return {};
  const std::string_view header = bytes.substr(0, size);
  if (command == kLocal) return complete(size);
  std::size_t address_bytes = 0;
  switch (family) {
    case kStreamV4: address_bytes = 2 * 4 + 2 * 2; break;
    case kStreamV6: address_bytes = 2 * 16 + 2 * 2; break;
    case kStreamUnix: address_bytes = 2 * kUnixPathBytes; break;
    default: return complete(size);  // Section 2.2: "the receiver should accept, and ignore".
  }
  const std::size_t at = kHeadBytesV2, tlvs_at = at + address_bytes;
  if (tlvs_at > size || !are_tlvs_fine(header, tlvs_at)) return malformed();
  if (family == kStreamUnix)
    return complete(size,
                    ProxiedAddresses{unix_at(header, at), unix_at(header, at + kUnixPathBytes)});
  const bool is_v6 = family == kStreamV6;
  const std::size_t each = is_v6 ? 16 : 4, ports_at = at + 2 * each;
  return complete(size, ProxiedAddresses{ip_at(header, at, ports_at, is_v6),
                                         ip_at(header, at + each, ports_at + 2, is_v6)});
}

// ---- sending --------------------------------------------------------------------------------

std::string two_bytes(std::size_t number) {
  return {static_cast<char>(number >> 8), static_cast<char>(number)};
}

std::string tlv(std::uint8_t type, std::string_view value) {
  std::string text(1, static_cast<char>(type));
  return text.append(two_bytes(value.size())).append(value);
}

/// Sixteen bytes for either family; IPv4 as mapped addresses (RFC 4291 section 2.5.5.2).
std::string as_v6(const net::IpAddress& ip) {
  std::string bytes;
  if (!ip.is_v6()) bytes.assign("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
  return bytes.append(ip.bytes());
}

std::string as_v6_text(const net::IpAddress& ip) {
  return ip.is_v6() ? ip.to_string() : "::ffff:" + ip.to_string();
}

std::string ssl_tlv(const ProxyFacts& facts) {
  // Section 2.2.5: over TLS; with a certificate in this connection and in its session.
  const unsigned client = facts.has_client_certificate ? 0x01 | 0x02 | 0x04 : 0x01;
  std::string value(1, static_cast<char>(client));
  value += four_bytes(facts.has_client_certificate ? 0 : 1);  // Zero: shown, and verified.
  if (!facts.tls_version.empty()) value += tlv(kSslVersion, facts.tls_version);
  if (!facts.common_name.empty())
    value += tlv(kSslCommonName, facts.common_name.substr(0, kCommonNameBytesMax));
  return tlv(kSsl, value);
}

/// The family's byte, the length's place, and the addresses.
std::string binary_addresses(const ProxiedAddresses& addresses, unsigned& family) {
  const net::SocketAddress &from = addresses.source, &to = addresses.destination;
  if (from.is_unix() || to.is_unix()) {
    family = 0;  // Of unix sockets nothing is known that would help a backend.
    return {};
  }
  const bool is_v6 = from.ip().is_v6() || to.ip().is_v6();
  family = is_v6 ? kStreamV6 : kStreamV4;
  std::string bytes = is_v6 ? as_v6(from.ip()) + as_v6(to.ip()) : std::string(from.ip().bytes());
  if (!is_v6) bytes.append(to.ip().bytes());
  return bytes + two_bytes(from.port()) + two_bytes(to.port());
}

}  // namespace

ProxyHeaderReading read_proxy_header(std::string_view bytes) {
  if (bytes.empty()) return {};
  if (agree(bytes, kSignatureV1))
    return bytes.size() < kSignatureV1.size() ? Reading{} : read_line(bytes);
  if (agree(bytes, kSignatureV2)) return read_binary(bytes);
  return malformed();
}

std::string proxy_header_v1(const ProxiedAddresses& addresses) {
  const net::SocketAddress &from = addresses.source, &to = addresses.destination;
  if (from.is_unix() || to.is_unix()) return "PROXY UNKNOWN\r\n";
  const bool is_v6 = from.ip().is_v6() || to.ip().is_v6();
  const auto text = [&](const net::IpAddress& ip) {
    return is_v6 ? as_v6_text(ip) : ip.to_string();
  };
  std::string line = is_v6 ? "PROXY TCP6 " : "PROXY TCP4 ";
  line.append(text(from.ip())).append(1, ' ').append(text(to.ip())).append(1, ' ');
  line.append(std::to_string(from.port())).append(1, ' ').append(std::to_string(to.port()));
  return line.append("\r\n");
}

std::string own_proxy_header(ProxyProtocol version) {
  switch (version) {
    case ProxyProtocol::kOff: break;
    case ProxyProtocol::kV1: return "PROXY UNKNOWN\r\n";
    case ProxyProtocol::kV2: {
      std::string header(kSignatureV2);
      return header.append(1, static_cast<char>(0x20 | kLocal)).append(3, '\0');
    }
  }
  return {};
}

std::string proxy_header_v2(const ProxiedAddresses& addresses, const ProxyFacts& facts) {
  unsigned family = 0;
  std::string rest = binary_addresses(addresses, family);
  if (!facts.alpn.empty()) rest += tlv(kAlpn, facts.alpn);
  if (!facts.server_name.empty()) rest += tlv(kAuthority, facts.server_name);
  if (!facts.unique_id.empty())
    rest += tlv(kUniqueId, facts.unique_id.substr(0, kUniqueIdBytesMax));
  if (facts.is_tls) rest += ssl_tlv(facts);
  const std::size_t sum_at = kHeadBytesV2 + rest.size() + 3;
  rest += tlv(kCrc32c, std::string_view("\0\0\0\0", 4));
  std::string header(kSignatureV2);
  header.append(1, static_cast<char>(0x20 | kProxy)).append(1, static_cast<char>(family));
  header.append(two_bytes(rest.size())).append(rest);
  return header.replace(sum_at, 4, four_bytes(crc32c(header)));
}

}  // namespace gatehouse::proxy
