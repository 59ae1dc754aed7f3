#include "proxy/routing/variables.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

using Use = Template::Use;

/// A request with everything that a variable may ask for.
struct World {
  World() {
    request.method = "GET";
    request.scheme = "https";
    request.version = HttpVersion::kHttp2;
    request.fields.add(Name::kUserAgent, "curl/8");
    request.fields.add("x-a", "one");
    request.fields.add("x-empty", "");
    response.status = 201;
    response.fields.add("x-r", "two");
    source.response = &response;
    source.target = "/p/a%20b?q=1&r";
    source.authority = "www.example:8443";
    source.rest = "/a%20b";
    source.captures = captures;
    source.peer = &peer;
    source.local = &local;
    source.client = *net::IpAddress::parse("192.0.2.7");
    source.server_name = "www.example";
    source.route = "www.example/0";
    source.backend = "hello";
    source.endpoint = "10.0.0.9:80";
  }
  RequestHead request;
  ResponseHead response;
  std::string_view captures[3] = {"/p/a%20b", "p", "a%20b"};
  net::SocketAddress peer{*net::IpAddress::parse("10.0.0.1"), 4711};
  net::SocketAddress local{*net::IpAddress::parse("2001:db8::2"), 443};
  VariableSource source{.request = request};
};

std::string problem_of(std::string_view text, Use use, std::optional<int> captures = {}) {
  Template::Problem problem;
  return Template::parse(text, use, captures, problem) ? "" : problem.message;
}

Template parsed(std::string_view text, Use use, std::optional<int> captures = {}) {
  Template::Problem problem;
  auto made = Template::parse(text, use, captures, problem);
  EXPECT_TRUE(made) << text << ": " << problem.message;
  return made ? *made : Template();
}

std::string header(std::string_view text) {
  return parsed(text, Use::kResponseHeader).expand(World().source);
}

std::string location(std::string_view text, std::string_view target = "/p/a%20b?q=1&r",
                     std::string_view rest = "/a%20b") {
  World world;
  world.source.target = target;
  world.source.rest = rest;
  return parsed(text, Use::kRedirect, 2).expand_location(world.source);
}

TEST(Variables, StandForWhatTheyName) {
  for (const auto& [text, value] : std::initializer_list<std::pair<const char*, const char*>>{
           {"%REQ(User-Agent)%", "curl/8"},
           {"%REQ(:method)%", "GET"},
           {"%REQ(:PATH)%", "/p/a%20b?q=1&r"},
           {"%REQ(:authority)%", "www.example:8443"},
           {"%REQ(Host)%", "www.example:8443"},
           {"%REQ(:scheme)%", "https"},
           {"%RESP(x-r)%", "two"},
           {"%RESPONSE_CODE%", "201"},
           {"%HOST%", "www.example"},
           {"%PATH%", "/p/a%20b"},
           {"%QUERY%", "?q=1&r"},
           {"%PROTOCOL%", "HTTP/2"},
           {"%DOWNSTREAM_REMOTE_ADDRESS%", "192.0.2.7:0"},
           {"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "192.0.2.7"},
           {"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "10.0.0.1:4711"},
           {"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.1"},
           {"%DOWNSTREAM_LOCAL_ADDRESS%", "[2001:db8::2]:443"},
           {"%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "2001:db8::2"},
           {"%DOWNSTREAM_LOCAL_PORT%", "443"},
           {"%REQUESTED_SERVER_NAME%", "www.example"},
           {"%ROUTE_NAME%", "www.example/0"},
           {"%UPSTREAM_CLUSTER%", "hello"},
           {"%UPSTREAM_HOST%", "10.0.0.9:80"}})
    EXPECT_EQ(header(text), value) << text;
}

TEST(Variables, TheClientHasAPortWhenItIsThePeer) {
  World world;
  world.source.client = world.peer.ip();
  EXPECT_EQ(parsed("%DOWNSTREAM_REMOTE_ADDRESS%", Use::kRequestHeader).expand(world.source),
            "10.0.0.1:4711");
}

TEST(Variables, WithoutAValueTheyAreEmpty) {
  EXPECT_EQ(header("a%REQ(x-none)%b"), "ab");
  const RequestHead request;
  const VariableSource nothing{.request = request};
  for (const std::string& name : Template::names(Use::kResponseHeader)) {
    if (name == "PROTOCOL") continue;  // There always is one.
    const bool has_argument = name == "REQ" || name == "RESP";
    const std::string text = "%" + name + (has_argument ? "(x)%" : "%");
    EXPECT_EQ(parsed(text, Use::kResponseHeader).expand(nothing), "") << text;
  }
}

TEST(Variables, TheSecondHeaderStandsInForTheFirst) {
  EXPECT_EQ(header("%REQ(x-none?x-a)%"), "one");
  EXPECT_EQ(header("%REQ(x-empty?x-a)%"), "one");
  EXPECT_EQ(header("%REQ(user-agent?x-a)%"), "curl/8");
}

TEST(Variables, AreMixedWithText) {
  EXPECT_EQ(header("100%% of %REQ(x-a)%/%RESPONSE_CODE%%%"), "100% of one/201%");
  EXPECT_TRUE(parsed("100%%", Use::kRequestHeader).is_constant());
  EXPECT_FALSE(parsed("%PATH%", Use::kRequestHeader).is_constant());
  EXPECT_EQ(header("$1 $$"), "$1 $$");
}

TEST(Variables, AreRefusedWhenThereIsNoSuchThing) {
  Template::Problem problem;
  EXPECT_FALSE(Template::parse("%REMOTE_ADDRESS%", Use::kRequestHeader, {}, problem));
  EXPECT_EQ(problem.unknown, "REMOTE_ADDRESS");
  for (const std::string_view text :
       {"50%", "%", "% %", "%req(a)%", "%REQ%", "%REQ()%", "%REQ(a", "%REQ(a)", "%REQ(a b)%",
        "%REQ(:status)%", "%REQ(a?)%", "%REQ(a?:path)%", "%PROTOCOL(a)%", "%20", "%REST%"})
    EXPECT_NE(problem_of(text, Use::kRequestHeader), "") << text;
  for (const std::string_view text : {"%RESP(a)%", "%RESPONSE_CODE%", "%UPSTREAM_HOST%"}) {
    EXPECT_NE(problem_of(text, Use::kRequestHeader), "") << text;
    EXPECT_NE(problem_of(text, Use::kRedirect), "") << text;
    EXPECT_EQ(problem_of(text, Use::kResponseHeader), "") << text;
  }
}

TEST(Variables, GroupsOfARegexAreCounted) {
  EXPECT_EQ(problem_of("/$1/$2", Use::kRewrite, 2), "");
  EXPECT_EQ(problem_of("/$$1", Use::kRewrite, 0), "");
  EXPECT_NE(problem_of("/$3", Use::kRewrite, 2), "");
  EXPECT_NE(problem_of("/$1", Use::kRewrite, 0), "");
  EXPECT_NE(problem_of("/$", Use::kRewrite, 2), "");
  EXPECT_NE(problem_of("/$0", Use::kRewrite, 2), "");
  EXPECT_EQ(parsed("/$2/$1$$", Use::kRewrite, 2).expand(World().source), "/a%20b/p$");
  EXPECT_EQ(parsed("/%PATH%$", Use::kRewrite).expand(World().source), "/%PATH%$");
}

TEST(Variables, ALocationIsPutTogether) {
  EXPECT_EQ(location("https://new.example%REST%%QUERY%"), "https://new.example/a%20b?q=1&r");
  EXPECT_EQ(location("https://new.example%REST%%QUERY%", "/p", ""), "https://new.example");
  EXPECT_EQ(location("https://%HOST%:9443%PATH%"), "https://www.example:9443/p/a%20b");
  EXPECT_EQ(location("https://%REQ(:authority)%%REQ(:path)%"),
            "https://www.example:8443/p/a%20b?q=1&r");
  EXPECT_EQ(location("/new/$2?from=$1"), "/new/a%20b?from=p");
  EXPECT_EQ(location("/100%25"), "/100%25");
  EXPECT_EQ(location("%REST%"), "/a%20b");
  EXPECT_EQ(location("%REST%", "/p", ""), "/");
  EXPECT_EQ(location("https://new.example%PATH%", "*", ""), "https://new.example/");
}

TEST(Variables, APathInALocationNeverNamesAHost) {
  EXPECT_EQ(location("%REST%", "/p//evil.example", "//evil.example"), "/evil.example");
  EXPECT_EQ(location("/%REST%", "/p/evil.example", "/evil.example"), "/evil.example");
  EXPECT_EQ(location("%PATH%", "///evil.example"), "/evil.example");
  EXPECT_EQ(location("%REQ(:path)%", "//evil.example/?//"), "/evil.example/?//");
}

TEST(Variables, ALocationHasNoByteThatAUrlCannotHave) {
  World world;
  world.request.fields.add("x-b", "a b\tc\\d\xc3\xa9\x7f");
  EXPECT_EQ(parsed("/%REQ(x-b)%", Use::kRedirect).expand_location(world.source),
            "/a%20b%09c%5Cd%C3%A9%7F");
  world.source.server_name = "a\r\nset-cookie: x";  // Nobody checks an SNI's bytes before.
  EXPECT_EQ(parsed("/%REQUESTED_SERVER_NAME%", Use::kRedirect).expand_location(world.source),
            "/a%0D%0Aset-cookie:%20x");
}

TEST(Variables, ARedirectMustFixItsHost) {
  for (const std::string_view text :
       {"/a", "/%REST%", "%PATH%x", "%REST%$1", "%REQ(:path)%", "https://a.example/$1",
        "https://a.example%REST%", "https://a.example%REST%%QUERY%", "https://%HOST%%PATH%",
        "https://%REQ(:authority)%/", "https://a.example?x=$1", "http://a.example%PATH%$1",
        "https://%HOST%:8443/%REQ(x-a)%"})
    EXPECT_FALSE(parsed(text, Use::kRedirect, 2).leaves_host_open()) << text;
  for (const std::string_view text :
       {"https://a.example$1", "https://$1/", "https://%REQ(x-a)%/", "https://a%REQ(x-a)%/", "$1",
        "%REQ(x-a)%", "%HOST%/x", "%QUERY%", "//$1", "https:$1", "%REQ(:scheme)%://a.example/",
        "https://a.example%REST%$1"})
    EXPECT_EQ(parsed(text, Use::kRedirect, 2).leaves_host_open(), text != "//$1") << text;
}

}  // namespace
}  // namespace gatehouse::proxy
