#include "tests/support/exchange_world.h"

namespace gatehouse::proxy {
namespace {

using namespace std::chrono_literals;

/// An exchange that asks for a WebSocket.
class ExchangeTunnelTest : public ExchangeTest {
 protected:
  void begin(HttpVersion version, bool ended) {
    RequestHead head;
    head.version = version;
    head.method = "GET";
    head.path = "/x";
    head.upgrade = "websocket";
    ExchangeTest::begin(head, ended);
  }
  void forward() {
    exchange_.go_to_backend(bounds());
    assign();
  }
  static ExchangeTimeouts bounds() {
    ExchangeTimeouts all;
    all.response = 60s;
    all.stall = all.backend_stall = 10s;
    all.whole = 100s;  // Of a route: for the answer alone.
    return all;
  }
  void open(HttpVersion version = HttpVersion::kHttp11) {
    begin(version, version != HttpVersion::kHttp2);
    forward();
    respond(101);
    client_.said.clear();
    backend_.said.clear();
  }
};

TEST_F(ExchangeTunnelTest, CarriesBytesAndEndsBothWays) {
  begin(HttpVersion::kHttp11, true);
  forward();
  EXPECT_EQ(backend_.said, "request GET /x whole\n");
  respond(101);
  EXPECT_EQ(client_.said, "response 101\n");
  exchange_.on_request_body("up");
  EXPECT_EQ(backend_.body, "up");
  EXPECT_EQ(client_.acknowledged, 0u);
  exchange_.on_request_taken(2);
  EXPECT_EQ(client_.acknowledged, 2u);
  exchange_.on_response_body("down");
  exchange_.on_response_taken(4);
  EXPECT_EQ(backend_.acknowledged, 4u);
  exchange_.on_request_end(nullptr);
  EXPECT_EQ(backend_.said, "request GET /x whole\nend\n");
  exchange_.on_response_body("!");
  exchange_.on_response_end(nullptr);
  EXPECT_EQ(client_.said, "response 101\nend\n");
  EXPECT_EQ(client_.body, "down!");
  exchange_.on_response_taken(1);
  exchange_.on_closed(Reset::kNone);
  EXPECT_EQ(done_, 1);
  EXPECT_EQ(exchange_.status(), 101);
  EXPECT_EQ(exchange_.request_bytes(), 2u);
  EXPECT_EQ(exchange_.response_bytes(), 5u);
  EXPECT_FALSE(exchange_.flags().any());
  EXPECT_EQ(attempt_ends_.size(), 1u);
}

TEST_F(ExchangeTunnelTest, KeepsEarlyBytesUntilTheTunnelIsOpen) {
  begin(HttpVersion::kHttp2, false);
  exchange_.go_to_backend(bounds());
  exchange_.on_request_body("ea");
  exchange_.on_assigned(BackendId{3, 1}, backend_, false);
  exchange_.on_request_body("rly");
  exchange_.on_request_end(nullptr);
  advance(15s);  // No stall: the backend has nothing to take yet.
  EXPECT_EQ(backend_.said + backend_.body, "request GET /x whole\n");
  respond(101);
  EXPECT_EQ(backend_.body, "early");
  EXPECT_EQ(backend_.said, "request GET /x whole\nend\n");
  EXPECT_EQ(exchange_.status(), 200);
}

TEST_F(ExchangeTunnelTest, LeavesTheClientItsSayBehindTheBackendsEnd) {
  open();
  exchange_.on_response_end(nullptr);
  EXPECT_EQ(client_.said, "end\n");
  exchange_.on_request_body("more");
  EXPECT_EQ(backend_.body, "more");
  exchange_.on_request_end(nullptr);
  EXPECT_EQ(backend_.said, "end\n");
  exchange_.on_closed(Reset::kNone);
  EXPECT_EQ(done_, 0) << "the last bytes are on their way";
  EXPECT_EQ(backend_.said, "end\n");
  exchange_.on_request_taken(4);
  EXPECT_EQ(done_, 1);
}

TEST_F(ExchangeTunnelTest, WaitsNotForEverForABackendThatTakesNotTheLastBytes) {
  open();
  exchange_.on_response_end(nullptr);
  exchange_.on_request_body("more");
  exchange_.on_request_end(nullptr);
  exchange_.on_closed(Reset::kNone);
  advance(21s);
  EXPECT_EQ(done_, 1);
  EXPECT_EQ(backend_.said, "end\nreset cancel\n");
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kUt));
}

TEST_F(ExchangeTunnelTest, MayBeSilentForDays) {
  open();
  exchange_.on_request_body("x");
  exchange_.on_request_taken(1);
  exchange_.on_response_body("y");
  exchange_.on_response_taken(1);
  advance(30s);
  EXPECT_FALSE(timers_.next_wake()) << "nothing wakes up for it";
  clock_.advance(48h);
  timers_.refresh();
  timers_.fire_due();
  EXPECT_EQ(client_.said + backend_.said, "");
}

TEST_F(ExchangeTunnelTest, CutsAClientThatTakesNothing) {
  open();
  exchange_.on_response_body("down");
  advance(9s);
  EXPECT_EQ(client_.said, "");
  advance(2s);
  EXPECT_EQ(client_.said, "reset timeout\n");
  EXPECT_EQ(backend_.said, "reset cancel\n");
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kSi));
}

TEST_F(ExchangeTunnelTest, CutsABackendThatTakesNothing) {
  open();
  exchange_.on_request_body("up");
  for (int i = 0; i < 12; ++i) {  // That it speaks does not help.
    advance(1s);
    exchange_.on_response_body("x");
    exchange_.on_response_taken(1);
  }
  EXPECT_EQ(client_.said, "reset timeout\n");
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kUt));
}

TEST_F(ExchangeTunnelTest, CutsTheSideThatStaysAlone) {
  open();
  exchange_.on_response_end(nullptr);
  advance(8s);
  exchange_.on_request_body("x");
  exchange_.on_request_taken(1);
  advance(8s);
  EXPECT_EQ(client_.said, "end\n");
  advance(3s);
  EXPECT_EQ(client_.said, "end\nreset timeout\n");
  exchange_.on_closed(Reset::kTimeout);
  EXPECT_EQ(done_, 1);
}

TEST_F(ExchangeTunnelTest, EndsBehindTheLastBytesOfALostBackend) {
  open();
  exchange_.on_response_body("close frame");
  exchange_.on_request_body("x");
  exchange_.on_failed({.reason = Reset::kConnectionLost, .detail = "why"});
  EXPECT_EQ(client_.said, "end\n");
  EXPECT_EQ(client_.acknowledged, 1u);
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kUc));
  exchange_.on_request_body("y");
  EXPECT_EQ(client_.acknowledged, 2u) << "nobody wants it any more";
  exchange_.on_request_end(nullptr);
  exchange_.on_closed(Reset::kNone);
  EXPECT_EQ(done_, 1);
}

TEST_F(ExchangeTunnelTest, IsNoFailureWhenTheBackendIsLostBehindItsEnd) {
  open();
  exchange_.on_response_end(nullptr);
  exchange_.on_failed({.reason = Reset::kConnectionLost, .detail = "why"});
  EXPECT_EQ(client_.said, "end\n");
  EXPECT_FALSE(exchange_.flags().any());
}

TEST_F(ExchangeTunnelTest, CancelsTheBackendWhenTheClientIsLost) {
  open();
  exchange_.on_closed(Reset::kConnectionLost);
  EXPECT_EQ(backend_.said, "reset cancel\n");
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kDc));
  EXPECT_EQ(done_, 1);
}

TEST_F(ExchangeTunnelTest, CancelsTheBackendWhenTheClientStopsBehindTheEnd) {
  open(HttpVersion::kHttp2);
  exchange_.on_response_end(nullptr);
  exchange_.on_closed(Reset::kNone);  // RST_STREAM behind our END_STREAM.
  EXPECT_EQ(backend_.said, "reset cancel\n");
  EXPECT_EQ(done_, 1);
}

TEST_F(ExchangeTunnelTest, TimesTheAnswerLikeAnyOther) {
  begin(HttpVersion::kHttp2, false);
  forward();
  advance(61s);
  EXPECT_EQ(client_.said, "response 504\nend\n");
}

TEST_F(ExchangeTunnelTest, PassesARefusalOn) {
  begin(HttpVersion::kHttp11, true);
  forward();
  respond(426, true);
  exchange_.on_response_end(nullptr);
  EXPECT_EQ(client_.said, "response 426 whole\n");
  EXPECT_EQ(exchange_.status(), 426);
}

TEST_F(ExchangeTunnelTest, NeverLetsA2xxLookLikeAGrantedExtendedConnect) {
  begin(HttpVersion::kHttp2, false);
  forward();
  respond(200);
  EXPECT_EQ(client_.said, "response 502\nend\n");
  EXPECT_EQ(backend_.said, "request GET /x whole\nreset cancel\n");
  exchange_.on_closed(Reset::kNone);
  exchange_.recycle();
  client_.said.clear();
  begin(HttpVersion::kHttp2, false);
  ResponseHead own;
  own.status = 204;
  exchange_.reply(own, {});
  EXPECT_EQ(client_.said, "response 403\nend\n");
}

TEST_F(ExchangeTunnelTest, IsRefusedByABackendThatCannot) {
  begin(HttpVersion::kHttp11, true);
  backend_.upgrades = false;
  forward();
  EXPECT_EQ(backend_.said, "");
  EXPECT_EQ(client_.said, "response 502\nend\n");
  EXPECT_EQ(attempt_ends_.size(), 1u);
}

}  // namespace
}  // namespace gatehouse::proxy
