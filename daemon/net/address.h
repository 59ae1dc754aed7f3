#pragma once
// Addresses as values: what to listen on, who a peer is, which networks are trusted. Parsing and
// printing only; names are resolved by Resolver.

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/base/error.h"

namespace gatehouse::net {

/// An IPv4 or IPv6 address without port. IPv4-mapped IPv6 is kept as IPv4.
class IpAddress {
 public:
  IpAddress() = default;                                  // 0.0.0.0
  static Result<IpAddress> parse(std::string_view text);  // no brackets, no zone
  static IpAddress from_bytes(const std::uint8_t* bytes, bool is_v6);

  bool is_v6() const { return is_v6_; }
  bool is_loopback() const;
  std::string to_string() const;  // RFC 5952
  /// 4 or 16 bytes in network order.
  std::string_view bytes() const {
    return {reinterpret_cast<const char*>(bytes_.data()), is_v6_ ? 16u : 4u};
  }
  friend bool operator==(const IpAddress&, const IpAddress&) = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
  bool is_v6_ = false;
};

/// An address and a port, or the path of a unix socket: something that can be connected or bound.
class SocketAddress {
 public:
  SocketAddress() = default;
  SocketAddress(const IpAddress& ip, std::uint16_t port);
  static SocketAddress unix_path(std::string_view path);
  static SocketAddress from_native(const sockaddr* address, socklen_t size);

  const sockaddr* native() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t native_size() const { return size_; }
  int family() const { return storage_.ss_family; }
  bool is_unix() const { return storage_.ss_family == AF_UNIX; }
  IpAddress ip() const;           // 0.0.0.0 for a unix socket
  std::uint16_t port() const;     // 0 for a unix socket
  std::string to_string() const;  // "10.0.0.1:80", "[::1]:80", "unix:/path"; a nameless one "unix:"
  friend bool operator==(const SocketAddress& a, const SocketAddress& b);

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

/// Where to listen: "[::]:443" (both families), "0.0.0.0:443", "127.0.0.1:8443", "unix:/path".
struct ListenAddress {
  SocketAddress address;
  std::string text;  // as written, for messages
  static Result<ListenAddress> parse(std::string_view text);
};

/// A CIDR network such as 10.0.0.0/8; host bits must be zero.
struct Network {
  IpAddress base;
  int prefix_bits = 0;
  static Result<Network> parse(std::string_view text);
  bool contains(const IpAddress& ip) const;
  std::string to_string() const;
};

}  // namespace gatehouse::net
