#include "daemon/net/client_hello.h"

#include <gtest/gtest.h>

#include <string_view>

namespace gatehouse::net {
namespace {

using namespace std::string_view_literals;

std::span<const std::uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

TEST(ParseServerName, TakesOneHostName) {
  EXPECT_EQ(parse_server_name(bytes("\0\x09\0\0\x06"
                                    "a.Test"sv)),
            "a.test");
  EXPECT_EQ(parse_server_name(bytes("\0\x0a\0\0\x07"
                                    "a.test."sv)),
            "a.test")
      << "a trailing dot says nothing";
}

TEST(ParseServerName, RefusesMalformedExtensions) {
  const std::string_view cases[] = {
      ""sv,
      "\0"sv,
      "\0\0"sv,
      "\0\x03\0\0\0"sv,     // an empty name
      "\0\x04\0\0\x01."sv,  // only a dot
      "\0\x08\0\0\x06"
      "a.test"sv,  // the list is shorter than its name
      "\0\x0a\0\0\x06"
      "a.test"sv,  // the list is longer than the extension
      "\0\x09\0\0\x06"
      "a.testx"sv,  // bytes behind the list
      "\0\x09\0\0\x05"
      "a.test"sv,  // bytes behind the name
      "\0\x09\x01\0\x06"
      "a.test"sv,  // not a host name
      "\0\x09\0\0\x06"
      "a\0test"sv,  // a NUL
      "\0\x09\0\0\x06"
      "a/test"sv,  // no host name
      "\0\x12\0\0\x06"
      "a.test"
      "\0\0\x06"
      "b.test"sv,  // two names
  };
  for (const auto& c : cases) EXPECT_FALSE(parse_server_name(bytes(c))) << &c - cases;
}

TEST(ParseServerName, RefusesNamesBeyondTheLimitOfDns) {
  for (const std::size_t size : {253u, 254u}) {
    std::string text("\0\0\0\0", 5);
    text.assign(5, '\0');
    text[1] = static_cast<char>((size + 3) & 255);
    text[0] = static_cast<char>((size + 3) >> 8);
    text[4] = static_cast<char>(size);
    text.append(size, 'a');
    EXPECT_EQ(parse_server_name(bytes(text)).has_value(), size == 253);
  }
}

TEST(ParseAlpn, KnowsWhatWeSpeak) {
  const auto both = parse_alpn(bytes("\0\x0c\x02h2\x08http/1.1"sv));
  ASSERT_TRUE(both);
  EXPECT_TRUE(both->has_h2 && both->has_http1);
  EXPECT_FALSE(both->is_acme_tls);
  const auto other = parse_alpn(bytes("\0\x03\x02xx"sv));
  ASSERT_TRUE(other);
  EXPECT_FALSE(other->has_h2 || other->has_http1 || other->is_acme_tls);
  EXPECT_FALSE(both->has_http10);
  EXPECT_TRUE(parse_alpn(bytes("\0\x09\x08http/1.0"sv))->has_http10);
}

TEST(ParseAlpn, TakesAcmeTlsOnlyAlone) {
  EXPECT_TRUE(parse_alpn(bytes("\0\x0b\x0a"
                               "acme-tls/1"sv))
                  ->is_acme_tls);
  EXPECT_FALSE(parse_alpn(bytes("\0\x0e\x0a"
                                "acme-tls/1\x02h2"sv))
                   ->is_acme_tls);
  EXPECT_FALSE(parse_alpn(bytes("\0\x16\x0a"
                                "acme-tls/1\x0a"
                                "acme-tls/1"sv))
                   ->is_acme_tls);
}

TEST(ParseAlpn, RefusesMalformedExtensions) {
  const std::string_view cases[] = {
      ""sv,
      "\0"sv,
      "\0\0"sv,
      "\0\x01\0"sv,
      "\0\x03\x03h2"sv,
      "\0\x04\x02h2"sv,
      "\0\x03\x02h2x"sv,
      "\0\x04\x02h2\0"sv,
  };
  for (const auto& c : cases) EXPECT_FALSE(parse_alpn(bytes(c))) << &c - cases;
}

}  // namespace
}  // namespace gatehouse::net
