#include "proxy/protocol/upgrade.h"

#include <gtest/gtest.h>

#include "daemon/base/text.h"

namespace gatehouse::proxy {
namespace {

RequestHead head_of(std::string upgrade, std::string method = "GET",
                    HttpVersion version = HttpVersion::kHttp11) {
  RequestHead head;
  head.version = version;
  head.method = std::move(method);
  head.upgrade = std::move(upgrade);
  return head;
}

TEST(Upgrade, AcceptIsTheExampleOfTheRfc) {
  EXPECT_EQ(websocket_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(Upgrade, AcceptOfAnyLengthOfKey) {  // Two blocks of SHA-1, and the edges of padding.
  EXPECT_EQ(websocket_accept(""), "Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=");
  EXPECT_EQ(websocket_accept(std::string(19, 'a')), "yzaGyu0mcUukN7CdsSwa30tnCpc=");
  EXPECT_EQ(websocket_accept(std::string(28, 'a')), "xMWmCBqYJY4uXzUs8PNU1t+Pzro=");
}

TEST(Upgrade, ForwardsWebSocketAlone) {
  SeededRandom random(1);
  struct Row {
    const char* upgrade;
    const char* method;
    bool is_allowed, has_body;
    UpgradeVerdict verdict;
    const char* left;
  };
  using enum UpgradeVerdict;
  const Row rows[] = {
      {"", "GET", true, false, kNone, ""},
      {"websocket", "GET", true, false, kForward, "websocket"},
      {"h2c, websocket", "GET", true, false, kForward, "websocket"},
      {"websocket", "GET", false, false, kRefused, "websocket"},
      {"websocket", "GET", true, true, kHasBody, "websocket"},
      {"websocket", "POST", true, true, kHasBody, "websocket"},
      {"websocket", "POST", true, false, kNone, ""},
      {"h2c", "GET", true, false, kNone, ""},
      {"h2c", "POST", true, true, kNone, ""},
      {"h2c", "GET", false, false, kNone, ""},
      {"websocket2", "GET", true, false, kNone, ""},
      {"tls/1.0", "OPTIONS", true, false, kNone, ""},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(std::string(row.method) + " " + row.upgrade);
    RequestHead head = head_of(row.upgrade, row.method);
    EXPECT_EQ(settle_upgrade(head, row.is_allowed, row.has_body, random), row.verdict);
    EXPECT_EQ(head.upgrade, row.left);
    EXPECT_FALSE(head.fields.find(kWebSocketKey)) << "a client of HTTP/1.1 brings its own";
  }
}

TEST(Upgrade, GivesExtendedConnectAFreshKeyOf16Bytes) {
  SeededRandom random(1);
  RequestHead first = head_of("websocket", "GET", HttpVersion::kHttp2), second = first;
  first.fields.add(kWebSocketKey, "smuggled");
  EXPECT_EQ(settle_upgrade(first, true, true, random), UpgradeVerdict::kForward);
  EXPECT_EQ(settle_upgrade(second, true, true, random), UpgradeVerdict::kForward);
  const auto key = from_base64(*first.fields.find(kWebSocketKey));
  ASSERT_TRUE(key);
  EXPECT_EQ(key->size(), 16u);
  EXPECT_NE(first.fields.find(kWebSocketKey), second.fields.find(kWebSocketKey));
  EXPECT_EQ(first.fields.size(), 1u);
  RequestHead refused = head_of("websocket", "GET", HttpVersion::kHttp2);
  EXPECT_EQ(settle_upgrade(refused, false, true, random), UpgradeVerdict::kRefused);
}

}  // namespace
}  // namespace gatehouse::proxy
