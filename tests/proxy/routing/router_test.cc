#include "proxy/routing/router.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gatehouse::proxy {
namespace {

using Kind = PathMatch::Kind;

Route route(std::string name, Kind kind, std::string text, std::size_t backend = 0) {
  Route made;
  made.name = std::move(name);
  made.match = {kind, std::move(text)};
  made.split = {{backend, 1}};
  return made;
}

Vhost vhost(std::vector<std::string> hosts, std::vector<Route> routes) {
  Vhost made;
  made.hosts = std::move(hosts);
  made.routes = std::move(routes);
  return made;
}

std::shared_ptr<const Router> router_for(std::vector<Vhost> vhosts) {
  auto options = std::make_shared<Options>();
  options->vhosts = std::move(vhosts);
  auto router = Router::compile(std::move(options));
  EXPECT_TRUE(router) << (router ? "" : router.error().message);
  return *router;
}

/// The name of the route, "no route" or "no host".
std::string found(const Router& router, std::string_view authority, std::string_view target) {
  const RouteMatch match = router.match(authority, target);
  if (!match.vhost) return "no host";
  return match.route ? match.route->name() : "no route";
}

TEST(Router, FindsTheVhostByExactHostThenWildcardThenAsterisk) {
  const auto router = router_for({vhost({"*"}, {route("any", Kind::kAny, "")}),
                                  vhost({"*.shop.example"}, {route("wild", Kind::kAny, "")}),
                                  vhost({"a.shop.example"}, {route("exact", Kind::kAny, "")})});
  EXPECT_EQ(found(*router, "a.shop.example", "/"), "exact");
  EXPECT_EQ(found(*router, "b.shop.example", "/"), "wild");
  EXPECT_EQ(found(*router, "a.b.shop.example", "/"), "any");
  EXPECT_EQ(found(*router, "", "/"), "any");
}

TEST(Router, IgnoresPortAndTrailingDotOfTheAuthority) {
  const auto router = router_for({vhost({"a.example", "::1"}, {route("r", Kind::kAny, "")})});
  for (const std::string_view authority :
       {"a.example", "a.example:8443", "a.example.", "a.example.:443", "[::1]", "[::1]:443",
        "[0:0:0:0:0:0:0:1]:443"})
    EXPECT_EQ(found(*router, authority, "/"), "r") << authority;
}

TEST(Router, AnUnknownHostHasNoVhost) {
  const auto router = router_for({vhost({"a.example"}, {route("r", Kind::kAny, "")})});
  EXPECT_EQ(found(*router, "b.example", "/"), "no host");
  EXPECT_EQ(router->vhost_for("b.example"), nullptr);
}

TEST(Router, APathThatNoRouteTakesHasNoRoute) {
  const auto router = router_for({vhost({"a.example"}, {route("r", Kind::kPrefix, "/api")})});
  EXPECT_EQ(found(*router, "a.example", "/other"), "no route");
}

TEST(Router, TheFirstMatchWins) {
  const auto router = router_for(
      {vhost({"a.example"}, {route("0", Kind::kPrefix, "/api"), route("1", Kind::kExact, "/api/x"),
                             route("2", Kind::kAny, "")})});
  EXPECT_EQ(found(*router, "a.example", "/api/x"), "0");
  EXPECT_EQ(found(*router, "a.example", "/x"), "2");
}

TEST(Router, APrefixTakesWholeSegments) {
  for (const std::string prefix : {"/api", "/api/"}) {
    const auto router = router_for({vhost({"a"}, {route("r", Kind::kPrefix, prefix)})});
    for (const std::string_view path : {"/api", "/api/", "/api/x", "/api//", "/api?x", "/api/?x"})
      EXPECT_EQ(found(*router, "a", path), "r") << prefix << " " << path;
    for (const std::string_view path :
         {"/apix", "/ap", "/", "/x/api", "/api%2Fx", "/API", "/?/api"})
      EXPECT_EQ(found(*router, "a", path), "no route") << prefix << " " << path;
  }
}

TEST(Router, ThePrefixSlashTakesEveryPath) {
  const auto router = router_for({vhost({"a"}, {route("r", Kind::kPrefix, "/")})});
  for (const std::string_view path : {"/", "/x", "//", "/?", "*"})
    EXPECT_EQ(found(*router, "a", path), "r") << path;
}

TEST(Router, AnExactPathTakesOnlyItselfWithAnyQuery) {
  const auto router = router_for({vhost({"a"}, {route("r", Kind::kExact, "/ping")})});
  EXPECT_EQ(found(*router, "a", "/ping"), "r");
  EXPECT_EQ(found(*router, "a", "/ping?x=1"), "r");
  EXPECT_EQ(found(*router, "a", "/ping/"), "no route");
  EXPECT_EQ(found(*router, "a", "/pin"), "no route");
}

TEST(Router, ARegexIsAnchoredAndDoesNotSeeTheQuery) {
  const auto router = router_for({vhost({"a"}, {route("r", Kind::kRegex, "/items/[0-9]+|/b")})});
  EXPECT_EQ(found(*router, "a", "/items/12"), "r");
  EXPECT_EQ(found(*router, "a", "/items/12?q=z"), "r");
  EXPECT_EQ(found(*router, "a", "/b"), "r");
  EXPECT_EQ(found(*router, "a", "/items/12/x"), "no route");
  EXPECT_EQ(found(*router, "a", "/x/items/12"), "no route");
  EXPECT_EQ(found(*router, "a", "/bb"), "no route");
}

TEST(Router, ARegexTakesAnyByte) {
  const auto router = router_for({vhost({"a"}, {route("r", Kind::kRegex, "/.*")})});
  EXPECT_EQ(found(*router, "a", "/caf\xc3\xa9/\xff\n"), "r");
}

TEST(Router, EqualRegexesAreCompiledOnce) {
  const auto router =
      router_for({vhost({"a"}, {route("0", Kind::kRegex, "/x"), route("1", Kind::kRegex, "/y")}),
                  vhost({"b"}, {route("2", Kind::kRegex, "/x")})});
  EXPECT_EQ(router->regex_count(), 2u);
  EXPECT_EQ(found(*router, "b", "/x"), "2");
}

TEST(Router, NamesTheRouteOfABadRegex) {
  auto options = std::make_shared<Options>();
  options->vhosts = {vhost({"a"}, {route("a/0", Kind::kRegex, "/(")})};
  const auto router = Router::compile(options);
  ASSERT_FALSE(router);
  EXPECT_EQ(router.error().fault, Fault::kInvalid);
  EXPECT_NE(router.error().message.find("route a/0"), std::string::npos);
  EXPECT_NE(router.error().message.find("\"/(\""), std::string::npos);
}

TEST(Router, RefusesARegexThatWouldTakeTooMuchMemory) {
  EXPECT_TRUE(Router::check_regex("/[a-z]{1,20}/.*"));
  EXPECT_FALSE(Router::check_regex("/((a{1,100}){1,100}){1,100}"));
  EXPECT_FALSE(Router::check_regex("(?=look)ahead"));
}

TEST(Router, OfTwoVhostsWithOneHostTheFirstHasIt) {
  const auto router = router_for({vhost({"a"}, {route("first", Kind::kAny, "")}),
                                  vhost({"a", "b"}, {route("second", Kind::kAny, "")})});
  EXPECT_EQ(found(*router, "a", "/"), "first");
  EXPECT_EQ(found(*router, "b", "/"), "second");
}

TEST(Router, KeepsTheOptionsThatItWasMadeFrom) {
  auto options = std::make_shared<Options>();
  options->vhosts = {vhost({"a"}, {route("kept", Kind::kAny, "")})};
  const auto router = *Router::compile(options);
  options.reset();
  EXPECT_EQ(found(*router, "a", "/"), "kept");
  EXPECT_EQ(&router->options().vhosts[0], router->vhost_for("a")->options);
}

TEST(Router, AVhostWithoutRoutesHasNone) {
  const auto router = router_for({vhost({"a"}, {}), vhost({"b"}, {route("b", Kind::kAny, "")})});
  EXPECT_EQ(found(*router, "a", "/"), "no route");
  EXPECT_EQ(found(*router, "b", "/"), "b");
}

TEST(Router, ASplitFollowsTheWeights) {
  Route split = route("r", Kind::kAny, "");
  split.split = {{5, 90}, {6, 10}, {7, 0}};
  const auto router = router_for({vhost({"a"}, {split})});
  const CompiledRoute* compiled = router->match("a", "/").route;
  SeededRandom random(1);
  std::array<int, 8> count{};
  for (int i = 0; i < 10000; ++i) ++count[compiled->choose_backend(random)];
  EXPECT_EQ(count[5] + count[6], 10000);
  EXPECT_NEAR(count[5], 9000, 150);
}

TEST(Router, ASingleBackendIsChosenWithoutChance) {
  class NoRandom final : public Random {
   public:
    std::uint64_t next() override {
      ADD_FAILURE() << "drawn";
      return 0;
    }
  };
  const auto router = router_for({vhost({"a"}, {route("r", Kind::kAny, "", 3)})});
  NoRandom random;
  EXPECT_EQ(router->match("a", "/").route->choose_backend(random), 3u);
}

TEST(Router, TheRedirectKeepsHostPathAndQueryAndDropsThePort) {
  EXPECT_EQ(https_location("a.example:80", "/x/../y?q=1"), "https://a.example/x/../y?q=1");
  EXPECT_EQ(https_location("a.example", "/"), "https://a.example/");
  EXPECT_EQ(https_location("[2001:db8::1]:80", "/x"), "https://[2001:db8::1]/x");
  EXPECT_EQ(https_location("a.example", "//evil.example"), "https://a.example//evil.example");
  EXPECT_EQ(https_location("a.example", "*"), "https://a.example/");
}

}  // namespace
}  // namespace gatehouse::proxy
