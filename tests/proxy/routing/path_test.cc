#include "proxy/routing/path.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace gatehouse::proxy {
namespace {

/// What goes on to routing: the rewritten form, the target itself, or "400".
std::string normal(std::string_view target) {
  std::string room = "left over";
  switch (normalise_path(target, room)) {
    case PathForm::kNormal: return std::string(target);
    case PathForm::kRewritten: return room;
    case PathForm::kRefused: return "400";
  }
  return "?";
}

struct Case {
  std::string_view target, expected;
};

TEST(Path, RemovesDotSegments) {
  for (const auto& [target, expected] : std::vector<Case>{
           {"/a/b/c/./../../g", "/a/g"},  // RFC 3986 section 5.2.4
           {"/./a", "/a"},
           {"/a/.", "/a/"},
           {"/a/./", "/a/"},
           {"/a/..", "/"},
           {"/a/../", "/"},
           {"/a/b/..", "/a/"},
           {"/a/b/../c", "/a/c"},
           {"/.", "/"},
           {"/a/../../b", "/b"},
       })
    EXPECT_EQ(normal(target), expected) << target;
}

TEST(Path, RemovesDotSegmentsThatAreWrittenAsEscapes) {
  for (const auto& [target, expected] : std::vector<Case>{
           {"/a/%2e%2e/b", "/b"},
           {"/a/%2E%2E/b", "/b"},
           {"/a/.%2e/b", "/b"},
           {"/a/%2E./b", "/b"},
           {"/a/%2e/b", "/a/b"},
           {"/a/%2e%2E", "/"},
       })
    EXPECT_EQ(normal(target), expected) << target;
}

TEST(Path, NeverClimbsAboveTheRoot) {
  for (const std::string_view target : {"/..", "/../", "/../..", "/%2e%2e/%2e%2e", "/a/../../.."})
    EXPECT_EQ(normal(target), "/") << target;
  EXPECT_EQ(normal("/../../etc/passwd"), "/etc/passwd");
}

TEST(Path, KeepsWhatOnlyLooksLikeADotSegment) {
  for (const std::string_view target :
       {"/.well-known/x", "/...", "/..a", "/a..", "/.a", "/%2e%2ea", "/..;/a", "/%2ehidden", "/%2",
        "/%", "/a%2e", "/..%2f", "/%2e%", "/.%2"})
    EXPECT_EQ(normal(target), target);
}

TEST(Path, KeepsEmptySegments) {
  for (const auto& [target, expected] : std::vector<Case>{
           {"//", "//"},
           {"//a//b//", "//a//b//"},
           {"/a//../b", "/a/b"},  // ".." removes the empty one
           {"//./a", "//a"},
           {"/a/..//b", "//b"},
       })
    EXPECT_EQ(normal(target), expected) << target;
}

TEST(Path, KeepsEveryOtherByteAndEscape) {
  for (const std::string_view target : {"/a%2Fb", "/a%2fb/c", "/%5C", "/%5c..", "/%zz", "/%00",
                                        "/caf\xc3\xa9", "/a\xff", "/;x=1", "/~!$&'()*+,=:@"})
    EXPECT_EQ(normal(target), target);
  EXPECT_EQ(normal("/a%2Fb/../c%5C"), "/c%5C");
}

TEST(Path, RefusesABackslash) {
  for (const std::string_view target : {"/\\", "/a\\..\\b", "/a/..\\", "/a/../\\", "/\\?x"})
    EXPECT_EQ(normal(target), "400") << target;
}

TEST(Path, LeavesTheQueryAlone) {
  EXPECT_EQ(normal("/a?x=/../\\"), "/a?x=/../\\");
  EXPECT_EQ(normal("/a/../b?x=/../y?z"), "/b?x=/../y?z");
  EXPECT_EQ(normal("/a/..?"), "/?");
}

TEST(Path, LetsTheAsteriskOfOptionsThrough) { EXPECT_EQ(normal("*"), "*"); }

TEST(Path, ANormalPathIsNotRewritten) {
  std::string room;
  EXPECT_EQ(normalise_path("/api/v1/items?x=1", room), PathForm::kNormal);
  EXPECT_EQ(normalise_path("/.well-known/acme-challenge/x", room), PathForm::kNormal);
  EXPECT_EQ(normalise_path("/a/./b", room), PathForm::kRewritten);
}

TEST(Path, NormalisingTwiceChangesNothingMore) {
  // Every path of up to six pieces from a small alphabet of trouble.
  const std::vector<std::string> pieces = {"/", ".", "%2e", "a", "%2F"};
  std::vector<std::string> paths = {"/"};
  for (std::size_t from = 0, length = 0; length < 6; ++length) {
    const std::size_t to = paths.size();
    for (; from < to; ++from)
      for (const auto& piece : pieces) paths.push_back(paths[from] + piece);
  }
  for (const auto& path : paths) {
    const std::string once = normal(path);
    std::string room;
    ASSERT_EQ(normalise_path(once, room), PathForm::kNormal) << path << " became " << once;
    ASSERT_EQ(once.front(), '/') << path;
    ASSERT_EQ(once.find("/../"), once.npos) << path;
  }
}

TEST(Path, PathOfEndsAtTheFirstQuestionMark) {
  EXPECT_EQ(path_of("/a?b?c"), "/a");
  EXPECT_EQ(path_of("/a"), "/a");
  EXPECT_EQ(path_of("/?"), "/");
}

}  // namespace
}  // namespace gatehouse::proxy
