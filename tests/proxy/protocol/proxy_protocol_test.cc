#include "proxy/protocol/proxy_protocol.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "daemon/base/text.h"

namespace gatehouse::proxy {
namespace {

using State = ProxyHeaderReading::State;

net::SocketAddress at(std::string_view text) {
  const auto parsed = net::ListenAddress::parse(text);
  EXPECT_TRUE(parsed) << text;
  return parsed->address;
}

const std::string kSignature("\r\n\r\n\0\r\nQUIT\n", 12);

std::string bytes_of(std::string_view hex) {
  std::string packed;
  for (const char c : hex)
    if (c != ' ') packed += c;
  const auto bytes = from_hex(packed);
  EXPECT_TRUE(bytes) << hex;
  return bytes.value_or("");
}

/// "incomplete", "malformed", or the size and the addresses.
std::string read(std::string_view bytes) {
  const auto reading = read_proxy_header(bytes);
  if (reading.state == State::kIncomplete) return "incomplete";
  if (reading.state == State::kMalformed) return "malformed";
  std::string text = std::to_string(reading.size);
  if (!reading.addresses) return text + " own";
  return text + " " + reading.addresses->source.to_string() + " " +
         reading.addresses->destination.to_string();
}

std::string v2(std::string_view hex_after_signature) {
  return kSignature + bytes_of(hex_after_signature);
}

struct Case {
  std::string bytes, expected;
};

void expect_all(const std::vector<Case>& cases) {
  for (const Case& one : cases) EXPECT_EQ(read(one.bytes), one.expected) << one.bytes;
}

TEST(ProxyProtocol, Version1IsALine) {
  const std::string longest =
      "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe "
      "65535 65535\r\n";
  expect_all({
      {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET", "45 192.0.2.1:56324 198.51.100.2:443"},
      {"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", "36 [2001:db8::1]:1 [::1]:65535"},
      {"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 1\r\n", "37 192.0.2.1:0 [::1]:1"},
      {longest, std::to_string(longest.size()) + " [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 "
                                                 "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535"},
      {"PROXY UNKNOWN\r\n", "15 own"},
      {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nx", "35 own"},
  });
}

TEST(ProxyProtocol, Version1IsReadStrictly) {
  for (const char* line : {"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
                           "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
                           "PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
                           "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
                           "PROXY TCP4 ::1 ::1 1 2\r\n",
                           "PROXY TCP6 192.0.2.1 192.0.2.1 1 2\r\n",
                           "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
                           "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
                           "PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n",
                           "PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
                           "PROXY TCP4 192.0.2.1 198.51.100.2 1\t2\r\n",
                           "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
                           "PROXY \r\n",
                           "PROXY\r\n",
                           "proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
                           "PROXYTCP4",
                           "GET / ",
                           "\x16\x03\x01",
                           " PROXY",
                           "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n\r\n"})
    EXPECT_EQ(read(line), "malformed") << line;
  EXPECT_EQ(read("PROXY UNKNOWN " + std::string(91, 'x') + "\r\n"), "107 own");
  EXPECT_EQ(read("PROXY UNKNOWN " + std::string(92, 'x') + "\r\n"), "malformed");
  EXPECT_EQ(read("PROXY UNKNOWN " + std::string(92, 'x')), "incomplete");
  EXPECT_EQ(read("PROXY UNKNOWN " + std::string(93, 'x')), "malformed");
}

TEST(ProxyProtocol, Version2IsBinary) {
  std::string unix_paths = "/run/a" + std::string(102, '\0') + std::string(108, '\0');
  expect_all({
      {v2("21 11 000c c0000201 c6336402 dc04 01bb") + "GET", "28 192.0.2.1:56324 198.51.100.2:443"},
      {v2("21 21 0024 20010db8000000000000000000000001 00000000000000000000000000000001 0001 ffff"),
       "52 [2001:db8::1]:1 [::1]:65535"},
      {v2("21 31 00d8") + unix_paths, "232 unix:/run/a unix:"},
      {v2("21 31 00d8") + std::string(216, 'x'),
       "232 unix:" + std::string(107, 'x') + " unix:" + std::string(107, 'x')},
      // LOCAL: whatever follows is skipped.
      {v2("20 00 0000"), "16 own"},
      {v2("20 11 000c c0000201 c6336402 dc04 01bb"), "28 own"},
      {v2("20 00 0003 ffffff"), "19 own"},
      // No stream: the sender's own addresses hold.
      {v2("21 00 0000"), "16 own"},
      {v2("21 12 000c c0000201 c6336402 dc04 01bb"), "28 own"},
      {v2("21 f1 0001 00"), "17 own"},
      // TLVs: NOOP, an unknown one, an empty one.
      {v2("21 11 0017 c0000201 c6336402 dc04 01bb 04 0002 0000 ee 0000 e0 0000"),
       "39 192.0.2.1:56324 198.51.100.2:443"},
  });
}

TEST(ProxyProtocol, Version2IsReadStrictly) {
  for (const char* hex : {
           "11 11 000c c0000201 c6336402 dc04 01bb",            // version 1
           "31 11 000c c0000201 c6336402 dc04 01bb",            // version 3
           "22 11 000c c0000201 c6336402 dc04 01bb",            // no such command
           "21 11 000b c0000201 c6336402 dc04 01",              // too short for its family
           "21 21 000c c0000201 c6336402 dc04 01bb",            // the same
           "21 11 000e c0000201 c6336402 dc04 01bb 0400",       // half a TLV
           "21 11 0010 c0000201 c6336402 dc04 01bb 04 0002 00"  // one that goes beyond the header
           "21 11 000f c0000201 c6336402 dc04 01bb 03 0000",    // a sum without bytes
           "21 11 4000",                                        // beyond our bound
       })
    EXPECT_EQ(read(v2(hex)), "malformed") << hex;
  EXPECT_EQ(read(v2("21 11 3ff0")), "incomplete");
}

TEST(ProxyProtocol, AnyPrefixIsIncomplete) {
  for (const std::string& whole :
       {std::string("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"),
        v2("21 11 0011 c0000201 c6336402 dc04 01bb 04 0002 0000"), v2("20 00 0000")}) {
    for (std::size_t size = 0; size < whole.size(); ++size)
      EXPECT_EQ(read(whole.substr(0, size)), "incomplete") << size;
    EXPECT_NE(read(whole), "incomplete");
  }
}

TEST(ProxyProtocol, ASumMustBeRight) {
  std::string header =
      proxy_header_v2({at("192.0.2.1:56324"), at("198.51.100.2:443")}, ProxyFacts{});
  EXPECT_EQ(header, v2("21 11 0013 c0000201 c6336402 dc04 01bb 03 0004") +
                        header.substr(header.size() - 4));
  EXPECT_EQ(read(header), "35 192.0.2.1:56324 198.51.100.2:443");
  for (const std::size_t place : {19u, 25u, 34u}) {
    std::string wrong = header;
    wrong[place] = static_cast<char>(wrong[place] ^ 1);
    EXPECT_EQ(read(wrong), "malformed") << place;
  }
}

TEST(ProxyProtocol, TheSumIsCastagnolis) {
  // What other implementations give for the header with zeros in the sum's place.
  const std::string header = proxy_header_v2({at("127.0.0.1:1"), at("127.0.0.1:2")}, ProxyFacts{});
  EXPECT_EQ(to_hex(header.substr(header.size() - 4)), "e9166d07");
}

TEST(ProxyProtocol, Version1IsSent) {
  const auto line = [](std::string_view from, std::string_view to) {
    return proxy_header_v1({at(from), at(to)});
  };
  EXPECT_EQ(line("192.0.2.1:56324", "198.51.100.2:443"),
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
  EXPECT_EQ(line("[2001:db8::1]:1", "[::1]:2"), "PROXY TCP6 2001:db8::1 ::1 1 2\r\n");
  EXPECT_EQ(line("192.0.2.1:1", "[::1]:2"), "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
  EXPECT_EQ(line("unix:/a", "unix:/b"), "PROXY UNKNOWN\r\n");
}

TEST(ProxyProtocol, OurOwnConnectionsNameNobody) {
  EXPECT_EQ(own_proxy_header(ProxyProtocol::kOff), "");
  EXPECT_EQ(own_proxy_header(ProxyProtocol::kV1), "PROXY UNKNOWN\r\n");
  EXPECT_EQ(own_proxy_header(ProxyProtocol::kV2), v2("20 00 0000"));
  EXPECT_EQ(read(own_proxy_header(ProxyProtocol::kV1)), "15 own");
  EXPECT_EQ(read(own_proxy_header(ProxyProtocol::kV2)), "16 own");
}

TEST(ProxyProtocol, Version2IsSentWithAllFacts) {
  ProxyFacts facts;
  facts.alpn = "h2";
  facts.server_name = "a.example";
  facts.unique_id = "id";
  facts.is_tls = facts.has_client_certificate = true;
  facts.tls_version = "TLSv1.3";
  facts.common_name = "joe";
  const std::string header = proxy_header_v2({at("192.0.2.1:1"), at("[::1]:2")}, facts);
  EXPECT_EQ(
      header.substr(0, header.size() - 4),
      v2("21 21 0059 00000000000000000000ffffc0000201 00000000000000000000000000000001 0001 0002"
         "01 0002 6832  02 0009 612e6578616d706c65  05 0002 6964"
         "20 0015 07 00000000 21 0007 544c5376312e33 22 0003 6a6f65  03 0004"));
  EXPECT_EQ(read(header), std::to_string(header.size()) + " 192.0.2.1:1 [::1]:2");
}

TEST(ProxyProtocol, WithoutACertificateTheSslTlvSaysSo) {
  ProxyFacts facts;
  facts.is_tls = true;
  const std::string header = proxy_header_v2({at("unix:/a"), at("unix:/b")}, facts);
  EXPECT_EQ(header.substr(0, header.size() - 4), v2("21 00 000f 20 0005 01 00000001 03 0004"));
  EXPECT_EQ(read(header), "31 own");
}

}  // namespace
}  // namespace gatehouse::proxy
