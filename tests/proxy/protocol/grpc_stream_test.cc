// gRPC streams through an exchange and the sessions of both sides, over a day of virtual time.

#include <gtest/gtest.h>

#include "proxy/protocol/exchange.h"
#include "proxy/protocol/http2_client_session.h"
#include "tests/support/http2_peer.h"

namespace gatehouse::proxy {
namespace {

using namespace std::chrono_literals;

/// A client and a server of gRPC, and between them what the data plane would have: a frontend
/// session, an exchange, a backend session. There is one exchange; its token is its stream's.
class GrpcWorld : public ServerEvents, public ClientEvents, public ExchangeHost {
 public:
  GrpcWorld() {
    exchange_.assign_id(ExchangeId{1, 1});
    settle();
  }

  void settle() {
    for (bool moved = true; moved;) {
      moved = carry(client, frontend);
      moved = carry(frontend, client) || moved;
      moved = carry(backend, server) || moved;
      moved = carry(server, backend) || moved;
    }
  }
  void start_call() {
    RequestHead head;
    head.version = HttpVersion::kHttp2;
    head.method = "POST";
    head.authority = "a.example";
    head.path = "/service/Method";
    head.te_trailers = true;
    head.fields.add(Name::kContentType, "application/grpc");
    call = client.send_request(head, false, 7);
    settle();
  }
  void pass(Duration time) {
    clock.advance(time);
    timers.refresh();
    timers.fire_due();
    settle();
  }
  /// Keep-alive of both ends, in the middle of silence.
  void ping_both() {
    EXPECT_TRUE(frontend.feed(proxy::ping()));
    EXPECT_TRUE(backend.feed(proxy::ping()));
    acks += pings_acknowledged(frontend) + pings_acknowledged(backend);
  }

  // ServerEvents of the frontend
  StreamToken on_request(StreamId stream, RequestHead& head, bool ended) override {
    exchange_.begin(FrontendId{2, 1}, stream, head, ended);
    ExchangeTimeouts timeouts;  // As DataPlane has them for gRPC.
    timeouts.stall = limits.stall_timeout;
    timeouts.body_period = limits.header_timeout;
    exchange_.go_to_backend(timeouts);
    exchange_.begin_attempt();
    exchange_.on_assigned(BackendId{3, 1}, backend, false);
    return 1;
  }
  void on_request_body(StreamToken, std::string_view bytes) override {
    exchange_.on_request_body(bytes);
  }
  void on_request_end(StreamToken, const Fields* trailers) override {
    exchange_.on_request_end(trailers);
  }
  void on_response_taken(StreamToken, std::size_t bytes) override {
    exchange_.on_response_taken(bytes);
  }
  void on_closed(StreamToken, Reset reason) override { exchange_.on_closed(reason); }
  void on_refused(const RequestHead&, int, std::string_view) override { FAIL(); }

  // ClientEvents of the backend
  void on_interim(StreamToken, ResponseHead& head) override { exchange_.on_interim(head); }
  void on_response(StreamToken, ResponseHead& head, bool ended) override {
    exchange_.on_response(head, ended);
  }
  void on_response_body(StreamToken, std::string_view bytes) override {
    exchange_.on_response_body(bytes);
  }
  void on_response_end(StreamToken, const Fields* trailers) override {
    exchange_.on_response_end(trailers);
  }
  void on_request_taken(StreamToken, std::size_t bytes) override {
    exchange_.on_request_taken(bytes);
  }
  void on_failed(StreamToken, const Failure& failure) override { exchange_.on_failed(failure); }

  // ExchangeHost
  ServerSession* frontend_of(const Exchange&) override { return &frontend; }
  ClientSession* backend_of(const Exchange& exchange) override {
    return exchange.backend() ? &backend : nullptr;
  }
  void retry(Exchange&) override { ADD_FAILURE(); }
  bool wants_retry(Exchange&, const FailedAttempt&) override { return false; }
  void leave_queue(Exchange&) override {}
  bool on_response_head(Exchange&, ResponseHead&) override { return true; }
  void on_attempt_over(Exchange&, AttemptEnd) override {}
  void on_exchange_done(Exchange& exchange) override {
    is_done = true;
    flags = exchange.flags();
  }

 private:
  template <class From, class To>
  static bool carry(From& from, To& to) {
    FlatBuffer out;
    from.produce(out, 64 * 1024);
    if (out.empty()) return false;
    EXPECT_TRUE(to.feed(out.view()));
    return true;
  }
  template <class Session>
  static std::size_t pings_acknowledged(Session& session) {
    FlatBuffer out;
    session.produce(out, 64 * 1024);
    SeenOutput seen;
    seen.add(out.view());
    return seen.count(FrameType::kPing);
  }

 public:
  FakeClock clock;
  TimerQueue timers{clock};
  Limits limits;
  ClientWorld at_client;
  ServerWorld at_server;
  StreamId call = 0;
  std::size_t acks = 0;
  bool is_done = false;
  ResponseFlags flags;

 private:
  Exchange exchange_{*this, timers};

 public:
  Http2ClientSession client{limits, clock, at_client, "https"};
  Http2ServerSession frontend{limits, clock, *this};
  Http2ClientSession backend{limits, clock, *this, "http"};
  Http2ServerSession server{limits, clock, at_server};
};

ResponseHead grpc_head() {
  ResponseHead head;
  head.status = 200;
  head.fields.add(Name::kContentType, "application/grpc");
  return head;
}

/// A day in which nothing is said but pings, every ten seconds by both ends.
void pass_a_silent_day(GrpcWorld& world) {
  for (int i = 0; i < 24 * 360; ++i) {
    world.ping_both();
    world.pass(10s);
    ASSERT_FALSE(world.is_done);
  }
  EXPECT_EQ(world.acks, 2u * 24 * 360);
}

TEST(GrpcStream, LivesThroughADayOfSilence) {
  GrpcWorld world;
  world.at_server.acknowledges = false;  // Its session is another one; one message needs no credit.
  world.start_call();
  world.client.send_body(world.call, "a question");
  world.server.send_response(1, grpc_head(), false);
  world.server.send_body(1, "a first answer");
  world.settle();
  ASSERT_EQ(world.at_client.bodies, "a first answer");
  pass_a_silent_day(world);
  world.client.send_body(world.call, ", and another");
  world.client.send_end(world.call, nullptr);
  world.settle();
  EXPECT_EQ(world.at_server.bodies, "a question, and another");
  world.server.send_body(1, ", at last");
  Fields trailers;
  trailers.add(Name::kGrpcStatus, "0");
  world.server.send_end(1, &trailers);
  world.settle();
  EXPECT_EQ(world.at_client.bodies, "a first answer, at last");
  EXPECT_NE(world.at_client.transcript().find("grpc-status=0"), std::string::npos);
  EXPECT_TRUE(world.is_done);
  EXPECT_FALSE(world.flags.any());
}

TEST(GrpcStream, LivesThroughADayBeforeTheServersFirstWord) {
  GrpcWorld world;
  world.start_call();
  pass_a_silent_day(world);
  EXPECT_EQ(world.at_client.transcript(), "");
}

TEST(GrpcStream, IsCancelledAtOnceInBothDirections) {
  GrpcWorld world;
  world.start_call();
  world.client.reset(world.call, Reset::kCancel);
  world.settle();
  EXPECT_EQ(world.at_server.told("closed 1 cancel"), 1u);
  EXPECT_TRUE(world.flags.has(ResponseFlag::kDc));

  GrpcWorld other;
  other.start_call();
  other.server.send_response(1, grpc_head(), false);
  other.settle();
  other.server.reset(1, Reset::kCancel);
  other.settle();
  EXPECT_NE(other.at_client.transcript().find("failed 7 cancel"), std::string::npos)
      << other.at_client.transcript();
}

}  // namespace
}  // namespace gatehouse::proxy
