#include "daemon/net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <utility>

#include "daemon/base/text.h"

namespace gatehouse::net {

namespace {

constexpr std::string_view kMappedPrefix("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);  // ::ffff:0:0/96
constexpr std::size_t kUnixPathMax = sizeof(sockaddr_un::sun_path) - 1;

Error invalid(std::string message) { return Error{Fault::kInvalid, std::move(message)}; }

std::string quoted(std::string_view text) {
  // Made by hand: operator+ chains of views need a string first.
  std::string out("\"");
  out.append(text).append("\"");
  return out;
}

/// RFC 5952 section 4: lower case, no leading zeros, the first longest run of zeros as "::".
std::string print_v6(const std::uint8_t* bytes) {
  std::uint16_t groups[8];
  for (int i = 0; i < 8; ++i)
    groups[i] = static_cast<std::uint16_t>(bytes[2 * i] << 8 | bytes[2 * i + 1]);
  int run_begin = -1, run_size = 1;  // A single zero is not shortened (section 4.2.2).
  for (int i = 0; i < 8; ++i) {
    int size = 0;
    while (i + size < 8 && groups[i + size] == 0) ++size;
    if (size > run_size) {
      run_begin = i;
      run_size = size;
    }
  }
  std::string out;
  for (int i = 0; i < 8; ++i) {
    if (i == run_begin) {
      out += "::";
      i += run_size - 1;
      continue;
    }
    if (!out.empty() && out.back() != ':') out += ':';
    char group[5];
    std::snprintf(group, sizeof group, "%x", groups[i]);
    out += group;
  }
  return out;
}

/// Bits of the address in front of `prefix_bits` equal, the rest is not looked at.
bool same_prefix(std::string_view a, std::string_view b, int prefix_bits) {
  const auto whole = static_cast<std::size_t>(prefix_bits) / 8;
  if (a.substr(0, whole) != b.substr(0, whole)) return false;
  const int rest = prefix_bits % 8;
  return rest == 0 || ((a[whole] ^ b[whole]) & (0xff << (8 - rest)) & 0xff) == 0;
}

}  // namespace

Result<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string terminated(text);
  const bool is_v6 = text.find(':') != std::string_view::npos;
  std::uint8_t bytes[16];
  if (terminated.find('\0') != std::string::npos ||
      inet_pton(is_v6 ? AF_INET6 : AF_INET, terminated.c_str(), bytes) != 1)
    return invalid(quoted(text) + " is not an IP address");
  return from_bytes(bytes, is_v6);
}

IpAddress IpAddress::from_bytes(const std::uint8_t* bytes, bool is_v6) {
  IpAddress ip;
  ip.is_v6_ = is_v6 && std::memcmp(bytes, kMappedPrefix.data(), kMappedPrefix.size()) != 0;
  if (is_v6 && !ip.is_v6_) bytes += kMappedPrefix.size();
  std::memcpy(ip.bytes_.data(), bytes, ip.bytes().size());
  return ip;
}

bool IpAddress::is_loopback() const {
  if (!is_v6_) return bytes_[0] == 127;
  return bytes_[15] == 1 &&
         std::all_of(bytes_.begin(), bytes_.end() - 1, [](auto b) { return !b; });
}

std::string IpAddress::to_string() const {
  if (is_v6_) return print_v6(bytes_.data());
  std::string out;
  for (std::size_t i = 0; i < 4; ++i)
    out.append(i ? "." : "").append(std::to_string(static_cast<unsigned>(bytes_[i])));
  return out;
}

SocketAddress::SocketAddress(const IpAddress& ip, std::uint16_t port) {
  if (ip.is_v6()) {
    sockaddr_in6 native{};
    native.sin6_family = AF_INET6;
    native.sin6_port = htons(port);
    std::memcpy(&native.sin6_addr, ip.bytes().data(), 16);
    std::memcpy(&storage_, &native, size_ = sizeof native);
  } else {
    sockaddr_in native{};
    native.sin_family = AF_INET;
    native.sin_port = htons(port);
    std::memcpy(&native.sin_addr, ip.bytes().data(), 4);
    std::memcpy(&storage_, &native, size_ = sizeof native);
  }
}

SocketAddress SocketAddress::unix_path(std::string_view path) {
  check(path.size() <= kUnixPathMax, "a unix socket's path is too long");
  sockaddr_un native{};
  native.sun_family = AF_UNIX;
  path.copy(native.sun_path, path.size());
  SocketAddress address;
  address.size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  std::memcpy(&address.storage_, &native, address.size_);
  return address;
}

SocketAddress SocketAddress::from_native(const sockaddr* address, socklen_t size) {
  SocketAddress copy;
  copy.size_ = std::min<socklen_t>(size, sizeof copy.storage_);
  std::memcpy(&copy.storage_, address, copy.size_);
  return copy;
}

IpAddress SocketAddress::ip() const {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&storage_);
  if (family() == AF_INET)
    return IpAddress::from_bytes(bytes + offsetof(sockaddr_in, sin_addr), false);
  if (family() == AF_INET6)
    return IpAddress::from_bytes(bytes + offsetof(sockaddr_in6, sin6_addr), true);
  return {};
}

std::uint16_t SocketAddress::port() const {
  // Both families have it in the same place.
  static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
  if (family() != AF_INET && family() != AF_INET6) return 0;
  std::uint16_t port = 0;
  std::memcpy(&port, reinterpret_cast<const char*>(&storage_) + offsetof(sockaddr_in, sin_port),
              sizeof port);
  return ntohs(port);
}

std::string SocketAddress::to_string() const {
  if (is_unix()) {
    const std::size_t begin = offsetof(sockaddr_un, sun_path);
    if (size_ <= begin) return "unix:";
    std::string_view path(reinterpret_cast<const char*>(&storage_) + begin, size_ - begin);
    if (path.front() == '\0') return "unix:@" + std::string(path.substr(1));  // Abstract.
    return "unix:" + std::string(path.substr(0, path.find('\0')));
  }
  const IpAddress address = ip();
  const std::string text = address.to_string();
  return (address.is_v6() ? "[" + text + "]" : text) + ":" + std::to_string(port());
}

bool operator==(const SocketAddress& a, const SocketAddress& b) {
  if (a.is_unix() != b.is_unix()) return false;
  if (a.is_unix()) return a.to_string() == b.to_string();
  return a.ip() == b.ip() && a.port() == b.port();
}

Result<ListenAddress> ListenAddress::parse(std::string_view text) {
  ListenAddress listen;
  listen.text = text;
  if (text.starts_with("unix:")) {
    const std::string_view path = text.substr(5);
    if (path.empty()) return invalid("\"unix:\" needs a path behind it, such as unix:/run/x.sock");
    if (path.size() > kUnixPathMax || path.find('\0') != std::string_view::npos)
      return invalid("the path of a unix socket has at most " + std::to_string(kUnixPathMax) +
                     " bytes: " + quoted(text));
    listen.address = SocketAddress::unix_path(path);
    return listen;
  }

  std::string_view host, port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos)
      return invalid(quoted(text) + " has no closing bracket; write \"[::]:443\"");
    host = text.substr(1, close - 1);
    port = text.substr(close + 1);
    if (!port.starts_with(':'))
      return invalid(quoted(text) + " has no port; write \"[" + std::string(host) + "]:443\"");
    port.remove_prefix(1);
    if (host.find(':') == std::string_view::npos)
      return invalid("brackets are for IPv6 addresses; write \"" + std::string(host) + ":" +
                     std::string(port) + "\"");
  } else {
    const std::size_t colon = text.rfind(':');
    if (text.find(':') != colon) {
      if (IpAddress::parse(text))
        return invalid(quoted(text) + " has no port; write \"[" + std::string(text) + "]:443\"");
      return invalid("an IPv6 address needs brackets; write \"[" +
                     std::string(text.substr(0, colon)) + "]" + std::string(text.substr(colon)) +
                     "\"");
    }
    host = text.substr(0, colon);
    port = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
    if (colon == std::string_view::npos && parse_decimal(text))
      return invalid(quoted(text) + " has no address; write \"[::]:" + std::string(text) +
                     "\" to listen on all");
    if (colon == std::string_view::npos)
      return invalid(quoted(text) + " has no port; write \"" + std::string(text) + ":443\"");
    if (host.empty() || host == "*")
      return invalid(quoted(text) + " has no address; write \"[::]:" + std::string(port) +
                     "\" to listen on all");
  }

  const auto ip = IpAddress::parse(host);
  if (!ip)
    return invalid(quoted(host) + " is not an IP address; names cannot be listened on, write " +
                   "\"127.0.0.1:" + std::string(port) +
                   "\" for this machine alone or \"[::]:" + std::string(port) + "\" for all");
  const auto number = parse_decimal(port);
  if (!number || *number > 65535)
    return invalid(quoted(port) + " is not a port; it is a number up to 65535");
  listen.address = SocketAddress(*ip, static_cast<std::uint16_t>(*number));
  return listen;
}

Result<Network> Network::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto ip = IpAddress::parse(text.substr(0, slash));
  if (!ip)
    return invalid(quoted(text) + " is not a network; write an address and how many bits count, " +
                   "such as 10.0.0.0/8");
  Network network;
  network.base = *ip;
  const int most = ip->is_v6() ? 128 : 32;
  network.prefix_bits = most;  // An address alone is a network of one.
  if (slash != std::string_view::npos) {
    const auto bits = parse_decimal(text.substr(slash + 1));
    if (!bits || *bits > static_cast<std::uint64_t>(most))
      return invalid(quoted(text) + " has a bad prefix; it is 0 to " + std::to_string(most));
    network.prefix_bits = static_cast<int>(*bits);
  }

  std::uint8_t masked[16] = {};
  for (int bit = 0; bit < network.prefix_bits; ++bit)
    masked[bit / 8] |=
        static_cast<std::uint8_t>(ip->bytes()[static_cast<std::size_t>(bit / 8)] & 0x80 >> bit % 8);
  const IpAddress base = IpAddress::from_bytes(masked, ip->is_v6());
  if (base == *ip) return network;
  network.base = base;
  return invalid(quoted(text) + " has bits set behind its prefix; write " + network.to_string());
}

bool Network::contains(const IpAddress& ip) const {
  return ip.is_v6() == base.is_v6() && same_prefix(ip.bytes(), base.bytes(), prefix_bits);
}

std::string Network::to_string() const {
  return base.to_string() + "/" + std::to_string(prefix_bits);
}

}  // namespace gatehouse::net
