#include "daemon/base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/base/random.h"

namespace gatehouse {

using testing::ElementsAre;

TEST(Text, CaseIsThatOfAsciiAlone) {
  EXPECT_EQ(to_lower("Content-LENGTH [\\]^ \xc3\x84"), "content-length [\\]^ \xc3\x84");
  EXPECT_TRUE(equals_ignoring_case("Host", "hOST"));
  EXPECT_FALSE(equals_ignoring_case("Host", "Hosts"));
  EXPECT_FALSE(equals_ignoring_case("a@", "a`"));
  EXPECT_TRUE(starts_with_ignoring_case("Bearer x", "bearer "));
  EXPECT_FALSE(starts_with_ignoring_case("Be", "bearer"));
}

TEST(Text, TrimTakesSpacesAndTabsOnly) {
  EXPECT_EQ(trim(" \t a b\t "), "a b");
  EXPECT_EQ(trim(" \t "), "");
  EXPECT_EQ(trim("\na"), "\na");
}

TEST(Text, SplitKeepsEmptyPieces) {
  EXPECT_THAT(split("a,,b,", ','), ElementsAre("a", "", "b", ""));
  EXPECT_THAT(split("", ','), ElementsAre(""));
}

TEST(Text, TakeUntilWalksThroughAList) {
  std::string_view text = "a.b";
  EXPECT_EQ(take_until(text, '.'), "a");
  EXPECT_EQ(take_until(text, '.'), "b");
  EXPECT_EQ(take_until(text, '.'), "");
  EXPECT_EQ(text, "");
}

TEST(Text, Utf8FollowsTheTableOfRfc3629) {
  for (const std::string_view good :
       {"", "plain", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(is_utf8(good)) << to_hex(good);
  for (const std::string_view bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xc2z"})
    EXPECT_FALSE(is_utf8(bad)) << to_hex(bad);
}

TEST(Text, DecimalsAreDigitsThatFit) {
  EXPECT_EQ(parse_decimal("0"), 0u);
  EXPECT_EQ(parse_decimal("007"), 7u);
  EXPECT_EQ(parse_decimal("18446744073709551615"), ~std::uint64_t{0});
  for (const std::string_view bad : {"", "18446744073709551616", "-1", "+1", " 1", "1 ", "0x10",
                                     "1e3", "1.0", "99999999999999999999999999"})
    EXPECT_EQ(parse_decimal(bad), std::nullopt) << bad;
}

TEST(Text, HexGoesBothWays) {
  EXPECT_EQ(to_hex(std::string_view("\0\x7f\xff", 3)), "007fff");
  EXPECT_EQ(from_hex("007FfF"), std::string("\0\x7f\xff", 3));
  EXPECT_EQ(from_hex("0"), std::nullopt);
  EXPECT_EQ(from_hex("0g"), std::nullopt);
}

TEST(Text, Base64FollowsTheVectorsOfRfc4648) {
  const struct {
    std::string_view bytes, padded;
  } cases[] = {{"", ""},
               {"f", "Zg=="},
               {"fo", "Zm8="},
               {"foo", "Zm9v"},
               {"foob", "Zm9vYg=="},
               {"fooba", "Zm9vYmE="},
               {"foobar", "Zm9vYmFy"},
               {"\xfb\xff\xbf", "+/+/"}};
  for (const auto& [bytes, padded] : cases) {
    EXPECT_EQ(to_base64(bytes), padded);
    EXPECT_EQ(from_base64(padded), bytes);
  }
  EXPECT_EQ(to_base64url("\xfb\xff\xbf"), "-_-_");
  EXPECT_EQ(to_base64url("f"), "Zg");
}

TEST(Text, Base64urlRefusesEverySecondSpelling) {
  for (const std::string_view bad : {"Zg==", "Zh", "Zm9", "Z", "Zg ", " Zg", "Z+", "Z/", "Zm9v\n"})
    EXPECT_EQ(from_base64url(bad), std::nullopt) << bad;
}

TEST(Text, Base64RefusesEverySecondSpelling) {
  for (const std::string_view bad :
       {"Zg", "Zg=", "Zh==", "Zm9=", "====", "Z===", "Zg==Zg==", "Zm9v\n", "-_-_"})
    EXPECT_EQ(from_base64(bad), std::nullopt) << bad;
}

TEST(Text, Base64urlRestoresAnyBytes) {
  SeededRandom random(9);
  for (std::size_t size = 0; size < 200; ++size) {
    std::string bytes(size, ' ');
    for (char& c : bytes) c = static_cast<char>(random.next());
    EXPECT_EQ(from_base64url(to_base64url(bytes)), bytes);
  }
}

TEST(Text, DurationsShowTheirTwoLargestUnits) {
  const struct {
    Duration duration;
    std::string_view text;
  } cases[] = {{0s, "0s"},
               {90s, "1m30s"},
               {90min, "1h30m"},
               {1h, "1h"},
               {26h + 30min + 5s, "1d2h"},
               {24h + 5s, "1d"},
               {1500ms, "1s500ms"},
               {90ms, "90ms"},
               {Duration(1), "1ns"},
               {Duration(1'500'900), "1ms500us"},
               {-90s, "-1m30s"},
               {Duration::min(), "-106751d23h"}};
  for (const auto& [duration, text] : cases) EXPECT_EQ(format_duration(duration), text);
}

TEST(Closest, FindsWhatWasMeant) {
  const std::vector<std::string> keys{"certificate", "certificates", "backend", "hosts",
                                      "host",        "http",         "tls"};
  const struct {
    std::string_view typed;
    const char* meant;  // null: no hint
  } cases[] = {{"certifcate", "certificate"},
               {"Backend", "backend"},
               {"bakcend", "backend"},
               {"hots", "hosts"},
               {"tsl", "tls"},
               {"x", nullptr},
               {"", nullptr},
               {"issuer", nullptr},
               {"zzzz", nullptr}};
  for (const auto& [typed, meant] : cases) {
    const std::string* found = closest(typed, keys);
    EXPECT_EQ(found ? *found : "(none)", meant ? meant : "(none)") << typed;
  }
}

TEST(Closest, DoesNotWorkOnAbsurdLengths) {
  const std::vector<std::string> keys{std::string(1000000, 'a')};
  EXPECT_EQ(closest(std::string(1000000, 'a'), keys), nullptr);
}

}  // namespace gatehouse
