// Tunnels in sessions of HTTP/1.1 and HTTP/2, in both roles. The exchange between them is in
// exchange_tunnel_test.cc.

#include <gtest/gtest.h>

#include <memory>

#include "proxy/protocol/http1_client_session.h"
#include "proxy/protocol/http1_server_session.h"
#include "proxy/protocol/upgrade.h"
#include "tests/support/fake_clock.h"
#include "tests/support/http1_scripts.h"
#include "tests/support/http2_peer.h"

namespace gatehouse::proxy {
namespace {

const std::string kKey = "dGhlIHNhbXBsZSBub25jZQ==", kAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

RequestHead ask() {
  RequestHead head;
  head.method = "GET";
  head.scheme = "https";
  head.authority = "a.example";
  head.path = "/chat";
  head.upgrade = "websocket";
  head.fields.add(kWebSocketKey, kKey);
  return head;
}

ResponseHead granted() {
  ResponseHead head;
  head.status = 101;
  head.fields.add(kWebSocketAccept, kAccept);
  return head;
}

// ---- the client of HTTP/1.1 -------------------------------------------------------------------

std::string grant(std::string accept = kAccept) {
  return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
         "Sec-WebSocket-Accept: " +
         accept + "\r\n\r\n";
}

class Http1ClientTunnel : public testing::Test {
 protected:
  StreamId send() {
    const StreamId stream = session.send_request(ask(), true, 7);
    produce_all(session);
    return stream;
  }

  Limits limits;
  RecordingClient events;
  Http1ClientSession session{limits, events};
};

TEST_F(Http1ClientTunnel, AsksWithAnUpgradeAndNoBody) {
  session.send_request(ask(), true, 7);
  EXPECT_EQ(produce_all(session),
            "GET /chat HTTP/1.1\r\nhost: a.example\r\nsec-websocket-key: " + kKey +
                "\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
}

TEST_F(Http1ClientTunnel, CarriesBytesBothWaysUntilBothEnds) {
  const StreamId stream = send();
  EXPECT_TRUE(session.feed(grant() + "first"));
  EXPECT_EQ(events.take_log(), "response 7 101\nbody 7 first\n");
  EXPECT_TRUE(session.is_tunnel());
  EXPECT_FALSE(session.is_reusable());
  session.send_body(stream, "HTTP/1.1 no more");
  EXPECT_EQ(produce_all(session), "HTTP/1.1 no more");
  EXPECT_EQ(events.taken, 16u);
  EXPECT_FALSE(session.has_ended_output());
  session.send_end(stream, nullptr);
  EXPECT_EQ(produce_all(session), "");
  EXPECT_TRUE(session.has_ended_output());
  EXPECT_TRUE(session.wants_input());
  session.feed("last");
  session.on_end_of_input();
  EXPECT_EQ(events.take_log(), "body 7 last\nend 7\n");
  EXPECT_EQ(session.open_streams(), 0u);
  EXPECT_TRUE(session.is_finished());
}

TEST_F(Http1ClientTunnel, GoesOnSendingBehindTheBackendsEnd) {
  const StreamId stream = send();
  session.feed(grant());
  session.on_end_of_input();
  EXPECT_EQ(events.take_log(), "response 7 101\nend 7\n");
  EXPECT_EQ(session.open_streams(), 1u);
  EXPECT_FALSE(session.wants_input());
  session.send_body(stream, "more");
  session.send_end(stream, nullptr);
  EXPECT_EQ(produce_all(session), "more");
  EXPECT_EQ(session.open_streams(), 0u);
  EXPECT_EQ(events.take_log(), "");
}

TEST_F(Http1ClientTunnel, TellsOfALossBehindTheBackendsEnd) {
  send();
  session.feed(grant());
  session.on_end_of_input();
  events.take_log();
  session.on_connection_lost();
  EXPECT_TRUE(events.log.starts_with("failed 7 connection_lost")) << events.log;
}

TEST_F(Http1ClientTunnel, StopsReadingWithoutCredit) {
  const StreamId stream = send();
  session.feed(grant() + std::string(limits.response_credit, 'x'));
  EXPECT_FALSE(session.wants_input());
  session.acknowledge(stream, 1);
  EXPECT_TRUE(session.wants_input());
}

TEST_F(Http1ClientTunnel, KeepsTheConnectionOfARefusal) {
  send();
  EXPECT_TRUE(
      session.feed("HTTP/1.1 426 No\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                   "Content-Length: 2\r\n\r\nno"));
  EXPECT_EQ(events.take_log(), "response 7 426\nbody 7 no\nend 7\n");
  EXPECT_EQ(session.capacity(), 1u);
  session.send_request(ask(), true, 8);  // A tunnel later on is as good as the first.
  produce_all(session);
  session.feed(grant());
  EXPECT_EQ(events.take_log(), "response 8 101\n");
}

TEST_F(Http1ClientTunnel, RefusesEverySwitchThatWasNotAskedFor) {
  const std::pair<std::string, const char*> rows[] = {
      {grant("AAAAAAAAAAAAAAAAAAAAAAAAAAA="), "wrong_websocket_accept"},
      {"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
       "wrong_websocket_accept"},
      {"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "unasked_switch"},
      {"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
       "unasked_switch"},
      {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + kAccept + "\r\n\r\n",
       "unasked_switch"},
      {"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: " + kAccept + "\r\n\r\n", "unasked_switch"}};
  for (const auto& [head, detail] : rows) {
    SCOPED_TRACE(head);
    RecordingClient told;
    Http1ClientSession fresh(limits, told);
    fresh.send_request(ask(), true, 7);
    produce_all(fresh);
    fresh.feed(head);
    EXPECT_TRUE(told.log.starts_with("failed 7 protocol")) << told.log;
    EXPECT_NE(told.log.find(detail), std::string::npos) << told.log;
  }
}

TEST_F(Http1ClientTunnel, RefusesASwitchBeforeTheRequestWentOut) {
  session.send_request(ask(), true, 7);
  session.feed(grant());
  EXPECT_TRUE(events.log.starts_with("failed 7 protocol")) << events.log;
}

// ---- the server of HTTP/1.1 -------------------------------------------------------------------

class Http1ServerTunnel : public testing::Test {
 protected:
  void request() {
    session.feed(
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: " +
        kKey + "\r\n\r\n");
    EXPECT_EQ(events.take_log(), "request GET https://a/chat ended\n");
  }
  std::string open() {
    session.send_response(1, granted(), false);
    return produce_all(session);
  }

  Limits limits;
  FakeClock clock;
  RecordingServer events;
  Http1ServerSession session{limits, clock, events, "https"};
};

TEST_F(Http1ServerTunnel, SaysSwitchingProtocols) {
  request();
  EXPECT_EQ(open(), "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: " + kAccept +
                        "\r\ndate: Sat, 01 Aug 2026 10:00:00 GMT\r\nconnection: upgrade\r\n"
                        "upgrade: websocket\r\n\r\n");
  EXPECT_TRUE(session.is_tunnel());
}

TEST_F(Http1ServerTunnel, TakesWhatCameBehindTheRequestForItsFirstBytes) {
  request();
  session.feed("GET / HTTP/1.1\r\n");
  EXPECT_EQ(events.take_log(), "");
  open();
  EXPECT_EQ(events.take_log(), "body 101 GET / HTTP/1.1\r\n\n");
  session.feed("more");
  EXPECT_EQ(events.take_log(), "body 101 more\n");
}

TEST_F(Http1ServerTunnel, EndsWhenBothSidesHave) {
  for (const bool client_first : {true, false}) {
    RecordingServer told;
    Http1ServerSession fresh(limits, clock, told, "https");
    fresh.feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    fresh.send_response(1, granted(), false);
    produce_all(fresh);
    told.take_log();
    const auto end_client = [&] {
      fresh.on_end_of_input();
      produce_all(fresh);
    };
    const auto end_backend = [&] {
      fresh.send_body(1, "bye");
      fresh.send_end(1, nullptr);
      EXPECT_EQ(produce_all(fresh), "bye");
      EXPECT_NE(fresh.has_ended_output(), client_first) << "then all is over";
    };
    if (client_first) {
      end_client();
      EXPECT_EQ(told.take_log(), "end 101\n");
      EXPECT_FALSE(fresh.is_finished());
      end_backend();
      EXPECT_EQ(told.take_log(), "closed 101 none\n");
    } else {
      end_backend();
      EXPECT_EQ(told.take_log(), "");
      EXPECT_TRUE(fresh.wants_input());
      end_client();
      EXPECT_EQ(told.take_log(), "end 101\nclosed 101 none\n");
    }
    EXPECT_TRUE(fresh.is_finished());
  }
}

TEST_F(Http1ServerTunnel, GivesBytesThatWaitedBeforeTheEnd) {
  request();
  session.feed("waited");
  session.send_response(1, granted(), false);
  session.on_end_of_input();
  EXPECT_EQ(events.take_log(), "body 101 waited\nend 101\n");
}

TEST_F(Http1ServerTunnel, StopsReadingWithoutCredit) {
  request();
  open();
  session.feed(std::string(limits.stream_buffer_high, 'x'));
  EXPECT_FALSE(session.wants_input());
  session.acknowledge(1, 1);
  EXPECT_TRUE(session.wants_input());
}

TEST_F(Http1ServerTunnel, AnswersARefusalAndTakesTheNextRequest) {
  request();
  session.feed("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(events.take_log(), "") << "before the refusal is sent it might be for the tunnel";
  ResponseHead refusal;
  refusal.status = 403;
  session.send_response(1, refusal, true);
  produce_all(session);
  EXPECT_EQ(events.take_log(), "closed 101 none\nrequest GET https://a/next ended\n");
}

TEST_F(Http1ServerTunnel, FailsWithItsConnection) {
  request();
  open();
  session.on_connection_lost();
  EXPECT_EQ(events.take_log(), "closed 101 connection_lost\n");
}

// ---- the server of HTTP/2 ---------------------------------------------------------------------

FieldList extended_connect(FieldList more = {}) {
  FieldList fields = {{":method", "CONNECT"},
                      {":protocol", "websocket"},
                      {":scheme", "https"},
                      {":authority", "a.example"},
                      {":path", "/chat"}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

TEST(Http2ServerTunnel, OffersExtendedConnectAndMakesItAGet) {
  ServerWorld world;
  world.begin();
  EXPECT_NE(world.seen.frames.at(0).payload.find(setting(8, 1)), std::string::npos);
  world.feed(headers(1, extended_connect({{"content-length", "7"}}), false));
  EXPECT_EQ(world.transcript(), "request 1 GET https://a.example/chat\n");
  EXPECT_EQ(world.heads.at(0).upgrade, "websocket");
  EXPECT_FALSE(world.heads.at(0).content_length);
  EXPECT_FALSE(world.heads.at(0).fields.has(Name::kContentLength));
}

TEST(Http2ServerTunnel, Answers200AndCarriesDataUntilBothEnds) {
  ServerWorld world;
  world.begin();
  world.feed(headers(1, extended_connect(), false));
  world.session.send_response(1, granted(), false);
  world.session.send_body(1, "down");
  world.flush();
  EXPECT_EQ(world.seen.heads_of(1), ":status: 200\n");
  world.session.send_end(1, nullptr);
  world.flush();
  EXPECT_EQ(world.seen.body_of(1), "down");
  EXPECT_TRUE(world.seen.has_ended(1));
  EXPECT_FALSE(world.seen.reset_of(1)) << "the client may go on";
  world.feed(data(1, "up") + data(1, "", true));
  EXPECT_EQ(world.bodies, "up");
  EXPECT_EQ(world.told("end 1"), 1u);
  EXPECT_EQ(world.told("closed 1 none"), 1u);
  EXPECT_EQ(world.session.open_streams(), 0u);
}

TEST(Http2ServerTunnel, RefusesOtherFormsOfConnect) {
  const FieldList whole = extended_connect();
  struct Row {
    const char* why;
    FieldList fields;
    const char* told;
  };
  const auto without = [&](std::string_view name) {
    FieldList fields = whole;
    std::erase_if(fields, [&](const auto& field) { return field.first == name; });
    return fields;
  };
  FieldList get = get_fields();
  get.insert(get.begin() + 1, {":protocol", "websocket"});
  FieldList unknown = whole;
  unknown[1].second = "connect-udp";
  FieldList twice = whole;
  twice.insert(twice.begin(), {":protocol", "websocket"});
  const Row rows[] = {{"no scheme", without(":scheme"), "refused 400 "},
                      {"no path", without(":path"), "refused 400 "},
                      {"no authority", without(":authority"), "refused 400 "},
                      {"with GET", get, "refused 400 "},
                      {"twice", twice, "refused 400 "},
                      {"unknown protocol", unknown, "refused 501 unknown_protocol"}};
  for (const Row& row : rows) {
    SCOPED_TRACE(row.why);
    ServerWorld world;
    world.begin();
    world.feed(headers(1, row.fields, false));
    EXPECT_TRUE(world.heads.empty());
    EXPECT_TRUE(world.transcript().starts_with(row.told)) << world.transcript();
    EXPECT_EQ(world.feed(get_fields().empty() ? "" : headers(3, get_fields())), true);
    EXPECT_EQ(world.heads.size(), 1u) << "the connection goes on";
  }
}

// ---- the client of HTTP/2 ---------------------------------------------------------------------

std::string status(StreamId id, std::string code, bool ended = false) {
  return headers(id, {{":status", code}, {"x-a", "1"}}, ended);
}

class Http2ClientTunnel : public testing::Test {
 protected:
  Http2ClientTunnel() { world.feed(settings(setting(8, 1)) + settings_ack()); }
  StreamId send() {
    const StreamId id = world.session.send_request(ask(), true, 7);
    world.flush();
    return id;
  }
  ClientWorld world;
};

TEST_F(Http2ClientTunnel, KnowsWhetherThePeerTakesExtendedConnect) {
  EXPECT_TRUE(world.session.takes_upgrades());
  ClientWorld other;
  other.begin();
  EXPECT_FALSE(other.session.takes_upgrades());
}

TEST_F(Http2ClientTunnel, AsksByExtendedConnectWithoutAKey) {
  const StreamId id = send();
  EXPECT_EQ(world.seen.heads_of(id),
            ":method: CONNECT\n:protocol: websocket\n:scheme: https\n:authority: a.example\n"
            ":path: /chat\n");
  EXPECT_FALSE(world.seen.has_ended(id));
}

TEST_F(Http2ClientTunnel, Tells200AsA101WithItsProof) {
  const StreamId id = send();
  world.feed(status(id, "200") + data(id, "down"));
  EXPECT_EQ(world.transcript(), "response 7 101\n");
  EXPECT_EQ(world.last_response.fields.find(kWebSocketAccept), kAccept);
  EXPECT_EQ(world.bodies, "down");
  world.session.send_body(id, "up");
  world.session.send_end(id, nullptr);
  world.flush();
  EXPECT_EQ(world.seen.body_of(id), "up");
  EXPECT_EQ(world.taken, 2u);
  world.feed(data(id, "", true));
  EXPECT_EQ(world.transcript(), "response 7 101\nend 7\n");
  EXPECT_EQ(world.session.open_streams(), 0u);
}

TEST_F(Http2ClientTunnel, GoesOnSendingBehindTheBackendsEnd) {
  const StreamId id = send();
  world.feed(status(id, "200", true));
  EXPECT_EQ(world.transcript(), "response 7 101\nend 7\n");
  EXPECT_EQ(world.session.open_streams(), 1u);
  world.session.send_body(id, "more");
  world.session.send_end(id, nullptr);
  world.flush();
  EXPECT_EQ(world.seen.body_of(id), "more");
  EXPECT_TRUE(world.seen.has_ended(id));
  EXPECT_FALSE(world.seen.reset_of(id));
  EXPECT_EQ(world.session.open_streams(), 0u);
  EXPECT_EQ(world.transcript(), "response 7 101\nend 7\n");
}

TEST_F(Http2ClientTunnel, TellsOfAResetBehindTheBackendsEnd) {
  const StreamId id = send();
  world.feed(status(id, "200", true) + rst(id));
  EXPECT_EQ(world.told("failed 7 cancel remote_reset sent"), 1u) << world.transcript();
}

TEST_F(Http2ClientTunnel, EndsARefusalLikeAnyAnswer) {
  const StreamId id = send();
  world.feed(status(id, "403", true));
  EXPECT_EQ(world.transcript(), "response 7 403 ended\nend 7\n");
  EXPECT_EQ(world.seen.reset_of(id), Http2Error::kCancel);
  EXPECT_EQ(world.session.open_streams(), 0u);
}

}  // namespace
}  // namespace gatehouse::proxy
