#include "proxy/protocol/local_reply.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

TEST(LocalReply, IsPlainTextOfKnownLength) {
  const LocalReply reply = make_local_reply(404, {}, false);
  EXPECT_EQ(reply.head.status, 404);
  EXPECT_EQ(reply.body, "Not Found\n");
  EXPECT_EQ(reply.head.content_length, reply.body.size());
  EXPECT_EQ(reply.head.fields.find(Name::kContentLength), "10");
  EXPECT_EQ(reply.head.fields.find(Name::kContentType), "text/plain; charset=utf-8");
}

TEST(LocalReply, NobodyHealthyIsSaidAsEnvoySaysIt) {
  EXPECT_EQ(make_local_reply(503, {}, false).body, "no healthy upstream");
}

TEST(LocalReply, GivenBodyReplacesTheText) {
  EXPECT_EQ(make_local_reply(502, "why", false).body, "why");
}

TEST(LocalReply, EveryStatusOfOursHasAText) {
  for (const int status : {400, 404, 408, 413, 414, 417, 421, 431, 500, 501, 502, 503, 504, 505}) {
    EXPECT_FALSE(reason_of(status).empty()) << status;
    EXPECT_FALSE(make_local_reply(status, {}, false).body.empty()) << status;
  }
  EXPECT_EQ(make_local_reply(599, {}, false).body, "599\n");
}

TEST(LocalReply, StatusWithoutABodyHasNoLength) {
  const LocalReply reply = make_local_reply(204, {}, false);
  EXPECT_TRUE(reply.body.empty());
  EXPECT_TRUE(reply.head.fields.empty());
}

TEST(LocalReply, GrpcGetsTrailersOnly) {
  const LocalReply reply = make_local_reply(503, {}, true);
  EXPECT_EQ(reply.head.status, 200);
  EXPECT_TRUE(reply.body.empty());
  EXPECT_EQ(reply.head.fields.find(Name::kContentType), "application/grpc");
  EXPECT_EQ(reply.head.fields.find(Name::kGrpcStatus), "14");
  EXPECT_EQ(reply.head.fields.find(Name::kGrpcMessage), "no healthy upstream");
}

TEST(LocalReply, GrpcStatusFollowsGrpcsTable) {
  EXPECT_EQ(grpc_status_of(400), 13);
  EXPECT_EQ(grpc_status_of(401), 16);
  EXPECT_EQ(grpc_status_of(403), 7);
  EXPECT_EQ(grpc_status_of(404), 12);
  for (const int status : {429, 502, 503, 504}) EXPECT_EQ(grpc_status_of(status), 14);
  EXPECT_EQ(grpc_status_of(418), 2);
}

TEST(LocalReply, GrpcMessageIsPercentEncoded) {
  EXPECT_EQ(encode_grpc_message("50% of \xc3\xa4\n"), "50%25 of %C3%A4%0A");
}

TEST(LocalReply, RedirectHasALocationAndNoBody) {
  const LocalReply reply = make_redirect(308, "https://a/b");
  EXPECT_EQ(reply.head.status, 308);
  EXPECT_EQ(reply.head.fields.find(Name::kLocation), "https://a/b");
  EXPECT_EQ(reply.head.content_length, 0u);
  EXPECT_TRUE(reply.body.empty());
}

}  // namespace
}  // namespace gatehouse::proxy
