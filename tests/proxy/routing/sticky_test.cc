#include "proxy/routing/sticky.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

std::string cookie(std::initializer_list<std::string_view> values, std::string_view name) {
  Fields fields;
  for (const auto value : values) fields.add(Name::kCookie, value);
  const auto found = find_cookie(fields, name);
  return found ? std::string(*found) : "(none)";
}

TEST(Sticky, FindsACookieAmongOthersAndInSeveralFields) {
  EXPECT_EQ(cookie({"edge=1"}, "edge"), "1");
  EXPECT_EQ(cookie({"a=b; edge=1; c=d"}, "edge"), "1");
  EXPECT_EQ(cookie({"a=b", "c=d;edge=\"1\""}, "edge"), "1");
  EXPECT_EQ(cookie({"edge="}, "edge"), "");
  EXPECT_EQ(cookie({"edge=1; edge=2"}, "edge"), "1");
}

TEST(Sticky, IsNotFooledBySimilarNames) {
  EXPECT_EQ(cookie({"xedge=1; edge2=1; a=edge=1; edge"}, "edge"), "(none)");
  EXPECT_EQ(cookie({}, "edge"), "(none)");
}

TEST(Sticky, ReadsWhatItWroteAndNothingElse) {
  EXPECT_EQ(parse_host_id("0123456789abcdef"), 0x0123456789abcdefu);
  for (const char* text : {"", "123", "0123456789ABCDEF", "0123456789abcdeg", "0123456789abcdef0"})
    EXPECT_EQ(parse_host_id(text), 0u) << text;
}

TEST(Sticky, TheCookieIsForHttpAloneAndSecureOnTls) {
  EXPECT_EQ(sticky_cookie("edge", 0xff, true),
            "edge=00000000000000ff; Path=/; HttpOnly; SameSite=Lax; Secure");
  EXPECT_EQ(sticky_cookie("edge", 0xff, false),
            "edge=00000000000000ff; Path=/; HttpOnly; SameSite=Lax");
}

}  // namespace
}  // namespace gatehouse::proxy
