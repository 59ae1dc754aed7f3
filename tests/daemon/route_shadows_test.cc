#include "daemon/route_shadows.h"

#include <gtest/gtest.h>

namespace gatehouse::daemon {
namespace {

using proxy::RequestMatch;
using Kind = proxy::PathMatch::Kind;

struct Match {
  Kind kind;
  std::string text;
  RequestMatch request{};
};

/// The index that shadows the last of the matches; -1: none.
int shadow_of_last(const std::vector<Match>& matches) {
  RouteShadows shadows;
  std::optional<std::size_t> by;
  for (const Match& match : matches) {
    proxy::Route route;
    route.match = {match.kind, match.text};
    if (!match.request.empty()) {
      auto rules = std::make_shared<proxy::RouteRules>();
      rules->match = match.request;
      route.rules = std::move(rules);
    }
    by = shadows.add(route);
  }
  return by ? static_cast<int>(*by) : -1;
}

TEST(RouteShadows, PrefixTakesWholeSegments) {
  EXPECT_EQ(shadow_of_last({{Kind::kPrefix, "/a"}, {Kind::kPrefix, "/a/b"}}), 0);
  EXPECT_EQ(shadow_of_last({{Kind::kPrefix, "/a"}, {Kind::kExact, "/a"}}), 0);
  EXPECT_EQ(shadow_of_last({{Kind::kPrefix, "/a"}, {Kind::kPrefix, "/ab"}}), -1);
  EXPECT_EQ(shadow_of_last({{Kind::kPrefix, "/a/b"}, {Kind::kPrefix, "/a"}}), -1);
}

TEST(RouteShadows, ExactTakesOnlyItself) {
  EXPECT_EQ(shadow_of_last({{Kind::kExact, "/a"}, {Kind::kExact, "/a"}}), 0);
  EXPECT_EQ(shadow_of_last({{Kind::kExact, "/a"}, {Kind::kPrefix, "/a"}}), -1);
}

TEST(RouteShadows, RegexTakesExactPathsAndItsOwnCopy) {
  EXPECT_EQ(shadow_of_last({{Kind::kRegex, "/a+"}, {Kind::kExact, "/aaa"}}), 0);
  EXPECT_EQ(shadow_of_last({{Kind::kRegex, "/a+"}, {Kind::kRegex, "/a+"}}), 0);
  EXPECT_EQ(shadow_of_last({{Kind::kRegex, "/a+"}, {Kind::kExact, "/b"}}), -1);
  EXPECT_EQ(shadow_of_last({{Kind::kRegex, "/a+"}, {Kind::kPrefix, "/a"}}), -1);
}

TEST(RouteShadows, CatchAllsTakeEverything) {
  EXPECT_EQ(shadow_of_last({{Kind::kAny, ""}, {Kind::kRegex, "/x"}}), 0);
  EXPECT_EQ(shadow_of_last({{Kind::kPrefix, "/"}, {Kind::kAny, ""}}), 0);
  EXPECT_EQ(shadow_of_last({{Kind::kRegex, "/.*"}, {Kind::kPrefix, "/x"}}), 0);
}

TEST(RouteShadows, ARouteWithConditionsLeavesTheRestToOthers) {
  const RequestMatch posts{.methods = {"POST"}};
  EXPECT_EQ(shadow_of_last({{Kind::kPrefix, "/a", posts}, {Kind::kPrefix, "/a"}}), -1);
  EXPECT_EQ(shadow_of_last({{Kind::kAny, "", posts}, {Kind::kPrefix, "/a"}}), -1);
  EXPECT_EQ(shadow_of_last({{Kind::kAny, "", posts}, {Kind::kAny, "", {.methods = {"GET"}}}}), -1);
}

TEST(RouteShadows, ARouteWithConditionsIsTakenByOneWithoutAndByOneWithTheSame) {
  const RequestMatch one{.methods = {"POST", "PUT"}, .headers = {{"a", "1"}, {"b", "2"}}};
  const RequestMatch same{.methods = {"PUT", "POST"}, .headers = {{"b", "2"}, {"a", "1"}}};
  EXPECT_EQ(shadow_of_last({{Kind::kPrefix, "/a"}, {Kind::kExact, "/a/b", one}}), 0);
  EXPECT_EQ(shadow_of_last({{Kind::kPrefix, "/a", one}, {Kind::kExact, "/a/b", same}}), 0);
  EXPECT_EQ(shadow_of_last({{Kind::kPrefix, "/a", one}, {Kind::kPrefix, "/b", same}}), -1);
}

TEST(RouteShadows, ConditionsOfDifferentKindsAreDifferent) {
  const RequestMatch header{.headers = {{"a", "1"}}}, query{.query = {{"a", "1"}}};
  EXPECT_EQ(shadow_of_last({{Kind::kAny, "", header}, {Kind::kAny, "", query}}), -1);
  const RequestMatch two{.query = {{"a", "1\nb"}}}, one{.query = {{"a", "1"}, {"b", ""}}};
  EXPECT_EQ(shadow_of_last({{Kind::kAny, "", two}, {Kind::kAny, "", one}}), -1);
}

}  // namespace
}  // namespace gatehouse::daemon
