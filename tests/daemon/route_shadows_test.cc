#include "daemon/route_shadows.h"

#include <gtest/gtest.h>

namespace gatehouse::daemon {
namespace {

using proxy::PathMatch;
using Kind = proxy::PathMatch::Kind;

/// The index that shadows the last of the matches; -1: none.
int shadow_of_last(const std::vector<PathMatch>& matches) {
  RouteShadows shadows;
  std::optional<std::size_t> by;
  for (const PathMatch& match : matches) by = shadows.add(match);
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

}  // namespace
}  // namespace gatehouse::daemon
