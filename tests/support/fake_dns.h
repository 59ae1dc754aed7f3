#pragma once
// A DNS server on a loopback UDP socket, answered from the test's own loop: names to addresses and
// services, with a TTL; what it does not know is NXDOMAIN. Counts the questions.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/text.h"
#include "daemon/net/address.h"
#include "daemon/net/poller.h"

namespace gatehouse {

class FakeDns final : public net::ReadySink {
 public:
  struct Service {
    std::uint16_t priority, weight, port;
    std::string host;
  };
  struct Zone {
    std::vector<std::string> addresses;  // of both families
    std::uint32_t ttl = 60;
    bool is_silent = false;  // never answers
    std::vector<Service> services{};
  };

  explicit FakeDns(net::Poller& poller) {
    socket_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const net::SocketAddress any(*net::IpAddress::parse("127.0.0.1"), 0);
    EXPECT_EQ(::bind(socket_, any.native(), any.native_size()), 0);
    EXPECT_TRUE(poller.add(socket_, poller.add_sink(*this), 0, net::Poller::Interest::kRead));
  }
  ~FakeDns() override { ::close(socket_); }

  /// For ResolverOptions::servers.
  std::string address() const {
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    getsockname(socket_, reinterpret_cast<sockaddr*>(&bound), &size);
    return net::SocketAddress::from_native(reinterpret_cast<const sockaddr*>(&bound), size)
        .to_string();
  }

  std::map<std::string, Zone> zones;     // lower case, no trailing dot
  std::map<std::string, int> questions;  // name to how often an A record was asked for

  void on_ready(std::uint64_t, net::Ready) override {
    char bytes[1500];
    sockaddr_storage from{};
    socklen_t from_size = sizeof from;
    const ssize_t size =
        recvfrom(socket_, bytes, sizeof bytes, 0, reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size < 17) return;
    const std::string answer = answer_to({bytes, static_cast<std::size_t>(size)});
    if (answer.empty()) return;
    sendto(socket_, answer.data(), answer.size(), 0, reinterpret_cast<const sockaddr*>(&from),
           from_size);
  }

 private:
  static std::string u16(std::size_t value) {
    return {static_cast<char>(value >> 8), static_cast<char>(value)};
  }

  std::string answer_to(std::string_view query) {
    std::string name;
    std::size_t at = 12;
    while (at < query.size() && query[at] != 0) {
      const auto label = static_cast<std::size_t>(query[at]);
      name.append(name.empty() ? "" : ".").append(query.substr(at + 1, label));
      at += label + 1;
    }
    name = to_lower(name);
    const bool wants_v6 = query.substr(at + 1, 2) == u16(28);
    if (!wants_v6) ++questions[name];
    const auto zone = zones.find(name);
    if (zone != zones.end() && zone->second.is_silent) return "";

    std::string records;
    std::size_t count = 0;
    const bool wants_services = query.substr(at + 1, 2) == u16(33);
    if (zone != zones.end() && wants_services) {
      for (const Service& service : zone->second.services) {
        std::string data = u16(service.priority) + u16(service.weight) + u16(service.port);
        std::string_view rest = service.host;
        while (!rest.empty()) {
          const std::string_view label = take_until(rest, '.');
          data.append(1, static_cast<char>(label.size())).append(label);
        }
        data.push_back('\0');
        const std::uint32_t ttl = zone->second.ttl;
        records.append("\xc0\x0c").append(query.substr(at + 1, 4));
        records.append(u16(ttl >> 16)).append(u16(ttl & 0xffff));
        records.append(u16(data.size())).append(data);
        ++count;
      }
    } else if (zone != zones.end()) {
      for (const std::string& text : zone->second.addresses) {
        const auto ip = *net::IpAddress::parse(text);
        if (ip.is_v6() != wants_v6) continue;
        const std::uint32_t ttl = zone->second.ttl;
        records.append("\xc0\x0c").append(query.substr(at + 1, 4));  // The question's name, type.
        records.append(u16(ttl >> 16)).append(u16(ttl & 0xffff));
        records.append(u16(ip.bytes().size())).append(ip.bytes());
        ++count;
      }
    }
    std::string answer(query.substr(0, 2));
    answer += u16(zone == zones.end() ? 0x8583 : 0x8580);  // An authoritative NXDOMAIN or NOERROR.
    answer += u16(1) + u16(count) + u16(0) + u16(0);
    answer.append(query.substr(12, at + 5 - 12)).append(records);
    return answer;
  }

  int socket_ = -1;
};

}  // namespace gatehouse
