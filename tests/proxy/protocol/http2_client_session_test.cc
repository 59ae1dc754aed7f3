#include "proxy/protocol/http2_client_session.h"

#include <gtest/gtest.h>

#include "tests/support/http2_peer.h"

namespace gatehouse::proxy {
namespace {

std::string status(StreamId id, std::string code, bool ended = true, FieldList more = {}) {
  FieldList fields = {{":status", code}};
  fields.insert(fields.end(), more.begin(), more.end());
  return headers(id, fields, ended);
}
std::string goaway(StreamId last, Http2Error error = Http2Error::kNoError) {
  return frame(FrameType::kGoaway, 0, 0,
               big_endian(last, 4) + big_endian(static_cast<std::uint32_t>(error), 4));
}

TEST(Http2ClientSession, BeginsWithPrefaceAndSettings) {
  Limits limits;
  FakeClock clock;
  ClientWorld world;
  Http2ClientSession session(limits, clock, world, "https");
  FlatBuffer out;
  session.produce(out, 1000);
  EXPECT_TRUE(out.view().starts_with(kPreface));
  EXPECT_EQ(world.seen.frames.at(0).payload.substr(0, 6), setting(2, 0)) << "no push";
}

TEST(Http2ClientSession, WritesARequestHead) {
  ClientWorld world;
  world.begin();
  RequestHead head;
  head.method = "PUT";
  head.scheme = "http";
  head.authority = "b.example:81";
  head.path = "/x?y";
  head.fields.add("x-a", "1");
  head.content_length = 2;
  head.te_trailers = head.expects_continue = true;
  const StreamId id = world.session.send_request(head, false, 7);
  world.session.send_body(id, "hi");
  world.session.send_end(id, nullptr);
  world.flush();
  EXPECT_EQ(world.seen.heads_of(id),
            ":method: PUT\n:scheme: https\n:authority: b.example:81\n:path: /x?y\nx-a: 1\n"
            "content-length: 2\nte: trailers\nexpect: 100-continue\n");
  EXPECT_EQ(world.seen.body_of(id), "hi");
  EXPECT_TRUE(world.seen.has_ended(id));
  EXPECT_EQ(world.taken, 2u);
}

TEST(Http2ClientSession, TellsAWholeResponse) {
  ClientWorld world;
  world.begin();
  world.send(7);
  world.flush();
  world.feed(status(1, "103", false, {{"link", "x"}}) + status(1, "200", false) + data(1, "abc") +
             headers(1, {{"grpc-status", "0"}}));
  EXPECT_EQ(world.transcript(), "interim 7 103\nresponse 7 200\nend 7 trailers grpc-status=0;\n");
  EXPECT_EQ(world.bodies, "abc");
  EXPECT_EQ(world.session.open_streams(), 0u);
}

TEST(Http2ClientSession, TellsTheEndOfABodilessResponseToo) {
  ClientWorld world;
  world.begin();
  world.send(7);
  world.flush();
  world.feed(status(1, "204"));
  EXPECT_EQ(world.transcript(), "response 7 204 ended\nend 7\n");
}

TEST(Http2ClientSession, OpensNoWindowBeforeBytesAreTaken) {
  ClientWorld world;
  world.begin();
  world.send(7);
  world.flush();
  world.feed(status(1, "200", false));
  for (int i = 0; i < 4; ++i) world.feed(data(1, std::string(16384, 'x')));
  EXPECT_EQ(world.seen.window_opened(1), 0u);
  world.session.acknowledge(1, 60 * 1024);
  world.flush();
  EXPECT_EQ(world.seen.window_opened(1), 60u * 1024);
}

TEST(Http2ClientSession, DoublesTheWindowOfAResponseThatIsTaken) {
  ClientWorld world;
  world.begin();
  world.send(7);
  world.flush();
  world.feed(status(1, "200", false));
  std::uint64_t taken = 0;
  for (std::uint64_t window : {128u, 256u, 256u}) {
    for (int i = 0; i < 8; ++i) {
      world.feed(data(1, std::string(8192, 'x')));
      world.session.acknowledge(1, 8192);
      taken += 8192;
    }
    world.flush();
    // Some of it may wait for half a window.
    EXPECT_LE(65536 + world.seen.window_opened(1), taken + window * 1024);
    EXPECT_GE(65536 + world.seen.window_opened(1), taken + window * 512);
  }
}

TEST(Http2ClientSession, LetsNoStreamStopTheOthersOfItsConnection) {
  ClientWorld world;
  world.begin();
  EXPECT_EQ(65535 + world.seen.window_opened(0), 0x7fffffffu);
}

TEST(Http2ClientSession, CountsCapacityByThePeersSettings) {
  ClientWorld world;
  EXPECT_EQ(world.session.capacity(), 100u);
  EXPECT_FALSE(world.session.is_ready());
  world.feed(settings(setting(3, 2)));
  EXPECT_TRUE(world.session.is_ready());
  EXPECT_EQ(world.session.capacity(), 2u);
  world.send(1);
  world.send(2);
  EXPECT_EQ(world.session.capacity(), 0u);
  world.flush();
  world.feed(status(1, "200"));
  EXPECT_EQ(world.session.capacity(), 1u);
}

TEST(Http2ClientSession, MayRetryARefusedStream) {
  ClientWorld world;
  world.begin();
  world.send(7);
  world.flush();
  world.feed(rst(1, Http2Error::kRefusedStream));
  EXPECT_EQ(world.transcript(), "failed 7 refused remote_reset retryable\n");
}

TEST(Http2ClientSession, MayRetryWhatIsAboveTheLastIdOfGoaway) {
  ClientWorld world;
  world.begin();
  world.send(7);
  world.send(8);
  world.flush();
  world.feed(goaway(1));
  EXPECT_EQ(world.transcript(), "failed 8 refused refused_stream retryable\n");
  EXPECT_FALSE(world.session.is_reusable());
  EXPECT_EQ(world.session.capacity(), 0u);
  world.feed(status(1, "200"));
  EXPECT_EQ(world.told("end 7"), 1u);
  EXPECT_TRUE(world.session.is_finished());
}

TEST(Http2ClientSession, SaysWhetherALostRequestWasSent) {
  ClientWorld world;
  world.begin();
  world.send(7);
  world.flush();
  world.send(8);
  world.session.on_connection_lost();
  world.session.on_connection_lost();
  EXPECT_EQ(world.transcript(),
            "failed 7 connection_lost connection_lost sent\n"
            "failed 8 connection_lost connection_lost retryable\n");
}

TEST(Http2ClientSession, TakesTheRestOfAWholeAnswerAsTheEnd) {
  ClientWorld world;
  world.begin();
  const StreamId id = world.send(7, false);
  world.session.send_body(id, "part");
  world.flush();
  world.feed(status(1, "200") + rst(1, Http2Error::kNoError));
  EXPECT_EQ(world.transcript(), "response 7 200 ended\nend 7\n");
  EXPECT_EQ(world.session.open_streams(), 0u);
}

TEST(Http2ClientSession, EndsARequestThatIsNotWantedAnyMore) {
  ClientWorld world;
  world.begin();
  world.send(7, false);
  world.flush();
  world.feed(status(1, "200"));
  EXPECT_EQ(world.seen.reset_of(1), Http2Error::kCancel);
  EXPECT_EQ(world.session.open_streams(), 0u);
}

TEST(Http2ClientSession, TellsNothingMoreAfterItsOwnReset) {
  ClientWorld world;
  world.begin();
  world.send(7);
  world.flush();
  world.session.reset(1, Reset::kCancel);
  world.feed(status(1, "200", false) + data(1, "x", true));
  EXPECT_EQ(world.seen.reset_of(1), Http2Error::kCancel);
  EXPECT_EQ(world.transcript(), "");
  EXPECT_EQ(world.session.open_streams(), 0u);
}

TEST(Http2ClientSession, ForgetsARequestThatWasResetBeforeItWentOut) {
  ClientWorld world;
  world.begin();
  world.send(7);
  world.session.reset(1, Reset::kCancel);
  world.flush();
  EXPECT_EQ(world.transcript(), "");
  EXPECT_EQ(world.session.open_streams(), 0u);
  EXPECT_EQ(world.session.capacity(), 1024u) << "the peer sets no bound, we do";
  world.send(8);
  world.flush();
  world.feed(status(3, "200"));
  EXPECT_EQ(world.told("end 8"), 1u);
}

struct Row {
  const char* why;
  std::string frames;
};

TEST(Http2ClientSession, FailsStreamsOfMalformedResponses) {
  const Row rows[] = {
      {"no status", headers(1, {{"x", "y"}})},
      {"101", status(1, "101", false)},
      {"000", status(1, "000")},
      {"four digits", status(1, "2000")},
      {"not a number", status(1, "2x0")},
      {"two statuses", headers(1, {{":status", "200"}, {":status", "200"}})},
      {"request pseudo", headers(1, {{":status", "200"}, {":path", "/"}})},
      {"connection", status(1, "200", true, {{"connection", "close"}})},
      {"transfer-encoding", status(1, "200", true, {{"transfer-encoding", "chunked"}})},
      {"CRLF", status(1, "200", true, {{"x", "a\r\nb"}})},
      {"NUL", status(1, "200", true, {{"x", std::string("a\0b", 3)}})},
      {"upper case", status(1, "200", true, {{"X", "y"}})},
      {"bad name", status(1, "200", true, {{"x y", "y"}})},
      {"two lengths", status(1, "200", false, {{"content-length", "1"}, {"content-length", "1"}})},
      {"negative length", status(1, "200", false, {{"content-length", "-5"}})},
      {"interim that ends", status(1, "103")},
      {"length not reached",
       status(1, "200", false, {{"content-length", "5"}}) + data(1, "abc", true)},
      {"length exceeded", status(1, "200", false, {{"content-length", "1"}}) + data(1, "abc")},
      {"body with 204", status(1, "204", false) + data(1, "abc")},
      {"pseudo in trailers", status(1, "200", false) + headers(1, {{":status", "200"}})},
      {"17 interim responses", [] {
         std::string all;
         for (int i = 0; i < 17; ++i) all += status(1, "103", false);
         return all;
       }()}};
  for (const Row& row : rows) {
    SCOPED_TRACE(row.why);
    ClientWorld world;
    world.begin();
    world.send(7);
    world.flush();
    EXPECT_TRUE(world.feed(row.frames));
    ASSERT_FALSE(world.log.empty());
    EXPECT_TRUE(world.log.back().starts_with("failed 7 protocol ")) << world.transcript();
    EXPECT_TRUE(world.log.back().ends_with(" sent"));
    EXPECT_EQ(world.told("end 7"), 0u);
    EXPECT_EQ(world.session.open_streams(), 0u);
    EXPECT_TRUE(world.session.is_reusable());
  }
}

TEST(Http2ClientSession, BoundsTheHeadOfAResponse) {
  Limits limits;
  limits.response_header_bytes = 10'000;
  ClientWorld world(limits);
  world.begin();
  world.send(7);
  world.flush();
  world.feed(status(1, "200", true, {{"x", std::string(11'000, 'a')}}));
  EXPECT_EQ(world.transcript(), "failed 7 overflow response_head_too_large sent\n");
}

TEST(Http2ClientSession, TakesAResponseHeadOf200KiB) {
  ClientWorld world;
  world.begin();
  world.send(7);
  world.flush();
  std::string all = frame(FrameType::kHeaders, kEndStream, 1, header_block({{":status", "200"}}));
  for (int i = 0; i < 13; ++i)
    all += frame(FrameType::kContinuation, i == 12 ? kEndHeaders : 0, 1,
                 header_block({{"x", std::string(16'000, 'a')}}));
  world.feed(all);
  EXPECT_EQ(world.told("end 7"), 1u);
}

TEST(Http2ClientSession, SurvivesNoFloodOfABackend) {
  for (const std::string& flood : {ping(), settings(), window_update(0, 1)}) {
    ClientWorld world;
    world.begin();
    world.send(7);
    world.flush();
    int taken = 0;
    while (taken < 3000 && world.feed(flood)) ++taken;
    EXPECT_LE(taken, 2000);
    EXPECT_EQ(world.seen.goaway(), Http2Error::kEnhanceYourCalm);
    EXPECT_EQ(world.told("failed 7 connection_lost connection_error sent"), 1u);
  }
}

TEST(Http2ClientSession, RefusesPush) {
  ClientWorld world;
  world.begin();
  world.send(7);
  world.flush();
  world.feed(frame(FrameType::kPushPromise, kEndHeaders, 1,
                   big_endian(2, 4) + header_block(get_fields())));
  EXPECT_EQ(world.seen.goaway(), Http2Error::kProtocol);
}

TEST(Http2ClientSession, MayBeDestroyedWithOpenStreams) {
  auto world = std::make_unique<ClientWorld>();
  world->begin();
  const StreamId id = world->send(7, false);
  world->session.send_body(id, std::string(300'000, 'x'));
  world->flush();
  EXPECT_EQ(world->session.open_streams(), 1u);
  world.reset();  // The sanitizers judge.
}

}  // namespace
}  // namespace gatehouse::proxy
