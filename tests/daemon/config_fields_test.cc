#include "daemon/config_fields.h"

#include <gtest/gtest.h>

#include "daemon/base/text.h"
#include "daemon/config_hosts.h"
#include "daemon/config_urls.h"

namespace gatehouse::daemon {
namespace {

std::string duration(std::string_view text) {
  const auto value = parse_duration(text);
  return value ? std::to_string(*value / 1ms) : "none";
}

TEST(ParseDuration, AddsUnitsInFallingOrder) {
  EXPECT_EQ(duration("500ms"), "500");
  EXPECT_EQ(duration("90s"), "90000");
  EXPECT_EQ(duration("1h30m"), "5400000");
  EXPECT_EQ(duration("1d2h3m4s5ms"), "93784005");
  EXPECT_EQ(duration("0s"), "0");
}

TEST(ParseDuration, RefusesEverythingElse) {
  for (const char* text : {"", "5", "s", "5 s", "-5s", "1.5s", "5S", "5sec", "1s1s", "1m1h", "5s ",
                           "s5", "99999999999999999999s", "3651d"})
    EXPECT_EQ(duration(text), "none") << text;
}

TEST(ParseSize, TakesBytesAndBinaryUnits) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("512"), 512u);
  EXPECT_EQ(parse_size("64KiB"), 65536u);
  EXPECT_EQ(parse_size("10MiB"), 10u * 1024 * 1024);
  EXPECT_EQ(parse_size("2GiB"), 2048u * 1024 * 1024);
}

TEST(ParseSize, RefusesEverythingElse) {
  for (const char* text : {"", "KiB", "64k", "64KB", "64 KiB", "-1", "1.5MiB", "64kib",
                           "16777216TiB", "18446744073709551616"})
    EXPECT_FALSE(parse_size(text)) << text;
}

std::string host(std::string_view text) {
  HostProblem problem;
  return normal_host(text, problem).value_or("refused");
}

TEST(NormalHost, WritesNamesInOneWay) {
  EXPECT_EQ(host("WWW.Shop.Example."), "www.shop.example");
  EXPECT_EQ(host("localhost"), "localhost");
  EXPECT_EQ(host("*.Shop.example"), "*.shop.example");
  EXPECT_EQ(host("xn--bcher-kva.example"), "xn--bcher-kva.example");
}

TEST(NormalHost, WritesAddressesInOneWay) {
  EXPECT_EQ(host("192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(host("2001:DB8:0::1"), "2001:db8::1");
  EXPECT_EQ(host("[::1]"), "::1");
}

TEST(NormalHost, RefusesWhatIsNoHost) {
  for (const std::string& text :
       {std::string("*"), std::string("."), std::string("a..b"), std::string("*.*.b"),
        std::string("a.*"), std::string("[a.example]"), std::string("1.2.3"), std::string("a/b"),
        std::string("a:1"), std::string(64, 'a') + ".example", std::string(250, 'a') + ".b.c"})
    EXPECT_EQ(host(text), "refused") << text;
}

TEST(IsCovered, FollowsOneLabelWildcards) {
  const std::unordered_set<std::string> names{"a.example", "*.shop.example", "192.0.2.1"};
  EXPECT_TRUE(is_covered(names, "a.example"));
  EXPECT_TRUE(is_covered(names, "x.shop.example"));
  EXPECT_TRUE(is_covered(names, "*.shop.example"));
  EXPECT_TRUE(is_covered(names, "192.0.2.1"));
  EXPECT_FALSE(is_covered(names, "shop.example"));
  EXPECT_FALSE(is_covered(names, "y.x.shop.example"));
  EXPECT_FALSE(is_covered(names, "*.a.example"));
}

TEST(IsCovered, NeverTakesAnAddressForAName) { EXPECT_FALSE(is_covered({"*.0.2.1"}, "192.0.2.1")); }

TEST(SplitUrl, FindsAllParts) {
  const auto parts = split_url("https://me:pw@[::1]:8443/a?b#c");
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->scheme, "https");
  EXPECT_EQ(parts->userinfo, "me:pw");
  EXPECT_EQ(parts->host, "::1");
  EXPECT_EQ(parts->port, "8443");
  EXPECT_EQ(parts->rest, "/a?b#c");
}

TEST(SplitUrl, EndsTheAuthorityAtAQuery) {
  const auto parts = split_url("http://host?@other");
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->host, "host");
  EXPECT_FALSE(parts->userinfo);
}

TEST(InQuotes, EscapesAndCuts) {
  EXPECT_EQ(in_quotes("a\x1b[0m"), "\"a\\x1b[0m\"");
  EXPECT_EQ(in_quotes(std::string(100, 'x')), "\"" + std::string(80, 'x') + "...\"");
}

TEST(Findings, CountsTheSamePlaceOnce) {
  Findings findings("f", "a\n");
  for (int i = 0; i < 3; ++i) findings.error({1, 1}, "same");
  EXPECT_EQ(findings.finish().errors.size(), 1u);
}

TEST(Findings, LeavesOutAndCountsBeyondItsBound) {
  Findings findings("f", "a\n");
  for (std::uint32_t i = 1; i <= Findings::kMost + 5; ++i) findings.error({1, i}, "wrong");
  const ConfigReport report = findings.finish();
  ASSERT_EQ(report.errors.size(), Findings::kMost + 1);
  EXPECT_EQ(format(report.errors.back()), "f: error: 5 more are not shown\n");
}

TEST(Format, FollowsTheHouseStyle) {
  Findings findings("/etc/gatehouse/gatehouse.yaml", "vhosts:\n    certifcate: auto\n");
  findings.error({2, 5}, "unknown key \"certifcate\" in vhost \"shop.example\"",
                 "did you mean \"certificate\"?");
  EXPECT_EQ(format(findings.finish()),
            "/etc/gatehouse/gatehouse.yaml:2:5: error: unknown key \"certifcate\" in vhost "
            "\"shop.example\"\n"
            "  2 |     certifcate: auto\n"
            "  hint: did you mean \"certificate\"?\n");
}

}  // namespace
}  // namespace gatehouse::daemon
