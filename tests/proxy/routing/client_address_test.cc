#include "proxy/routing/client_address.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace gatehouse::proxy {
namespace {

const std::vector<net::Network> kTrusted{*net::Network::parse("10.0.0.0/8"),
                                         *net::Network::parse("2001:db8::/32")};

std::string client_of(std::string_view peer, const std::vector<std::string_view>& forwarded_for) {
  Fields fields;
  fields.add("x-other", "192.0.2.99");
  for (const auto value : forwarded_for) fields.add(Name::kXForwardedFor, value);
  const auto client =
      client_address(net::SocketAddress(*net::IpAddress::parse(peer), 1234), fields, kTrusted);
  return client ? client->to_string() : "none";
}

TEST(ClientAddress, IsThePeerThatNobodyTrusts) {
  EXPECT_EQ(client_of("192.0.2.1", {}), "192.0.2.1");
  EXPECT_EQ(client_of("192.0.2.1", {"198.51.100.7"}), "192.0.2.1");
}

TEST(ClientAddress, IsTheRightmostThatIsNotTrustedBehindATrustedPeer) {
  EXPECT_EQ(client_of("10.0.0.1", {"198.51.100.7"}), "198.51.100.7");
  EXPECT_EQ(client_of("10.0.0.1", {"203.0.113.9, 198.51.100.7"}), "198.51.100.7");
  EXPECT_EQ(client_of("10.0.0.1", {"198.51.100.7,10.2.2.2 , 10.3.3.3"}), "198.51.100.7");
  EXPECT_EQ(client_of("2001:db8::1", {"2001:db9::7, 10.1.1.1"}), "2001:db9::7");
}

TEST(ClientAddress, OfSeveralFieldsTheLastIsNearest) {
  EXPECT_EQ(client_of("10.0.0.1", {"203.0.113.9", "198.51.100.7"}), "198.51.100.7");
  EXPECT_EQ(client_of("10.0.0.1", {"203.0.113.9", "10.4.4.4"}), "203.0.113.9");
}

TEST(ClientAddress, IsTheFarthestTrustedWhenAllAre) {
  EXPECT_EQ(client_of("10.0.0.1", {}), "10.0.0.1");
  EXPECT_EQ(client_of("10.0.0.1", {"10.0.0.3, 10.0.0.2"}), "10.0.0.3");
  EXPECT_EQ(client_of("10.0.0.1", {" , ,"}), "10.0.0.1");
}

TEST(ClientAddress, StopsAtWhatIsNoAddress) {
  EXPECT_EQ(client_of("10.0.0.1", {"198.51.100.7, unknown, 10.2.2.2"}), "10.2.2.2");
  EXPECT_EQ(client_of("10.0.0.1", {"198.51.100.7, unix"}), "10.0.0.1");
}

TEST(ClientAddress, ReadsAddressesWithPorts) {
  EXPECT_EQ(client_of("10.0.0.1", {"198.51.100.7:4711"}), "198.51.100.7");
  EXPECT_EQ(client_of("10.0.0.1", {"[2001:db9::7]:4711"}), "2001:db9::7");
  EXPECT_EQ(client_of("10.0.0.1", {"2001:db9::7"}), "2001:db9::7");
}

TEST(ClientAddress, IsNoneForTheOtherEndOfAUnixSocket) {
  Fields fields;
  fields.add(Name::kXForwardedFor, "198.51.100.7");
  EXPECT_FALSE(client_address(net::SocketAddress::unix_path("/x"), fields, kTrusted));
}

}  // namespace
}  // namespace gatehouse::proxy
