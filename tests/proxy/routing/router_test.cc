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

RequestHead request(std::string_view authority, std::string_view target) {
  RequestHead head;
  head.method = "GET";
  head.authority = authority;
  head.path = target;
  return head;
}

/// The name of the route, "no route" or "no host".
std::string found(const Router& router, std::string_view authority, std::string_view target) {
  const RouteMatch match = router.match(request(authority, target));
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
  const CompiledRoute* compiled = router->match(request("a", "/")).route;
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
  EXPECT_EQ(router->match(request("a", "/")).route->choose_backend(random), 3u);
}

TEST(Router, ARouteTakesWhatItsConditionsHoldForAndTheNextOneTheRest) {
  Route posts = route("posts", Kind::kPrefix, "/api");
  posts.rules = std::make_shared<RouteRules>(RouteRules{.match = {.methods = {"POST", "PUT"}}});
  const auto router = router_for({vhost({"a"}, {posts, route("rest", Kind::kPrefix, "/api")})});
  RequestHead head = request("a", "/api/x");
  EXPECT_EQ(router->match(head).route->name(), "rest");
  head.method = "PUT";
  EXPECT_EQ(router->match(head).route->name(), "posts");
  head.path = "/other";
  EXPECT_EQ(router->match(head).route, nullptr);
}

TEST(Router, OnlyVhostsThatNeedItAskForTheClientsAddress) {
  const std::vector<net::Network> office{*net::Network::parse("192.0.2.0/24")};
  Route inside = route("inside", Kind::kAny, "");
  inside.rules = std::make_shared<RouteRules>(RouteRules{.match = {.sources = office}});
  Vhost allowing = vhost({"b"}, {}), denying = vhost({"c"}, {});
  allowing.allow = denying.deny = office;
  const auto router = router_for(
      {vhost({"a"}, {route("r", Kind::kAny, "")}), allowing, denying, vhost({"d"}, {inside})});
  EXPECT_FALSE(router->vhost_for("a")->looks_at_client);
  for (const std::string_view host : {"b", "c", "d"})
    EXPECT_TRUE(router->vhost_for(host)->looks_at_client) << host;
}

TEST(Router, AVhostAdmitsWhomItAllowsAndDoesNotDeny) {
  const auto admits = [](std::vector<std::string_view> allow, std::vector<std::string_view> deny,
                         std::string_view client) {
    Vhost site = vhost({"a"}, {});
    for (const auto text : allow) site.allow.push_back(*net::Network::parse(text));
    for (const auto text : deny) site.deny.push_back(*net::Network::parse(text));
    const auto router = router_for({site});
    if (client.empty()) return router->vhost_for("a")->admits(nullptr);
    const auto address = *net::IpAddress::parse(client);
    return router->vhost_for("a")->admits(&address);
  };
  EXPECT_TRUE(admits({}, {}, "192.0.2.1"));
  EXPECT_TRUE(admits({"192.0.2.0/24"}, {}, "192.0.2.1"));
  EXPECT_FALSE(admits({"192.0.2.0/24"}, {}, "192.0.3.1"));
  EXPECT_FALSE(admits({"192.0.2.0/24"}, {"192.0.2.1"}, "192.0.2.1"));
  EXPECT_TRUE(admits({"192.0.2.0/24"}, {"192.0.2.1"}, "192.0.2.2"));
  EXPECT_FALSE(admits({}, {"2001:db8::/32"}, "2001:db8::1"));
  EXPECT_TRUE(admits({}, {"2001:db8::/32"}, "2001:db9::1"));
  EXPECT_TRUE(admits({"192.0.2.0/24"}, {}, "::ffff:192.0.2.9"));
  EXPECT_TRUE(admits({}, {"0.0.0.0/0"}, ""));  // A unix socket's peer is in no network.
  EXPECT_FALSE(admits({"0.0.0.0/0"}, {}, ""));
}

/// What a backend gets for a path, or the error.
std::string rewritten(PathMatch match, std::string path, std::string_view target) {
  Route changed = route("r", match.kind, match.text);
  changed.rules = std::make_shared<RouteRules>(RouteRules{.rewrite = {.path = std::move(path)}});
  auto options = std::make_shared<Options>();
  options->vhosts = {vhost({"a"}, {std::move(changed)})};
  const auto router = Router::compile(std::move(options));
  if (!router) return router.error().message;
  const RouteMatch found = (*router)->match(request("a", target));
  return found.route ? found.route->rewrite(target) : "no route";
}

TEST(Router, ARewriteReplacesThePrefixOrTheWholePath) {
  EXPECT_EQ(rewritten({Kind::kPrefix, "/api"}, "/v2", "/api/x?q"), "/v2/x?q");
  EXPECT_EQ(rewritten({Kind::kPrefix, "/api/"}, "/", "/api/x"), "/x");
  EXPECT_EQ(rewritten({Kind::kPrefix, "/"}, "/v2", "/x"), "/v2/x");
  EXPECT_EQ(rewritten({Kind::kExact, "/api"}, "/v2", "/api?q"), "/v2?q");
  EXPECT_EQ(rewritten({Kind::kAny, ""}, "/v2", "/x/y?q"), "/v2?q");
  EXPECT_EQ(rewritten({Kind::kAny, ""}, "/v2", "*"), "*");
  EXPECT_EQ(rewritten({Kind::kPrefix, "/a"}, "/$1", "/a/b"), "/$1/b");
}

TEST(Router, ARewriteTakesGroupsOfTheRegex) {
  EXPECT_EQ(rewritten({Kind::kRegex, "/shop/([a-z]+)/(.*)"}, "/$2/$1", "/shop/eu/a/b?q"),
            "/a/b/eu?q");
  EXPECT_EQ(rewritten({Kind::kRegex, "/(?P<name>.*)"}, "/x$1", "/y"), "/xy");
  EXPECT_EQ(rewritten({Kind::kRegex, "/(a)?b"}, "/c$1", "/b"), "/c");
  EXPECT_EQ(rewritten({Kind::kRegex, "/x.*"}, "/fixed", "/xyz?q"), "/fixed?q");
  // Put together from pieces, it has dot segments no more than any other.
  EXPECT_EQ(rewritten({Kind::kRegex, "/a(.*)c/(.*)"}, "/p/$1/$2", "/a..c/x"), "/x");
  EXPECT_EQ(rewritten({Kind::kRegex, "/x"}, "/$1", "/x"), "route r: $1: the regex has no group");
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
