#include "proxy/protocol/http1_client_session.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/support/http1_scripts.h"

namespace gatehouse::proxy {
namespace {

RequestHead request(std::string_view method, std::string_view path = "/") {
  RequestHead head;
  head.method = method;
  head.scheme = "http";
  head.authority = "a.example";
  head.path = path;
  return head;
}

class Http1Client : public testing::Test {
 protected:
  ~Http1Client() override {
    session.reset();
    EXPECT_EQ(Buffer::blocks_in_use(), blocks_before_);
  }
  /// A GET that went out.
  StreamId get() {
    const StreamId stream = session->send_request(request("GET"), true, 7);
    produce_all(*session);
    return stream;
  }
  bool feed(std::string_view bytes) { return session->feed(bytes); }

  const std::size_t blocks_before_ = Buffer::blocks_in_use();
  Limits limits;
  RecordingClient events;
  std::unique_ptr<Http1ClientSession> session =
      std::make_unique<Http1ClientSession>(limits, events);
};

TEST_F(Http1Client, WritesHostFirstAndNoFieldsOfTheConnection) {
  RequestHead head = request("GET", "/p?q");
  head.fields.add("accept", "*/*");
  head.fields.add(Name::kConnection, "close");
  head.fields.add(Name::kHost, "evil");
  head.fields.add(Name::kTransferEncoding, "chunked");
  head.te_trailers = true;
  session->send_request(head, true, 7);
  EXPECT_EQ(produce_all(*session),
            "GET /p?q HTTP/1.1\r\nhost: a.example\r\naccept: */*\r\nte: trailers\r\n"
            "connection: te\r\n\r\n");
}

TEST_F(Http1Client, BodyOfKnownLengthGoesOutAsItIs) {
  RequestHead head = request("POST");
  head.content_length = 5;
  head.fields.add(Name::kContentLength, "5");
  head.expects_continue = true;
  const StreamId stream = session->send_request(head, false, 7);
  session->send_body(stream, "hel");
  session->send_body(stream, "lo");
  session->send_end(stream, nullptr);
  EXPECT_EQ(produce_all(*session),
            "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n"
            "expect: 100-continue\r\n\r\nhello");
  EXPECT_EQ(events.taken, 5u);
}

TEST_F(Http1Client, BodyOfUnknownLengthIsChunkedWithTrailers) {
  const StreamId stream = session->send_request(request("POST"), false, 7);
  session->send_body(stream, "hel");
  session->send_body(stream, "lo");
  Fields trailers;
  trailers.add("x-sum", "1");
  session->send_end(stream, &trailers);
  EXPECT_EQ(produce_all(*session),
            "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n"
            "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
}

TEST_F(Http1Client, PostWithoutABodySaysSo) {
  session->send_request(request("POST"), true, 7);
  EXPECT_EQ(produce_all(*session),
            "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n\r\n");
}

TEST_F(Http1Client, ResponseIsToldAndTheConnectionKept) {
  get();
  EXPECT_EQ(session->capacity(), 0u);
  EXPECT_TRUE(feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  EXPECT_EQ(events.log, "response 7 200\nbody 7 hi\nend 7\n");
  EXPECT_TRUE(session->is_reusable());
  EXPECT_EQ(session->capacity(), 1u);
  EXPECT_EQ(session->open_streams(), 0u);
}

TEST_F(Http1Client, ManyRequestsGoOverOneConnection) {
  for (int i = 0; i < 5; ++i) {
    get();
    EXPECT_TRUE(feed("HTTP/1.1 204 No Content\r\n\r\n"));
    EXPECT_EQ(events.take_log(), "response 7 204 ended\nend 7\n");
  }
}

TEST_F(Http1Client, ChunkedResponseWithTrailersIsTold) {
  get();
  feed(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\ngrpc-status: "
      "0\r\n\r\n");
  EXPECT_EQ(events.log, "response 7 200\nbody 7 hi\nend 7 grpc-status=0\n");
}

TEST_F(Http1Client, ConnectionCloseIsObeyed) {
  get();
  EXPECT_FALSE(feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
  EXPECT_FALSE(session->is_reusable());
  EXPECT_TRUE(session->is_finished());
}

TEST_F(Http1Client, SurplusBytesEndTheConnectionNotTheResponse) {
  get();
  EXPECT_FALSE(feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n"));
  EXPECT_EQ(events.log, "response 7 200\nbody 7 hi\nend 7\n");
  EXPECT_FALSE(session->is_reusable());
  EXPECT_TRUE(session->is_finished());
}

TEST_F(Http1Client, BodyOfAnAnswerToHeadIsSurplus) {
  session->send_request(request("HEAD"), true, 7);
  produce_all(*session);
  EXPECT_FALSE(feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  EXPECT_EQ(events.log, "response 7 200 ended\nend 7\n");
  EXPECT_EQ(events.last_head.content_length, 2u);
}

TEST_F(Http1Client, AnyByteWhileIdleEndsTheConnectionSilently) {
  EXPECT_FALSE(feed("H"));
  EXPECT_FALSE(session->is_reusable());
  EXPECT_TRUE(session->is_finished());
  EXPECT_EQ(session->capacity(), 0u);
  EXPECT_EQ(events.log, "");
}

TEST_F(Http1Client, InterimResponsesArePassedOnUpToABound) {
  get();
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(feed("HTTP/1.1 100 Continue\r\n\r\n"));
  EXPECT_FALSE(feed("HTTP/1.1 100 Continue\r\n\r\n"));
  EXPECT_TRUE(
      events.log.ends_with("interim 7 100\nfailed 7 protocol sent too_many_interim_responses\n"));
}

TEST_F(Http1Client, BodyUntilCloseEndsWithTheInput) {
  get();
  feed("HTTP/1.1 200 OK\r\n\r\nhel");
  feed("lo");
  session->on_end_of_input();
  session->on_connection_lost();
  EXPECT_EQ(events.log, "response 7 200\nbody 7 hel\nbody 7 lo\nend 7\n");
  EXPECT_FALSE(session->is_reusable());
}

TEST_F(Http1Client, BodyUntilCloseIsCutWhenTheConnectionBreaks) {
  get();
  feed("HTTP/1.1 200 OK\r\n\r\nhel");
  session->on_connection_lost();
  EXPECT_EQ(events.log,
            "response 7 200\nbody 7 hel\n"
            "failed 7 connection_lost sent connection_lost_inside_body\n");
}

TEST_F(Http1Client, ShortBodyFails) {
  for (const std::string_view head :
       {"Content-Length: 9\r\n\r\nhel", "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n"}) {
    Http1ClientSession other(limits, events);
    other.send_request(request("GET"), true, 7);
    produce_all(other);
    other.feed("HTTP/1.1 200 OK\r\n" + std::string(head));
    other.on_end_of_input();
    EXPECT_EQ(events.take_log(),
              "response 7 200\nbody 7 hel\n"
              "failed 7 connection_lost sent connection_lost_inside_body\n");
  }
}

TEST_F(Http1Client, EndInsideTheHeadIsNotRetryable) {
  get();
  feed("HTTP/1.1 200");
  EXPECT_TRUE(session->is_mid_head());
  session->on_end_of_input();
  EXPECT_EQ(events.log, "failed 7 connection_lost sent connection_lost_before_response\n");
}

TEST_F(Http1Client, EndBeforeTheAnswerIsRetryableOnlyOnAReusedConnection) {
  get();
  session->on_end_of_input();
  EXPECT_EQ(events.take_log(), "failed 7 connection_lost sent connection_lost_before_response\n");

  Http1ClientSession other(limits, events);
  other.send_request(request("GET"), true, 7);
  produce_all(other);
  other.feed("HTTP/1.1 204 X\r\n\r\n");
  events.take_log();
  other.send_request(request("GET"), true, 8);
  produce_all(other);
  other.on_end_of_input();
  EXPECT_EQ(events.log,
            "failed 8 connection_lost retryable sent connection_lost_before_response\n");
}

TEST_F(Http1Client, EndBeforeTheRequestWentOutIsRetryable) {
  session->send_request(request("GET"), true, 7);
  session->on_connection_lost();
  EXPECT_EQ(events.log,
            "failed 7 connection_lost retryable unsent connection_lost_before_response\n");
}

TEST_F(Http1Client, MalformedAnswerFailsAndBreaks) {
  get();
  EXPECT_FALSE(feed("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"));
  EXPECT_EQ(events.log, "failed 7 protocol sent bad_content_length\n");
  EXPECT_FALSE(session->is_reusable());
}

TEST_F(Http1Client, EarlyResponseLetsTheBodyGoOnButNotTheConnection) {
  const StreamId stream = session->send_request(request("POST"), false, 7);
  session->send_body(stream, "one");
  produce_all(*session);
  EXPECT_TRUE(feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh"));
  session->send_body(stream, "two");
  EXPECT_EQ(produce_all(*session), "3\r\ntwo\r\n");
  EXPECT_FALSE(feed("i"));
  EXPECT_EQ(events.log, "response 7 200\nbody 7 h\nbody 7 i\nend 7\n");
  EXPECT_FALSE(session->is_reusable());
  session->send_body(stream, "three");  // Nobody there any more.
  EXPECT_EQ(produce_all(*session), "");
}

TEST_F(Http1Client, ResponseWhoseRequestIsWholeButUnsentBreaks) {
  const StreamId stream = session->send_request(request("POST"), false, 7);
  produce_all(*session);
  session->send_body(stream, "one");
  session->send_end(stream, nullptr);
  EXPECT_FALSE(feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
  EXPECT_FALSE(session->is_reusable());
}

TEST_F(Http1Client, CreditStopsReadingUntilAcknowledged) {
  limits.stream_buffer_high = 10;
  Http1ClientSession other(limits, events);
  const StreamId stream = other.send_request(request("GET"), true, 7);
  produce_all(other);
  other.feed("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n123456789");
  EXPECT_TRUE(other.wants_input());
  other.feed("0");
  EXPECT_FALSE(other.wants_input());
  other.acknowledge(stream, 1);
  EXPECT_TRUE(other.wants_input());
}

TEST_F(Http1Client, CreditGrowsAsBytesAreTaken) {
  limits.response_credit = 10;
  limits.stream_buffer_high = 30;
  Http1ClientSession other(limits, events);
  const StreamId stream = other.send_request(request("GET"), true, 7);
  produce_all(other);
  other.feed("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n123456");
  EXPECT_EQ(other.input_room(), 4u);
  other.feed("7890");
  EXPECT_FALSE(other.wants_input());
  other.acknowledge(stream, 9);
  EXPECT_EQ(other.input_room(), 9u) << "not before all of it was taken";
  other.acknowledge(stream, 1);
  EXPECT_EQ(other.input_room(), 20u);
  other.feed(std::string(20, 'x'));
  EXPECT_FALSE(other.wants_input());
  other.acknowledge(stream, 20);
  EXPECT_EQ(other.input_room(), 30u) << "no more than the bound";
}

TEST_F(Http1Client, ResetBeforeAnythingWentOutKeepsTheConnection) {
  const StreamId stream = session->send_request(request("GET"), true, 7);
  session->reset(stream, Reset::kCancel);
  EXPECT_EQ(produce_all(*session), "");
  EXPECT_TRUE(session->is_reusable());
  EXPECT_EQ(session->capacity(), 1u);
  get();
  feed("HTTP/1.1 204 X\r\n\r\n");
  EXPECT_EQ(events.log, "response 7 204 ended\nend 7\n");
}

TEST_F(Http1Client, ResetOfASentRequestEndsTheConnectionWithoutAnEvent) {
  const StreamId stream = get();
  session->reset(stream, Reset::kCancel);
  EXPECT_FALSE(session->is_reusable());
  EXPECT_TRUE(session->is_finished());
  session->on_connection_lost();
  EXPECT_EQ(events.log, "");
}

TEST_F(Http1Client, BodyThatBreaksItsLengthFailsAndIsNotFinished) {
  for (const bool too_long : {true, false}) {
    Http1ClientSession other(limits, events);
    RequestHead head = request("POST");
    head.content_length = 3;
    const StreamId stream = other.send_request(head, false, 7);
    other.send_body(stream, "ab");
    produce_all(other);
    if (too_long) other.send_body(stream, "cd");
    other.send_end(stream, nullptr);
    EXPECT_EQ(produce_all(other), "");
    EXPECT_EQ(events.take_log(), "failed 7 internal sent request_length_mismatch\n");
    EXPECT_TRUE(other.is_finished());
  }
}

TEST_F(Http1Client, LargeBodyGoesOutInBoundedPieces) {
  const std::string body(1000000, 'x');
  const StreamId stream = session->send_request(request("POST"), false, 7);
  session->send_body(stream, body);
  session->send_end(stream, nullptr);
  FlatBuffer out;
  EXPECT_TRUE(session->produce(out, 16384));
  EXPECT_LT(out.size(), 18000u);
  produce_all(*session);
  EXPECT_EQ(events.taken, body.size());
}

}  // namespace
}  // namespace gatehouse::proxy
