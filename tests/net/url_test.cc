#include "daemon/net/url.h"

#include <gtest/gtest.h>

namespace gatehouse::net {
namespace {

TEST(Url, IsTakenApart) {
  const struct {
    const char *text, *origin, *authority, *target;
  } cases[] = {
      {"https://A.test", "https://a.test:443", "a.test", "/"},
      {"https://a.test:443/x", "https://a.test:443", "a.test", "/x"},
      {"https://a.test:14000/dir?q=1", "https://a.test:14000", "a.test:14000", "/dir?q=1"},
      {"HTTP://a.test?q", "http://a.test:80", "a.test", "/?q"},
      {"https://[::1]:8/", "https://[::1]:8", "[::1]:8", "/"},
      {"https://[2001:DB8::1]", "https://[2001:db8::1]:443", "[2001:db8::1]", "/"},
      {"http://127.0.0.1:8080/a//b", "http://127.0.0.1:8080", "127.0.0.1:8080", "/a//b"},
  };
  for (const auto& c : cases) {
    const auto url = Url::parse(c.text);
    ASSERT_TRUE(url) << c.text;
    EXPECT_EQ(url->origin(), c.origin);
    EXPECT_EQ(url->authority(), c.authority);
    EXPECT_EQ(url->target, c.target);
  }
}

TEST(Url, RefusesWhatIsNoHttpUrl) {
  for (const char* text :
       {"", "a.test", "/x", "ftp://a.test/", "https://", "https:///x", "https://a.test:0/",
        "https://a.test:65536/", "https://a.test:x/", "https://a.test:/", "https://u:p@a.test/",
        "https://a.test/#x", "https://a.test/a b", "https://a.test/\r\nX: y", "https://[::1/",
        "https://[::1]x/", "https://[127.0.0.1]/", "https://a%00.test/", "https://\xc3\xa4.test/"})
    EXPECT_FALSE(Url::parse(text)) << text;
}

TEST(Url, DoesNotShowAPasswordInItsError) {
  EXPECT_EQ(Url::parse("https://me:hunter2@a.test/").error().message.find("hunter2"),
            std::string::npos);
}

}  // namespace
}  // namespace gatehouse::net
