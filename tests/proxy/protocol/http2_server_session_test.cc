#include "proxy/protocol/http2_server_session.h"

#include <gtest/gtest.h>

#include "tests/support/http2_peer.h"

namespace gatehouse::proxy {
namespace {

TEST(Http2ServerSession, OffersItsLimitsInSettings) {
  ServerWorld world;
  const SeenFrame& first = world.seen.frames.at(0);
  ASSERT_EQ(first.head.type, FrameType::kSettings);
  EXPECT_EQ(first.payload, setting(3, 100) + setting(4, 256 * 1024) + setting(6, 64 * 1024) +
                               setting(8, 1) + setting(9, 1));
  EXPECT_EQ(world.seen.window_opened(0), 1024u * 1024 - 65535);
}

TEST(Http2ServerSession, TellsARequestAndItsToken) {
  ServerWorld world;
  world.begin();
  world.feed(get(1));
  EXPECT_EQ(world.transcript(), "request 1 GET https://a.example/ ended\n");
  EXPECT_EQ(world.heads.at(0).version, HttpVersion::kHttp2);
  world.respond(1, 200, "hello");
  world.flush();
  EXPECT_EQ(world.seen.heads_of(1), ":status: 200\ncontent-length: 5\n");
  EXPECT_EQ(world.seen.body_of(1), "hello");
  EXPECT_EQ(world.taken, 5u);
  EXPECT_EQ(world.log.back(), "closed 1 none");
  EXPECT_EQ(world.session.open_streams(), 0u);
}

TEST(Http2ServerSession, MovesTheHeadIntoTheFormOfTheContract) {
  ServerWorld world;
  world.begin();
  world.feed(headers(1,
                     {{":method", "POST"},
                      {":scheme", "HTTPS"},
                      {":authority", "A.Example:8443"},
                      {":path", "/a?b"},
                      {"host", "a.example:8443"},
                      {"cookie", "a=1"},
                      {"te", "trailers"},
                      {"cookie", "b=2"},
                      {"expect", "100-continue"},
                      {"content-length", "3"},
                      {"x", "y"}},
                     false));
  ASSERT_EQ(world.heads.size(), 1u);
  const RequestHead& head = world.heads[0];
  EXPECT_EQ(head.scheme, "https");
  EXPECT_EQ(head.authority, "a.example:8443");
  EXPECT_EQ(head.path, "/a?b");
  EXPECT_TRUE(head.te_trailers);
  EXPECT_TRUE(head.expects_continue);
  EXPECT_EQ(head.content_length, 3u);
  EXPECT_EQ(head.fields.find(Name::kCookie), "a=1; b=2");
  EXPECT_EQ(head.fields.count(Name::kCookie), 1u);
  EXPECT_FALSE(head.fields.has(Name::kHost));
  EXPECT_FALSE(head.fields.has(Name::kTe));
  EXPECT_FALSE(head.fields.has(Name::kExpect));
  EXPECT_EQ(head.fields.find(Name::kContentLength), "3");
}

TEST(Http2ServerSession, TakesHostWhenThereIsNoAuthority) {
  ServerWorld world;
  world.begin();
  world.feed(headers(
      1, {{":method", "GET"}, {":scheme", "https"}, {":path", "/"}, {"host", "h.example"}}));
  EXPECT_EQ(world.told("request 1 GET https://h.example/ ended"), 1u);
}

TEST(Http2ServerSession, DeliversBodyAndTrailers) {
  ServerWorld world;
  world.begin();
  world.feed(post(1) + data(1, "abc") + data(1, "def") +
             headers(1, {{"x-sum", "6"}, {"content-length", "6"}, {"host", "evil"}}));
  EXPECT_EQ(world.bodies, "abcdef");
  EXPECT_EQ(world.log.back(), "end 1 trailers x-sum=6;") << "framing fields are dropped";
}

TEST(Http2ServerSession, SendsInterimHeadBodyAndTrailers) {
  ServerWorld world;
  world.begin();
  world.feed(get(1));
  ResponseHead early;
  early.status = 103;
  early.fields.add("link", "</a>");
  world.session.send_interim(1, early);
  ResponseHead head;
  head.status = 200;
  world.session.send_response(1, head, false);
  world.flush();
  world.session.send_body(1, "late");
  world.flush();
  Fields trailers;
  trailers.add(Name::kGrpcStatus, "0");
  world.session.send_end(1, &trailers);
  world.flush();
  EXPECT_EQ(world.seen.heads_of(1), ":status: 103\nlink: </a>\n:status: 200\ngrpc-status: 0\n");
  EXPECT_EQ(world.seen.body_of(1), "late");
  EXPECT_EQ(world.log.back(), "closed 1 none");
}

TEST(Http2ServerSession, SendsTrailersBehindAnEmptyBody) {
  ServerWorld world;
  world.begin();
  world.feed(get(1));
  ResponseHead head;
  head.status = 200;
  world.session.send_response(1, head, false);
  Fields trailers;
  trailers.add(Name::kGrpcStatus, "5");
  world.session.send_end(1, &trailers);
  world.flush();
  EXPECT_EQ(world.seen.count(FrameType::kData), 0u);
  EXPECT_EQ(world.seen.heads_of(1), ":status: 200\ngrpc-status: 5\n");
  EXPECT_TRUE(world.seen.has_ended(1));
  EXPECT_EQ(world.told("closed 1 none"), 1u);
}

TEST(Http2ServerSession, TakesAResponseBackUntilOutputWasMade) {
  ServerWorld world;
  world.begin();
  world.feed(get(1));
  EXPECT_FALSE(world.session.take_back_response(1)) << "there is none";
  ResponseHead head;
  head.status = 200;
  world.session.send_response(1, head, false);
  world.session.send_body(1, "part");
  EXPECT_TRUE(world.session.take_back_response(1));
  head.status = 502;
  world.session.send_response(1, head, false);
  world.session.send_body(1, "sorry");
  world.session.send_end(1, nullptr);
  world.flush();
  EXPECT_EQ(world.seen.heads_of(1), ":status: 502\n");
  EXPECT_EQ(world.seen.body_of(1), "sorry");
  EXPECT_EQ(world.log.back(), "closed 1 none");
  world.feed(get(3));
  world.session.send_response(3, head, false);
  world.flush();
  EXPECT_FALSE(world.session.take_back_response(3));
}

TEST(Http2ServerSession, KeepsAWaitingHeadWhenItShrinks) {
  ServerWorld world;
  world.begin();
  world.feed(get(1));
  ResponseHead head;
  head.status = 200;
  world.session.send_response(1, head, true);
  world.session.shrink();
  world.flush();
  EXPECT_EQ(world.seen.heads_of(1), ":status: 200\n");
}

TEST(Http2ServerSession, EndsAResponseInItsHeadWhenTheEndCameInTime) {
  ServerWorld world;
  world.begin();
  world.feed(get(1));
  ResponseHead head;
  head.status = 200;
  world.session.send_response(1, head, false);
  world.session.send_end(1, nullptr);
  world.flush();
  EXPECT_EQ(world.seen.count(FrameType::kData), 0u);
  EXPECT_TRUE(world.seen.has_ended(1));
}

TEST(Http2ServerSession, WritesNoContentLengthWith204) {
  ServerWorld world;
  world.begin();
  world.feed(get(1));
  ResponseHead head;
  head.status = 204;
  head.content_length = 0;
  world.session.send_response(1, head, true);
  world.flush();
  EXPECT_EQ(world.seen.heads_of(1), ":status: 204\n");
}

TEST(Http2ServerSession, NeverSendsAFrameAbove16KiB) {
  ServerWorld world;
  world.begin();
  world.feed(settings(setting(5, 1 << 20) + setting(4, 1 << 20)) + window_update(0, 1 << 20) +
             get(1));
  world.respond(1, 200, std::string(100'000, 'x'));
  world.flush();
  for (const auto& seen : world.seen.frames) EXPECT_LE(seen.head.length, 16384u);
  EXPECT_EQ(world.seen.body_of(1).size(), 100'000u);
}

TEST(Http2ServerSession, StopsProducingAboutWhereItIsTold) {
  ServerWorld world;
  world.begin();
  world.feed(settings(setting(4, 1 << 20)) + window_update(0, 1 << 20) + get(1));
  world.respond(1, 200, std::string(500'000, 'x'));
  FlatBuffer out;
  EXPECT_TRUE(world.session.produce(out, 32 * 1024));
  EXPECT_GE(out.size(), 32u * 1024);
  EXPECT_LE(out.size(), 49u * 1024);
}

// ---- credit -----------------------------------------------------------------------------------

TEST(Http2ServerSession, OpensNoWindowBeforeBytesAreTaken) {
  ServerWorld world;
  world.acknowledges = false;
  world.begin();
  world.feed(post(1));
  const auto before = world.seen.window_opened(0);
  for (int i = 0; i < 16; ++i) world.feed(data(1, std::string(16384, 'x')));
  EXPECT_EQ(world.body_bytes, 256u * 1024);
  EXPECT_EQ(world.seen.window_opened(1), 0u);
  EXPECT_EQ(world.seen.window_opened(0), before);
  world.session.acknowledge(1, 200 * 1024);
  world.flush();
  EXPECT_EQ(world.seen.window_opened(1), 200u * 1024);
}

TEST(Http2ServerSession, EndsAStreamThatExceedsItsWindow) {
  ServerWorld world;
  world.acknowledges = false;
  world.begin();
  world.feed(post(1));
  for (int i = 0; i < 16; ++i) world.feed(data(1, std::string(16384, 'x')));
  world.feed(data(1, "x"));
  EXPECT_TRUE(world.seen.reset_of(1) == Http2Error::kFlowControl ||
              world.seen.goaway() == Http2Error::kFlowControl);
}

TEST(Http2ServerSession, GivesTheConnectionItsCreditBackWhenAStreamDies) {
  ServerWorld world;
  world.acknowledges = false;
  world.begin();
  const auto before = world.seen.window_opened(0);
  for (StreamId id = 1; id < 40; id += 2) {
    world.feed(post(id));
    for (int i = 0; i < 15; ++i) world.feed(data(id, std::string(16384, 'x')));
    world.feed(rst(id));
  }
  EXPECT_EQ(world.body_bytes, 20u * 15 * 16384) << "the connection's window stayed shut";
  EXPECT_GT(world.seen.window_opened(0), before + 4 * 1024 * 1024);
}

TEST(Http2ServerSession, ConsumesAtOnceWhatNobodyWants) {
  ServerWorld world;
  world.acknowledges = false;
  world.begin();
  const auto before = world.seen.window_opened(0);
  world.feed(post(1));
  world.session.reset(1, Reset::kCancel);
  world.flush();
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(world.feed(data(1, std::string(16384, 'x'))));
  EXPECT_EQ(world.body_bytes, 0u);
  EXPECT_GE(world.seen.window_opened(0), before + 2'500'000u);
}

TEST(Http2ServerSession, IgnoresAcknowledgementsBeyondWhatCame) {
  ServerWorld world;
  world.acknowledges = false;
  world.begin();
  world.feed(post(1) + data(1, "abc"));
  world.session.acknowledge(1, 1u << 30);
  world.session.acknowledge(1, 1u << 30);
  world.flush();
  EXPECT_EQ(world.seen.window_opened(1), 0u);
}

// ---- ends of streams --------------------------------------------------------------------------

TEST(Http2ServerSession, TellsThatThePeerCancelled) {
  ServerWorld world;
  world.begin();
  world.feed(get(1) + rst(1));
  EXPECT_EQ(world.transcript(), "request 1 GET https://a.example/ ended\nclosed 1 cancel\n");
}

TEST(Http2ServerSession, MapsItsOwnResetsToCodes) {
  const std::pair<Reset, Http2Error> rows[] = {
      {Reset::kCancel, Http2Error::kCancel},         {Reset::kTimeout, Http2Error::kCancel},
      {Reset::kRefused, Http2Error::kRefusedStream}, {Reset::kInternal, Http2Error::kInternal},
      {Reset::kOverflow, Http2Error::kInternal},     {Reset::kProtocol, Http2Error::kProtocol},
      {Reset::kCalm, Http2Error::kEnhanceYourCalm},  {Reset::kNoError, Http2Error::kNoError}};
  for (const auto& [reason, code] : rows) {
    ServerWorld world;
    world.begin();
    world.feed(get(1));
    world.session.reset(1, reason);
    world.session.reset(1, Reset::kCancel);
    world.flush();
    EXPECT_EQ(world.seen.reset_of(1), code) << to_string(reason);
    EXPECT_EQ(world.log.back(), "closed 1 " + std::string(to_string(reason)));
    EXPECT_EQ(world.log.size(), 2u);
  }
}

TEST(Http2ServerSession, CutsABodyWithAResetAndNeverEndsIt) {
  ServerWorld world;
  world.begin();
  world.feed(get(1));
  ResponseHead head;
  head.status = 200;
  world.session.send_response(1, head, false);
  world.session.send_body(1, "part");
  world.flush();
  world.session.reset(1, Reset::kInternal);
  world.flush();
  EXPECT_FALSE(world.seen.has_ended(1));
  EXPECT_EQ(world.seen.reset_of(1), Http2Error::kInternal);
}

TEST(Http2ServerSession, ResetsWithNoErrorWhenTheResponseComesFirst) {
  ServerWorld world;
  world.begin();
  world.feed(post(1) + data(1, "part"));
  world.respond(1, 413, "too much");
  world.flush();
  EXPECT_TRUE(world.seen.has_ended(1));
  EXPECT_EQ(world.seen.reset_of(1), Http2Error::kNoError);
  EXPECT_EQ(world.log.back(), "closed 1 none");
  EXPECT_TRUE(world.feed(data(1, "late") + get(3))) << "what crossed the reset is no error";
  EXPECT_EQ(world.told("request 3 GET https://a.example/ ended"), 1u);
}

// The head of an answer that ends with it has just gone out; the NO_ERROR behind it has not.
TEST(Http2ServerSession, TellsNoEndOfABodyThatItDropped) {
  for (const bool has_trailers : {false, true}) {
    ServerWorld world;
    world.begin();
    world.feed(post(1) + data(1, "part", false));
    world.respond(1, 200);
    FlatBuffer out;
    EXPECT_TRUE(world.session.produce(out, 1));
    world.feed(data(1, "dropped", false) +
               (has_trailers ? headers(1, {{"x", "y"}}) : data(1, "this, too", true)));
    EXPECT_EQ(world.bodies, "part");
    EXPECT_EQ(world.transcript().find("end 1"), std::string::npos) << world.transcript();
  }
}

TEST(Http2ServerSession, FailsOpenStreamsOnceWhenTheConnectionGoes) {
  ServerWorld world;
  world.begin();
  world.feed(get(1) + post(3));
  world.session.on_end_of_input();
  world.session.on_connection_lost();
  world.session.on_connection_lost();
  EXPECT_EQ(world.told("closed 1 connection_lost"), 1u);
  EXPECT_EQ(world.told("closed 3 connection_lost"), 1u);
  EXPECT_EQ(world.log.size(), 4u);
  EXPECT_TRUE(world.session.is_finished());
  world.respond(1, 200, "dead id");
  world.session.reset(3, Reset::kCancel);
  FlatBuffer out;
  EXPECT_FALSE(world.session.produce(out, 1000));
  EXPECT_TRUE(out.empty());
}

TEST(Http2ServerSession, FailsOpenStreamsOnceAfterAnErrorOfTheConnection) {
  ServerWorld world;
  world.begin();
  world.feed(get(1) + frame(FrameType::kData, 0, 0, "x"));
  EXPECT_EQ(world.seen.goaway(), Http2Error::kProtocol);
  EXPECT_EQ(world.told("closed 1 connection_lost"), 1u);
  world.session.on_connection_lost();
  EXPECT_EQ(world.log.size(), 2u);
  EXPECT_TRUE(world.session.is_finished());
  EXPECT_FALSE(world.feed(get(3)));
}

TEST(Http2ServerSession, MayBeDestroyedWithOpenStreams) {
  auto world = std::make_unique<ServerWorld>();
  world->begin();
  world->feed(get(1) + post(3) + data(3, "abc"));
  world->respond(1, 200, std::string(300'000, 'x'));
  world->flush();
  const std::size_t told = world->log.size();
  EXPECT_EQ(world->session.open_streams(), 2u);
  EXPECT_EQ(told, 2u);
  world.reset();  // The sanitizers judge.
}

// ---- GOAWAY -----------------------------------------------------------------------------------

TEST(Http2ServerSession, DrainsInTwoSteps) {
  ServerWorld world;
  world.begin();
  world.feed(get(1));
  world.session.drain();
  world.flush();
  EXPECT_EQ(world.seen.last(FrameType::kGoaway)->number(0), 0x7fffffffu);
  world.feed(get(3));
  EXPECT_EQ(world.told("request 3 GET https://a.example/ ended"), 1u) << "it is served still";
  world.session.drain();
  world.flush();
  EXPECT_EQ(world.seen.last(FrameType::kGoaway)->number(0), 3u);
  EXPECT_EQ(world.seen.goaway(), Http2Error::kNoError);
  EXPECT_TRUE(world.feed(get(5) + data(5, ""))) << "late, but not wrong";
  EXPECT_EQ(world.told("request 5 GET https://a.example/ ended"), 0u);
  EXPECT_FALSE(world.session.is_finished());
  world.respond(1, 200, "ok");
  world.respond(3, 200, "ok");
  world.flush();
  EXPECT_TRUE(world.session.is_finished());
}

TEST(Http2ServerSession, EndsAConnectionThatStopsInsideAFrame) {
  ServerWorld world;
  world.begin();
  EXPECT_FALSE(world.session.is_mid_head());
  world.feed(get(1).substr(0, 5));
  EXPECT_TRUE(world.session.is_mid_head());
  world.session.time_out_head();
  world.flush();
  EXPECT_EQ(world.seen.goaway(), Http2Error::kEnhanceYourCalm);
  EXPECT_EQ(world.session.offences().exceeded(), Offence::kHeadTimeout);
}

TEST(Http2ServerSession, IsMidHeadBetweenHeadersAndContinuation) {
  ServerWorld world;
  world.begin();
  world.feed(frame(FrameType::kHeaders, kEndStream, 1, header_block(get_fields())));
  EXPECT_TRUE(world.session.is_mid_head());
  world.feed(frame(FrameType::kContinuation, kEndHeaders, 1, ""));
  EXPECT_FALSE(world.session.is_mid_head());
  EXPECT_EQ(world.told("request 1 GET https://a.example/ ended"), 1u);
}

TEST(Http2ServerSession, IsMidHeadBesideOpenStreamsButNotInsideTheirData) {
  ServerWorld world;
  world.begin();
  world.feed(post(1));
  EXPECT_FALSE(world.session.is_mid_head());
  world.feed(data(1, "some bytes").substr(0, 12));
  EXPECT_FALSE(world.session.is_mid_head()) << "a slow body is judged by its rate";
  world.feed(data(1, "some bytes").substr(12));
  const auto number = world.session.head_number();
  world.feed(frame(FrameType::kHeaders, kEndStream, 3, header_block(get_fields())));
  EXPECT_TRUE(world.session.is_mid_head());
  EXPECT_GT(world.session.head_number(), number);
}

TEST(Http2ServerSession, RefusesABadPreface) {
  ServerWorld world;
  EXPECT_FALSE(world.feed("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
  EXPECT_EQ(world.seen.goaway(), Http2Error::kProtocol);
  EXPECT_TRUE(world.session.is_finished());
}

TEST(Http2ServerSession, GivesMemoryBackWhenIdle) {
  ServerWorld world;
  world.answers = true;
  world.begin();
  world.feed(get(1));
  EXPECT_GT(world.session.memory().resident_page_bytes(), 0u);
  world.session.shrink();
  EXPECT_EQ(world.session.memory().resident_page_bytes(), 0u);
  EXPECT_LE(world.session.memory().heap_bytes(), 8u * 1024);
  world.feed(get(3));
  EXPECT_EQ(world.seen.body_of(3), "ok");
}

}  // namespace
}  // namespace gatehouse::proxy
