#include "daemon/net/address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>

namespace gatehouse::net {

IpAddress ip(std::string_view text) {
  const auto parsed = IpAddress::parse(text);
  EXPECT_TRUE(parsed) << text;
  return parsed ? *parsed : IpAddress();
}

TEST(IpAddress, PrintsAsRfc5952Says) {
  const struct {
    std::string_view text, printed;
  } cases[] = {{"0.0.0.0", "0.0.0.0"},
               {"255.1.20.3", "255.1.20.3"},
               {"::", "::"},
               {"::1", "::1"},
               {"1::", "1::"},
               {"2001:0DB8::0001", "2001:db8::1"},
               {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
               {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
               {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
               {"0:0:1:0:0:0:0:1", "0:0:1::1"},
               {"::102:304", "::102:304"},
               {"::ffff:10.1.2.3", "10.1.2.3"},
               {"64:ff9b::10.1.2.3", "64:ff9b::a01:203"},
               {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
               {"1:2:3:4:5:6::", "1:2:3:4:5:6::"}};
  for (const auto& [text, printed] : cases) EXPECT_EQ(ip(text).to_string(), printed);
}

TEST(IpAddress, RefusesWhatIsNone) {
  for (const std::string_view bad :
       {"", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", "0x1.2.3.4", "localhost",
        ":::", "1::2::3", "1:2:3:4:5:6:7", "[::1]", "::1%lo", "12345::", "g::", "1.2.3.4:80"})
    EXPECT_FALSE(IpAddress::parse(bad)) << bad;
  EXPECT_FALSE(IpAddress::parse(std::string_view("1.2.3.4\0", 8)));
  EXPECT_EQ(IpAddress::parse("x").error().message, "\"x\" is not an IP address");
}

TEST(IpAddress, AMappedAddressIsItsIpv4Address) {
  EXPECT_EQ(ip("::ffff:10.1.2.3"), ip("10.1.2.3"));
  EXPECT_FALSE(ip("::ffff:10.1.2.3").is_v6());
  EXPECT_EQ(ip("10.1.2.3").bytes(), std::string_view("\x0a\x01\x02\x03"));
}

TEST(IpAddress, KnowsLoopback) {
  for (const std::string_view text : {"127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"})
    EXPECT_TRUE(ip(text).is_loopback()) << text;
  for (const std::string_view text : {"0.0.0.0", "128.0.0.1", "::", "1::1", "fe80::1"})
    EXPECT_FALSE(ip(text).is_loopback()) << text;
}

TEST(SocketAddress, PrintsAndKeepsItsParts) {
  const SocketAddress v4(ip("10.0.0.1"), 80), v6(ip("::1"), 8443);
  EXPECT_EQ(v4.to_string(), "10.0.0.1:80");
  EXPECT_EQ(v4.family(), AF_INET);
  EXPECT_EQ(v4.native_size(), sizeof(sockaddr_in));
  EXPECT_EQ(v6.to_string(), "[::1]:8443");
  EXPECT_EQ(v6.ip(), ip("::1"));
  EXPECT_EQ(v6.port(), 8443);
  EXPECT_EQ(v6.native_size(), sizeof(sockaddr_in6));
  EXPECT_EQ(ntohs(reinterpret_cast<const sockaddr_in6*>(v6.native())->sin6_port), 8443);
}

TEST(SocketAddress, ComparesWhoItIsNotHowItIsStored) {
  sockaddr_in6 mapped{};
  mapped.sin6_family = AF_INET6;
  mapped.sin6_port = htons(80);
  ASSERT_EQ(inet_pton(AF_INET6, "::ffff:10.0.0.1", &mapped.sin6_addr), 1);
  const auto peer =
      SocketAddress::from_native(reinterpret_cast<const sockaddr*>(&mapped), sizeof mapped);
  EXPECT_EQ(peer, SocketAddress(ip("10.0.0.1"), 80));
  EXPECT_EQ(peer.to_string(), "10.0.0.1:80");
  EXPECT_FALSE(peer == SocketAddress(ip("10.0.0.1"), 81));
  EXPECT_FALSE(peer == SocketAddress(ip("10.0.0.2"), 80));
}

TEST(SocketAddress, UnixPathsGoBothWays) {
  const SocketAddress address = SocketAddress::unix_path("/run/x.sock");
  EXPECT_TRUE(address.is_unix());
  EXPECT_EQ(address.to_string(), "unix:/run/x.sock");
  EXPECT_EQ(address.port(), 0);
  EXPECT_EQ(address.ip(), IpAddress());
  EXPECT_EQ(SocketAddress::from_native(address.native(), address.native_size()), address);
  EXPECT_FALSE(address == SocketAddress::unix_path("/run/y.sock"));
  EXPECT_FALSE(address == SocketAddress(IpAddress(), 0));
}

TEST(SocketAddress, AUnixPeerWithoutANameHasNone) {
  sockaddr_un nameless{};
  nameless.sun_family = AF_UNIX;
  const auto peer = SocketAddress::from_native(reinterpret_cast<const sockaddr*>(&nameless),
                                               sizeof nameless.sun_family);
  EXPECT_EQ(peer.to_string(), "unix:");
}

TEST(SocketAddress, AUnixPathThatFillsItsRoomIsWhole) {
  const std::string path(107, 'p');
  EXPECT_EQ(SocketAddress::unix_path(path).to_string(), "unix:" + path);
  EXPECT_DEATH(SocketAddress::unix_path(path + "p"), "too long");
}

TEST(ListenAddress, ReadsEveryForm) {
  const struct {
    std::string_view text, address;
  } cases[] = {{"[::]:443", "[::]:443"},
               {"0.0.0.0:443", "0.0.0.0:443"},
               {"127.0.0.1:0", "127.0.0.1:0"},
               {"[::1]:65535", "[::1]:65535"},
               {"unix:/run/gatehouse.sock", "unix:/run/gatehouse.sock"}};
  for (const auto& [text, address] : cases) {
    const auto listen = ListenAddress::parse(text);
    ASSERT_TRUE(listen) << text;
    EXPECT_EQ(listen->address.to_string(), address);
    EXPECT_EQ(listen->text, text);
  }
}

TEST(ListenAddress, ErrorsTeachTheRightForm) {
  const struct {
    std::string_view text, message;
  } cases[] = {
      {"443", R"("443" has no address; write "[::]:443" to listen on all)"},
      {":443", R"(":443" has no address; write "[::]:443" to listen on all)"},
      {"*:443", R"("*:443" has no address; write "[::]:443" to listen on all)"},
      {"0.0.0.0", R"("0.0.0.0" has no port; write "0.0.0.0:443")"},
      {"::1", R"("::1" has no port; write "[::1]:443")"},
      {"fe80::aaaa:bbbb:cccc:dddd:eeee:ffff:443",
       R"(an IPv6 address needs brackets; write "[fe80::aaaa:bbbb:cccc:dddd:eeee:ffff]:443")"},
      {"[::1]", R"("[::1]" has no port; write "[::1]:443")"},
      {"[::1]443", R"("[::1]443" has no port; write "[::1]:443")"},
      {"[::1:443", R"("[::1:443" has no closing bracket; write "[::]:443")"},
      {"[127.0.0.1]:80", R"(brackets are for IPv6 addresses; write "127.0.0.1:80")"},
      {"localhost:80",
       R"("localhost" is not an IP address; names cannot be listened on, write "127.0.0.1:80" )"
       R"(for this machine alone or "[::]:80" for all)"},
      {"127.0.0.1:https", R"("https" is not a port; it is a number up to 65535)"},
      {"127.0.0.1:65536", R"("65536" is not a port; it is a number up to 65535)"},
      {"127.0.0.1:", R"("" is not a port; it is a number up to 65535)"},
      {"unix:", R"("unix:" needs a path behind it, such as unix:/run/x.sock)"},
  };
  for (const auto& [text, message] : cases) {
    const auto listen = ListenAddress::parse(text);
    ASSERT_FALSE(listen) << text;
    EXPECT_EQ(listen.error().message, message);
    EXPECT_EQ(listen.error().fault, Fault::kInvalid);
  }
  EXPECT_FALSE(ListenAddress::parse("unix:" + std::string(108, 'p')));
}

TEST(Network, ContainsExactlyItsAddresses) {
  const struct {
    std::string_view network, inside, outside;
  } cases[] = {{"10.0.0.0/8", "10.255.255.255", "11.0.0.0"},
               {"192.0.2.128/25", "192.0.2.128", "192.0.2.127"},
               {"192.0.2.4/31", "192.0.2.5", "192.0.2.6"},
               {"192.0.2.1/32", "192.0.2.1", "192.0.2.0"},
               {"192.0.2.1", "192.0.2.1", "192.0.2.0"},
               {"0.0.0.0/0", "255.255.255.255", "::"},
               {"::/0", "ffff::", "0.0.0.0"},
               {"2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"},
               {"2001:db8::/47", "2001:db8:1::", "2001:db8:2::"},
               {"::1/128", "::1", "::2"},
               {"10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"}};
  for (const auto& [text, inside, outside] : cases) {
    const auto network = Network::parse(text);
    ASSERT_TRUE(network) << text;
    EXPECT_TRUE(network->contains(ip(inside))) << text;
    EXPECT_FALSE(network->contains(ip(outside))) << text;
  }
}

TEST(Network, PrintsInNormalForm) {
  EXPECT_EQ(Network::parse("2001:DB8:0::/32")->to_string(), "2001:db8::/32");
  EXPECT_EQ(Network::parse("192.0.2.1")->to_string(), "192.0.2.1/32");
}

TEST(Network, ErrorsTeachTheRightForm) {
  const struct {
    std::string_view text, message;
  } cases[] = {
      {"10.1.0.0/8", R"("10.1.0.0/8" has bits set behind its prefix; write 10.0.0.0/8)"},
      {"2001:db8::1/64", R"("2001:db8::1/64" has bits set behind its prefix; write 2001:db8::/64)"},
      {"10.0.0.0/33", R"("10.0.0.0/33" has a bad prefix; it is 0 to 32)"},
      {"::/129", R"("::/129" has a bad prefix; it is 0 to 128)"},
      {"10.0.0.0/", R"("10.0.0.0/" has a bad prefix; it is 0 to 32)"},
      {"10.0.0.0/-1", R"("10.0.0.0/-1" has a bad prefix; it is 0 to 32)"},
      {"10.0.0/8", R"("10.0.0/8" is not a network; write an address and how many bits count, )"
                   R"(such as 10.0.0.0/8)"},
  };
  for (const auto& [text, message] : cases) {
    const auto network = Network::parse(text);
    ASSERT_FALSE(network) << text;
    EXPECT_EQ(network.error().message, message);
  }
}

}  // namespace gatehouse::net
