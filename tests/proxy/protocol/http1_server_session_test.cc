#include "proxy/protocol/http1_server_session.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/support/fake_clock.h"
#include "tests/support/http1_scripts.h"

namespace gatehouse::proxy {
namespace {

constexpr std::string_view kDate = "date: Sat, 01 Aug 2026 10:00:00 GMT\r\n";
constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

ResponseHead response(int status, std::optional<std::uint64_t> length = std::nullopt) {
  ResponseHead head;
  head.status = status;
  head.content_length = length;
  if (length) head.fields.add(Name::kContentLength, std::to_string(*length));
  return head;
}

class Http1Server : public testing::Test {
 protected:
  Http1Server() { start(); }
  ~Http1Server() override {
    session.reset();
    EXPECT_EQ(Buffer::blocks_in_use(), blocks_before_);
  }
  void start(std::string_view scheme = "https") {
    session = std::make_unique<Http1ServerSession>(limits, clock, events, scheme);
  }
  bool feed(std::string_view bytes) { return session->feed(bytes); }
  std::string produced() { return produce_all(*session); }
  /// Answers the open request with a body of known length.
  std::string answer(std::string_view body) {
    session->send_response(events.last, response(200, body.size()), body.empty());
    if (!body.empty()) {
      session->send_body(events.last, body);
      session->send_end(events.last, nullptr);
    }
    return produced();
  }

  const std::size_t blocks_before_ = Buffer::blocks_in_use();
  Limits limits;
  FakeClock clock;
  RecordingServer events;
  std::unique_ptr<Http1ServerSession> session;
};

// ---- heads and framing ------------------------------------------------------------------------

TEST_F(Http1Server, RequestIsToldWithTheConnectionsScheme) {
  EXPECT_TRUE(feed("GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(events.log, "request GET https://b/x ended\n");
}

TEST_F(Http1Server, ResponseOfKnownLengthHasOneLengthAndADate) {
  feed(kGet);
  EXPECT_EQ(answer("hello"),
            "HTTP/1.1 200 OK\r\n" + std::string(kDate) + "content-length: 5\r\n\r\nhello");
  EXPECT_EQ(events.taken, 5u);
  EXPECT_TRUE(events.log.ends_with("closed 101 none\n"));
  EXPECT_EQ(session->open_streams(), 0u);
  EXPECT_FALSE(session->is_finished());
}

TEST_F(Http1Server, DateOfTheBackendIsKept) {
  feed(kGet);
  ResponseHead head = response(204);
  head.fields.add(Name::kDate, "yesterday");
  session->send_response(1, head, true);
  EXPECT_EQ(produced(), "HTTP/1.1 204 No Content\r\ndate: yesterday\r\n\r\n");
}

TEST_F(Http1Server, ResponseOfUnknownLengthIsChunkedWithTrailers) {
  feed(kGet);
  ResponseHead head = response(200);
  head.fields.add(Name::kTransferEncoding, "x");
  head.fields.add(Name::kConnection, "x");
  session->send_response(1, head, false);
  session->send_body(1, "one");
  session->send_body(1, "two");
  const std::string first = produced();
  EXPECT_EQ(first, "HTTP/1.1 200 OK\r\n" + std::string(kDate) +
                       "transfer-encoding: chunked\r\n\r\n6\r\nonetwo\r\n");
  Fields trailers;
  trailers.add(Name::kGrpcStatus, "0");
  session->send_end(1, &trailers);
  EXPECT_EQ(produced(), "0\r\ngrpc-status: 0\r\n\r\n");
}

TEST_F(Http1Server, EndWithoutABodySaysLengthZero) {
  feed(kGet);
  session->send_response(1, response(200), true);
  EXPECT_EQ(produced(), "HTTP/1.1 200 OK\r\n" + std::string(kDate) + "content-length: 0\r\n\r\n");
}

TEST_F(Http1Server, HeadIsAnsweredWithALengthAndNoBody) {
  feed("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  session->send_response(1, response(200, 5), false);
  session->send_body(1, "hello");
  session->send_end(1, nullptr);
  EXPECT_EQ(produced(), "HTTP/1.1 200 OK\r\n" + std::string(kDate) + "content-length: 5\r\n\r\n");
  EXPECT_EQ(events.taken, 5u);  // Dropped, but the credit comes back.
  EXPECT_EQ(events.closed, 1u);
}

TEST_F(Http1Server, NotModifiedKeepsItsLengthAndNoContentHasNone) {
  feed(kGet);
  session->send_response(1, response(304, 5), true);
  EXPECT_EQ(produced(),
            "HTTP/1.1 304 Not Modified\r\n" + std::string(kDate) + "content-length: 5\r\n\r\n");
  feed(kGet);
  session->send_response(2, response(204, 0), true);
  EXPECT_EQ(produced(), "HTTP/1.1 204 No Content\r\n" + std::string(kDate) + "\r\n");
}

TEST_F(Http1Server, UnknownStatusHasAnEmptyPhrase) {
  feed(kGet);
  session->send_response(1, response(299), true);
  EXPECT_TRUE(produced().starts_with("HTTP/1.1 299 \r\n"));
}

// ---- keep-alive ---------------------------------------------------------------------------------

TEST_F(Http1Server, CloseIsObeyedAndSaid) {
  feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_NE(answer("x").find("\r\nconnection: close\r\n"), std::string::npos);
  EXPECT_TRUE(session->is_finished());
  EXPECT_FALSE(feed(kGet));
  EXPECT_EQ(events.closed, 1u);
}

TEST_F(Http1Server, Http10GetsNoChunksAndACloseWithoutALength) {
  feed("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  session->send_response(1, response(200), false);
  session->send_body(1, "hello");
  session->send_end(1, nullptr);
  EXPECT_EQ(produced(),
            "HTTP/1.1 200 OK\r\n" + std::string(kDate) + "connection: close\r\n\r\nhello");
  EXPECT_TRUE(session->is_finished());
}

TEST_F(Http1Server, CutBodyWhoseEndIsTheConnectionsMustBreakOff) {
  feed("GET / HTTP/1.0\r\n\r\n");
  session->send_response(1, response(200), false);
  session->send_body(1, "part");
  EXPECT_TRUE(produced().ends_with("part"));
  session->reset(1, Reset::kInternal);
  produced();
  EXPECT_TRUE(session->is_finished());
  EXPECT_TRUE(session->must_break_off(true));
}

TEST_F(Http1Server, WholeBodyWhoseEndIsTheConnectionsBreaksOffOnlyWhenItWasNotWritten) {
  feed("GET / HTTP/1.0\r\n\r\n");
  session->send_response(1, response(200), false);
  session->send_end(1, nullptr);
  produced();
  EXPECT_FALSE(session->must_break_off(true));
  EXPECT_TRUE(session->must_break_off(false));
}

TEST_F(Http1Server, CutChunksSpeakForThemselves) {
  feed(kGet);
  session->send_response(1, response(200), false);
  produced();
  session->on_connection_lost();
  EXPECT_FALSE(session->must_break_off(false));
}

TEST_F(Http1Server, ResponseIsTakenBackUntilSomeOfItWentOut) {
  feed(kGet);
  EXPECT_FALSE(session->take_back_response(1)) << "there is none";
  session->send_response(1, response(200), false);
  session->send_body(1, "part");
  EXPECT_TRUE(session->take_back_response(1));
  session->send_response(1, response(502, 0), true);
  EXPECT_EQ(produced(),
            "HTTP/1.1 502 Bad Gateway\r\n" + std::string(kDate) + "content-length: 0\r\n\r\n");
  feed(kGet);
  session->send_response(2, response(200), false);
  produced();
  EXPECT_FALSE(session->take_back_response(2));
}

TEST_F(Http1Server, TellsThatTrailersWereTooLarge) {
  feed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: " +
       std::string(limits.trailer_bytes, 'x') + "\r\n\r\n");
  EXPECT_TRUE(produced().starts_with("HTTP/1.1 431 "));
  EXPECT_TRUE(events.log.ends_with("closed 101 overflow\n")) << events.log;
}

TEST_F(Http1Server, Http10IsKeptAliveWhenItAskedAndTheLengthIsKnown) {
  feed("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_NE(answer("x").find("\r\nconnection: keep-alive\r\n"), std::string::npos);
  EXPECT_FALSE(session->is_finished());
}

TEST_F(Http1Server, PipelinedRequestsAreServedOneByOne) {
  EXPECT_TRUE(
      feed("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\n"
           "Content-Length: 2\r\n\r\nhiGET /3 HTTP/1.1\r\nHo"));
  EXPECT_EQ(events.take_log(), "request GET https://a/1 ended\n");
  answer("1");
  EXPECT_EQ(events.take_log(), "closed 101 none\nrequest POST https://a/2\nbody 102 hi\nend 102\n");
  EXPECT_TRUE(feed("st: a\r\n\r\n"));
  answer("2");
  EXPECT_EQ(events.take_log(), "closed 102 none\nrequest GET https://a/3 ended\n");
  EXPECT_EQ(session->open_streams(), 1u);
}

TEST_F(Http1Server, PipelinedInputIsBounded) {
  feed(kGet);
  std::size_t taken = 0;
  while (session->wants_input()) {
    ASSERT_TRUE(feed(kGet));
    ASSERT_LT(taken += kGet.size(), 100000u);
  }
  EXPECT_GE(taken, 16u * 1024);
  for (std::size_t i = 0; i < 10; ++i) answer("");
  EXPECT_TRUE(session->wants_input());
  EXPECT_EQ(events.closed, 10u);
}

TEST_F(Http1Server, EveryPipelinedRequestIsServedWithinOneProduce) {
  struct Replying : RecordingServer {
    StreamToken on_request(StreamId stream, RequestHead& head, bool ended) override {
      session->send_response(stream, response(204), true);
      return RecordingServer::on_request(stream, head, ended);
    }
    Http1ServerSession* session = nullptr;
  } replying;
  Http1ServerSession other(limits, clock, replying, "http");
  replying.session = &other;
  std::string many;
  for (int i = 0; i < 100; ++i) many += kGet;
  EXPECT_TRUE(other.feed(many));
  produce_all(other, 100);
  EXPECT_EQ(replying.closed, 100u);
}

// ---- request bodies -----------------------------------------------------------------------------

TEST_F(Http1Server, CreditStopsReadingUntilAcknowledged) {
  limits.stream_buffer_high = 10;
  start();
  feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n123456789");
  EXPECT_TRUE(session->wants_input());
  feed("0");
  EXPECT_FALSE(session->wants_input());
  session->acknowledge(1, 4);
  EXPECT_TRUE(session->wants_input());
  feed("1234");
  EXPECT_FALSE(session->wants_input());
}

TEST_F(Http1Server, ChunkedBodyIsToldWithItsTrailers) {
  feed(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: "
      "1\r\n\r\n");
  EXPECT_EQ(events.log, "request POST https://a/\nbody 101 hi\nend 101 x=1\n");
}

TEST_F(Http1Server, MalformedBodyIsAnsweredAndClosed) {
  feed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi");
  EXPECT_FALSE(feed("x\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(events.log, "request POST https://a/\nbody 101 hi\nclosed 101 protocol\n");
  EXPECT_TRUE(produced().starts_with("HTTP/1.1 400 Bad Request\r\n"));
  EXPECT_TRUE(session->is_finished());
}

TEST_F(Http1Server, MalformedBodyCutsAResponseThatHasBegun) {
  feed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
  session->send_response(1, response(200), false);
  session->send_body(1, "x");
  produced();
  EXPECT_FALSE(feed("zz\r\n"));
  EXPECT_EQ(produced(), "");
  EXPECT_TRUE(events.log.ends_with("closed 101 protocol\n"));
  EXPECT_TRUE(session->is_finished());
}

TEST_F(Http1Server, ResponseBeforeTheRequestsEndClosesBehindIt) {
  feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhi");
  EXPECT_NE(answer("no").find("\r\nconnection: close\r\n"), std::string::npos);
  EXPECT_TRUE(events.log.ends_with("closed 101 none\n"));
  EXPECT_TRUE(session->is_finished());
  EXPECT_FALSE(session->wants_input());
}

TEST_F(Http1Server, BodyGoesOnWhileAnEarlyResponseStreams) {
  feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi");
  session->send_response(1, response(200), false);
  produced();
  EXPECT_TRUE(feed("yo"));
  EXPECT_TRUE(events.log.ends_with("body 101 yo\nend 101\n"));
  session->send_end(1, nullptr);
  EXPECT_EQ(produced(), "0\r\n\r\n");
  EXPECT_TRUE(session->is_finished());  // It had said that it would close.
}

TEST_F(Http1Server, ExpectationIsForTheHandler) {
  feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_TRUE(events.last_head.expects_continue);
  EXPECT_FALSE(events.last_head.fields.has(Name::kExpect));
  EXPECT_EQ(produced(), "");
  session->send_interim(1, response(100));
  EXPECT_EQ(produced(), "HTTP/1.1 100 Continue\r\n\r\n");
  feed("hi");
  EXPECT_EQ(answer("x").find("connection: close"), std::string::npos);
}

TEST_F(Http1Server, InterimResponsesAreNotForHttp10) {
  feed("GET / HTTP/1.0\r\n\r\n");
  session->send_interim(1, response(103));
  EXPECT_EQ(produced(), "");
}

TEST_F(Http1Server, InterimAfterTheResponseIsIgnored) {
  feed(kGet);
  session->send_response(1, response(200), false);
  produced();
  session->send_interim(1, response(103));
  EXPECT_EQ(produced(), "");
}

// ---- refusals -----------------------------------------------------------------------------------

TEST_F(Http1Server, MalformedRequestIsRefusedAndNothingBehindItIsRead) {
  EXPECT_FALSE(feed("GET / HTTP/1.1\r\nHost: a b\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(events.log, "refused GET / 400 bad_host\n");
  EXPECT_EQ(produced(), "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n" +
                            std::string(kDate) +
                            "content-length: 12\r\nconnection: close\r\n\r\nBad Request\n");
  EXPECT_TRUE(session->is_finished());
  EXPECT_FALSE(feed(kGet));
}

TEST_F(Http1Server, RefusalOfHeadHasNoBody) {
  feed("HEAD / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(produced().ends_with("connection: close\r\n\r\n"));
}

TEST_F(Http1Server, MalformedPipelinedRequestIsRefusedAfterTheFirstAnswer) {
  EXPECT_TRUE(feed(std::string(kGet) + "BAD\r\n\r\n"));
  session->send_response(1, response(204), true);
  const std::string all = produced();
  EXPECT_TRUE(all.starts_with("HTTP/1.1 204"));
  EXPECT_NE(all.find("HTTP/1.1 400"), std::string::npos);
  EXPECT_TRUE(session->is_finished());
}

TEST_F(Http1Server, HttpsTargetOnAPlainPortIsMisdirected) {
  start("http");
  EXPECT_FALSE(feed("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_TRUE(produced().starts_with("HTTP/1.1 421 Misdirected Request\r\n"));
}

TEST_F(Http1Server, Http2PrefaceIsRefused) {
  EXPECT_FALSE(feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
  EXPECT_TRUE(produced().starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\n"));
}

TEST_F(Http1Server, HeadThatTakesTooLongIsAnswered408) {
  feed("GET / HTTP/1.1\r\nHost:");
  EXPECT_TRUE(session->is_mid_head());
  session->time_out_head();
  EXPECT_EQ(events.log, "refused GET / 408 header_timeout\n");
  EXPECT_TRUE(produced().starts_with("HTTP/1.1 408 Request Timeout\r\n"));
  EXPECT_TRUE(session->is_finished());
}

// ---- endings ------------------------------------------------------------------------------------

TEST_F(Http1Server, FirstDrainSaysCloseOnTheNextResponse) {
  session->drain();
  EXPECT_FALSE(session->is_finished());
  EXPECT_TRUE(feed(kGet));
  EXPECT_NE(answer("x").find("connection: close"), std::string::npos);
  EXPECT_TRUE(session->is_finished());
}

TEST_F(Http1Server, SecondDrainEndsAnIdleConnection) {
  session->drain();
  session->drain();
  EXPECT_TRUE(session->is_finished());
  EXPECT_FALSE(feed(kGet));
  EXPECT_EQ(events.log, "");
}

TEST_F(Http1Server, SecondDrainLetsTheOpenResponseFinish) {
  feed(kGet);
  session->send_response(1, response(200, 4), false);
  session->send_body(1, "ab");
  produced();
  session->drain();
  session->drain();
  EXPECT_FALSE(session->is_finished());
  session->send_body(1, "cd");
  session->send_end(1, nullptr);
  EXPECT_EQ(produced(), "cd");
  EXPECT_TRUE(session->is_finished());
}

TEST_F(Http1Server, ResetCutsTheBodyAndClosesOnce) {
  feed(kGet);
  session->send_response(1, response(200), false);
  session->send_body(1, "x");
  produced();
  session->send_body(1, "y");
  session->reset(1, Reset::kInternal);
  EXPECT_EQ(events.closed, 0u);  // Commands tell nothing by themselves.
  EXPECT_EQ(produced(), "");     // No last chunk above all.
  EXPECT_TRUE(events.log.ends_with("closed 101 internal\n"));
  session->on_connection_lost();
  EXPECT_EQ(events.closed, 1u);
  EXPECT_TRUE(session->is_finished());
}

TEST_F(Http1Server, ResetInsideALengthNeverLooksWhole) {
  feed(kGet);
  session->send_response(1, response(200, 2), false);
  session->send_body(1, "xy");
  session->reset(1, Reset::kInternal);
  EXPECT_EQ(produced(), "");
}

TEST_F(Http1Server, BodyThatBreaksItsLengthIsCut) {
  for (const std::string_view body : {"abc", "a"}) {
    start();
    feed(kGet);
    session->send_response(1, response(200, 2), false);
    session->send_body(1, body);
    session->send_end(1, nullptr);
    produced();
    EXPECT_TRUE(events.take_log().ends_with("closed 101 internal\n"));
    EXPECT_TRUE(session->is_finished());
  }
}

TEST_F(Http1Server, LostConnectionClosesTheOpenStreamOnce) {
  feed(kGet);
  session->on_connection_lost();
  session->on_connection_lost();
  EXPECT_EQ(events.log, "request GET https://a/ ended\nclosed 101 connection_lost\n");
  session->send_response(1, response(200), true);
  EXPECT_EQ(produced(), "");
}

TEST_F(Http1Server, EndOfInputInsideABodyFailsTheStream) {
  feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhi");
  session->on_end_of_input();
  EXPECT_TRUE(events.log.ends_with("closed 101 connection_lost\n"));
  EXPECT_TRUE(session->is_finished());
}

TEST_F(Http1Server, EndOfInputBehindARequestLetsItsAnswerOut) {
  feed(kGet);
  session->on_end_of_input();
  EXPECT_FALSE(session->wants_input());
  EXPECT_TRUE(answer("x").ends_with("x"));
  EXPECT_TRUE(session->is_finished());
}

TEST_F(Http1Server, CommandsForADeadStreamAreIgnored) {
  feed(kGet);
  answer("x");
  session->send_response(1, response(200), false);
  session->send_body(1, "x");
  session->send_end(1, nullptr);
  session->reset(1, Reset::kInternal);
  EXPECT_EQ(produced(), "");
  EXPECT_TRUE(feed(kGet));
  EXPECT_EQ(session->open_streams(), 1u);
}

TEST_F(Http1Server, LargeResponseGoesOutInBoundedPieces) {
  const std::string body(1000000, 'x');
  feed(kGet);
  session->send_response(1, response(200, body.size()), false);
  session->send_body(1, body);
  session->send_end(1, nullptr);
  FlatBuffer out;
  EXPECT_TRUE(session->produce(out, 16384));
  EXPECT_LE(out.size(), 16384u);
  EXPECT_GT(events.taken, 16000u);
  produced();
  EXPECT_EQ(events.taken, body.size());
  EXPECT_EQ(events.closed, 1u);
}

TEST_F(Http1Server, ShrinkBetweenRequestsLosesNothing) {
  for (int i = 0; i < 3; ++i) {
    feed("GE");
    session->shrink();
    feed("T / HTTP/1.1\r\nHost: a\r\n\r\n");
    session->shrink();
    answer("x");
    session->shrink();
  }
  EXPECT_EQ(events.closed, 3u);
}

}  // namespace
}  // namespace gatehouse::proxy
