#include "proxy/routing/path_rewrite.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

TEST(PathRewrite, APrefixIsReplacedByWholeSegments) {
  EXPECT_EQ(replace_prefix("/api/x", "/api", "/v2"), "/v2/x");
  EXPECT_EQ(replace_prefix("/api", "/api", "/v2"), "/v2");
  EXPECT_EQ(replace_prefix("/api/", "/api", "/v2"), "/v2/");
  EXPECT_EQ(replace_prefix("/api/x", "/api", "/v2/"), "/v2/x");
  EXPECT_EQ(replace_prefix("/api", "/api", "/v2/"), "/v2/");
  EXPECT_EQ(replace_prefix("/x", "", "/v2"), "/v2/x");
  EXPECT_EQ(replace_prefix("/", "", "/v2"), "/v2/");
}

TEST(PathRewrite, ASlashStripsThePrefix) {
  EXPECT_EQ(replace_prefix("/api/x/y", "/api", "/"), "/x/y");
  EXPECT_EQ(replace_prefix("/api", "/api", "/"), "/");
  EXPECT_EQ(replace_prefix("/api/", "/api", "/"), "/");
}

TEST(PathRewrite, TheQueryAndEveryEscapeIsKept) {
  EXPECT_EQ(replace_prefix("/api?a=/api", "/api", "/"), "/?a=/api");
  EXPECT_EQ(replace_prefix("/api/%2F//;x?y", "/api", "/v2"), "/v2/%2F//;x?y");
  EXPECT_EQ(replace_path("/a/b?c=d", "/x"), "/x?c=d");
  EXPECT_EQ(replace_path("/a/b", "/x%2Fy"), "/x%2Fy");
}

TEST(PathRewrite, ANewPathIsAbsoluteAndInNormalForm) {
  EXPECT_EQ(replace_path("/a", "x"), "/x");
  EXPECT_EQ(replace_path("/a?q", ""), "/?q");
  EXPECT_EQ(replace_path("/a./b?q=/../", "/x/../y"), "/y?q=/../");
  EXPECT_EQ(replace_path("/a", "/%2e%2e/x"), "/x");
}

}  // namespace
}  // namespace gatehouse::proxy
