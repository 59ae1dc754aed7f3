// Attempts beyond the first, and the deadlines of a route and of gRPC.

#include <gtest/gtest.h>

#include "tests/support/exchange_world.h"

namespace gatehouse::proxy {
namespace {

using namespace std::chrono_literals;

class ExchangeRetryTest : public ExchangeTest {
 protected:
  void forward_with(ExchangeTimeouts limits) {
    exchange_.go_to_backend(limits);
    assign();
  }
  static ExchangeTimeouts replaying(std::size_t bytes = 64) {
    ExchangeTimeouts limits = timeouts();
    limits.replay_bytes = bytes;
    return limits;
  }
  void lose() { exchange_.on_failed({.reason = Reset::kConnectionLost, .was_sent = true}); }
};

// ---- attempts ---------------------------------------------------------------------------------

TEST_F(ExchangeRetryTest, WaitsBeforeTheNextAttempt) {
  retry_after_ = 200ms;
  begin("GET", true);
  forward();
  lose();
  EXPECT_EQ(exchange_.phase(), Exchange::Phase::kWaiting);
  advance(100ms);
  EXPECT_EQ(retries_, 0);
  advance(200ms);
  EXPECT_EQ(retries_, 1);
  assign();
  respond(200, true);
  EXPECT_EQ(client_.said, "response 200 whole\n");
  EXPECT_EQ(backend_.said, "request GET /x whole\nrequest GET /x whole\n");
}

TEST_F(ExchangeRetryTest, TellsWhatAFailureWasAndWhetherItMayHaveHadEffects) {
  begin("GET", true);
  forward();
  lose();
  ASSERT_TRUE(failed_);
  EXPECT_EQ(failed_->end, AttemptEnd::kLost);
  EXPECT_EQ(failed_->status, 502);
  EXPECT_EQ(failed_->grpc_status, -1);
  EXPECT_FALSE(failed_->may_have_effects) << "GET has none";
  exchange_.on_closed(Reset::kNone);
  exchange_.recycle();

  begin("POST", true, "application/grpc");
  forward();
  lose();
  EXPECT_EQ(failed_->grpc_status, 14);
  EXPECT_TRUE(failed_->may_have_effects);
  exchange_.on_closed(Reset::kNone);
  exchange_.recycle();

  begin("POST", true);
  forward();
  exchange_.on_failed({.reason = Reset::kConnectionLost, .was_sent = false});
  EXPECT_FALSE(failed_->may_have_effects) << "it never went out";
}

TEST_F(ExchangeRetryTest, DropsAResponseForAnotherAttempt) {
  dropped_status_ = 503;
  retry_after_ = 100ms;
  begin("POST", true);
  forward();
  respond(503);
  EXPECT_EQ(backend_.said, "request POST /x whole\nreset cancel\n");
  EXPECT_EQ(client_.said, "");
  advance(300ms);
  assign();
  respond(200, true);
  EXPECT_EQ(client_.said, "response 200 whole\n");
  EXPECT_EQ(exchange_.status(), 200);
  EXPECT_EQ(attempt_ends_.size(), 1u) << "the second goes on";
}

TEST_F(ExchangeRetryTest, LetsAConnectionLiveWhoseDroppedResponseIsWhole) {
  dropped_status_ = 503;
  retry_after_ = 100ms;
  begin("GET", true);
  forward();
  respond(503, true);
  exchange_.on_response_end(nullptr);
  EXPECT_EQ(backend_.said, "request GET /x whole\n") << "no reset";
  EXPECT_EQ(exchange_.phase(), Exchange::Phase::kWaiting);
}

TEST_F(ExchangeRetryTest, ReplaysTheBodyThatItKept) {
  retry_after_ = 100ms;
  begin("PUT", false);
  forward_with(replaying());
  exchange_.on_request_body("abc");
  exchange_.on_request_taken(3);
  exchange_.on_request_body("de");
  lose();
  exchange_.on_request_body("fg");  // During the wait.
  exchange_.on_request_end(nullptr);
  advance(300ms);
  backend_.body.clear();
  assign();
  EXPECT_EQ(backend_.body, "abcdefg");
  EXPECT_TRUE(backend_.said.ends_with("request PUT /x\nend\n"));
}

TEST_F(ExchangeRetryTest, AcknowledgesAReplayedBodyOnce) {
  retry_after_ = 100ms;
  begin("PUT", false);
  forward_with(replaying());
  exchange_.on_request_body("abcde");
  exchange_.on_request_taken(3);
  EXPECT_EQ(client_.acknowledged, 3u);
  lose();
  advance(300ms);
  assign();
  exchange_.on_request_taken(2);
  EXPECT_EQ(client_.acknowledged, 3u);
  exchange_.on_request_taken(3);
  EXPECT_EQ(client_.acknowledged, 5u);
  exchange_.on_request_body("f");
  exchange_.on_request_taken(1);
  EXPECT_EQ(client_.acknowledged, 6u);
}

TEST_F(ExchangeRetryTest, KeepsNoBodyBeyondTheBound) {
  const std::size_t blocks = Buffer::blocks_in_use();
  begin("PUT", false);
  forward_with(replaying(4));
  exchange_.on_request_body("abcd");
  EXPECT_TRUE(exchange_.is_replayable());
  exchange_.on_request_body("e");
  EXPECT_FALSE(exchange_.is_replayable());
  EXPECT_EQ(Buffer::blocks_in_use(), blocks);
}

TEST_F(ExchangeRetryTest, KeepsNothingOfABodyThatSaysItIsTooLong) {
  const std::size_t blocks = Buffer::blocks_in_use();
  RequestHead head;
  head.method = "PUT";
  head.content_length = 5;
  begin(head, false);
  forward_with(replaying(4));
  exchange_.on_request_body("a");
  EXPECT_FALSE(exchange_.is_replayable());
  EXPECT_EQ(Buffer::blocks_in_use(), blocks);
}

TEST_F(ExchangeRetryTest, ForgetsTheBodyWhenTheResponseBegins) {
  const std::size_t blocks = Buffer::blocks_in_use();
  begin("PUT", false);
  forward_with(replaying());
  exchange_.on_request_body("abc");
  EXPECT_GT(Buffer::blocks_in_use(), blocks);
  respond(200);
  EXPECT_EQ(Buffer::blocks_in_use(), blocks);
}

TEST_F(ExchangeRetryTest, EndsWhenTheClientGoesDuringTheWait) {
  retry_after_ = 200ms;
  begin("GET", true);
  forward();
  lose();
  exchange_.on_closed(Reset::kCancel);
  advance(1s);
  EXPECT_EQ(done_, 1);
  EXPECT_EQ(retries_, 0);
}

TEST_F(ExchangeRetryTest, NeverRepeatsAResponseThatBegan) {
  retry_after_ = 100ms;
  begin("GET", true);
  forward();
  respond(200);
  lose();
  EXPECT_FALSE(failed_);
  EXPECT_EQ(client_.said, "response 200\nreset internal\n");
}

// ---- the time of one attempt --------------------------------------------------------------------

TEST_F(ExchangeRetryTest, TriesAgainWhenOneTryTakesTooLong) {
  retry_after_ = 100ms;
  ExchangeTimeouts limits = timeouts();
  limits.per_try = 2s;
  begin("GET", true);
  forward_with(limits);
  advance(1900ms);
  EXPECT_FALSE(failed_);
  advance(400ms);
  ASSERT_TRUE(failed_);
  EXPECT_EQ(failed_->end, AttemptEnd::kTimeout);
  EXPECT_EQ(failed_->status, 504);
  EXPECT_EQ(retries_, 1);
  EXPECT_EQ(attempt_ends_, std::vector{AttemptEnd::kTimeout});
  retry_after_.reset();
  assign();
  advance(2200ms);
  EXPECT_EQ(client_.said, "response 504\nend\n");
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kUt));
}

TEST_F(ExchangeRetryTest, CountsTheWaitForAConnectionAsPartOfATry) {
  retry_after_ = 100ms;
  ExchangeTimeouts limits = timeouts();
  limits.per_try = 2s;
  begin("POST", true);
  exchange_.go_to_backend(limits);
  exchange_.begin_attempt();
  advance(2200ms);
  ASSERT_TRUE(failed_);
  EXPECT_FALSE(failed_->may_have_effects);
  EXPECT_EQ(left_queue_, 1);
}

TEST_F(ExchangeRetryTest, HasNoTryTimeoutBehindTheHead) {
  ExchangeTimeouts limits = timeouts();
  limits.per_try = 2s;
  begin("GET", true);
  forward_with(limits);
  respond(200);
  advance(30s);
  EXPECT_EQ(client_.said, "response 200\n");
}

// ---- the timeout of a route ---------------------------------------------------------------------

TEST_F(ExchangeRetryTest, AnswersA504WhenTheRoutesTimeIsOver) {
  ExchangeTimeouts limits = timeouts();
  limits.whole = 15s;
  begin("POST", false);
  forward_with(limits);
  for (int i = 0; i < 20; ++i) {  // A long request does not count.
    exchange_.on_request_body(std::string(2000, 'x'));
    exchange_.on_request_taken(2000);
    advance(1s);
  }
  exchange_.on_request_end(nullptr);
  advance(14s);
  EXPECT_EQ(client_.said, "");
  advance(1200ms);
  EXPECT_EQ(client_.said, "response 504\nend\n");
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kUt));
}

TEST_F(ExchangeRetryTest, CutsAResponseWhenTheRoutesTimeIsOver) {
  ExchangeTimeouts limits = timeouts();
  limits.whole = 15s;
  begin("GET", true);
  forward_with(limits);
  respond(200);
  for (int i = 0; i < 16; ++i) {
    exchange_.on_response_body("x");
    exchange_.on_response_taken(1);
    advance(1s);
  }
  EXPECT_EQ(client_.said, "response 200\nreset internal\n");
}

TEST_F(ExchangeRetryTest, EndsTheRoutesTimeWithTheResponse) {
  ExchangeTimeouts limits = timeouts();
  limits.whole = 15s;
  begin("GET", true);
  forward_with(limits);
  respond(200);
  exchange_.on_response_body("x");
  exchange_.on_response_end(nullptr);
  exchange_.on_response_taken(1);
  advance(20s);
  EXPECT_EQ(client_.said, "response 200\nend\n");
}

TEST_F(ExchangeRetryTest, CountsAllTriesInTheRoutesTime) {
  retry_after_ = 100ms;
  ExchangeTimeouts limits = timeouts();
  limits.whole = 5s;
  limits.per_try = 2s;
  begin("GET", true);
  forward_with(limits);
  for (int i = 0; i < 2; ++i) {
    advance(2300ms);
    assign();
  }
  advance(1s);
  EXPECT_EQ(client_.said, "response 504\nend\n");
  EXPECT_EQ(exchange_.detail(), "route_timeout");
}

// ---- gRPC ---------------------------------------------------------------------------------------

class ExchangeGrpcTest : public ExchangeRetryTest {
 protected:
  static ExchangeTimeouts grpc_limits(Duration deadline = {}) {
    ExchangeTimeouts limits;  // No response, stall of the backend or rate of a body.
    limits.stall = 10s;
    limits.body_period = 5s;
    limits.deadline = deadline;
    return limits;
  }
  void begin_grpc(std::string_view timeout = {}) {
    RequestHead head;
    head.version = HttpVersion::kHttp2;
    head.method = "POST";
    head.path = "/service/Method";
    head.fields.add(Name::kContentType, "application/grpc");
    if (!timeout.empty()) head.fields.add(Name::kGrpcTimeout, timeout);
    begin(head, false);
  }
  /// The trailers-only answer that the client got.
  std::string grpc_status() const {
    return std::string(client_.last_head.fields.find(Name::kGrpcStatus).value_or("none"));
  }
};

TEST_F(ExchangeGrpcTest, AnswersDeadlineExceededInTime) {
  begin_grpc("1S");
  forward_with(grpc_limits(1s));
  advance(1200ms);
  EXPECT_EQ(client_.said, "response 200 whole\n");
  EXPECT_EQ(grpc_status(), "4");
  EXPECT_TRUE(backend_.said.ends_with("reset cancel\n"));
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kUt));
}

TEST_F(ExchangeGrpcTest, CancelsAStreamThatGoesOnPastItsDeadline) {
  begin_grpc("1S");
  forward_with(grpc_limits(1s));
  respond(200);
  advance(1200ms);
  EXPECT_EQ(client_.said, "response 200\nreset timeout\n");
  EXPECT_TRUE(backend_.said.ends_with("reset cancel\n"));
}

TEST_F(ExchangeGrpcTest, GivesALaterAttemptLessTime) {
  retry_after_ = 100ms;
  begin_grpc("10S");
  exchange_.go_to_backend(grpc_limits(10s));
  assign();
  EXPECT_EQ(backend_.last_request.fields.find(Name::kGrpcTimeout), "10S");
  advance(3s);
  exchange_.on_failed({.reason = Reset::kConnectionLost, .was_sent = false});
  advance(300ms);
  assign();
  EXPECT_EQ(backend_.last_request.fields.find(Name::kGrpcTimeout), "6900000u");
}

TEST_F(ExchangeGrpcTest, MapsTheResetOfABackendToAStatus) {
  const auto status_of = [&](Reset reason) {
    begin_grpc();
    forward_with(grpc_limits());
    exchange_.on_failed({.reason = reason, .was_sent = true});
    exchange_.on_closed(Reset::kNone);
    exchange_.recycle();
    return grpc_status();
  };
  EXPECT_EQ(status_of(Reset::kCancel), "1");
  EXPECT_EQ(status_of(Reset::kCalm), "8");
  EXPECT_EQ(status_of(Reset::kInternal), "13");
  EXPECT_EQ(status_of(Reset::kConnectionLost), "14");
}

TEST_F(ExchangeGrpcTest, PassesACancellationOfTheBackendOn) {
  begin_grpc();
  forward_with(grpc_limits());
  respond(200);
  exchange_.on_failed({.reason = Reset::kCancel, .was_sent = true});
  EXPECT_EQ(client_.said, "response 200\nreset cancel\n");
}

TEST_F(ExchangeGrpcTest, NeverTellsAClientThatABegunCallWasRefused) {
  begin_grpc();
  forward_with(grpc_limits());
  respond(200);
  exchange_.on_failed({.reason = Reset::kRefused, .was_sent = true});
  EXPECT_EQ(client_.said, "response 200\nreset internal\n");
}

TEST_F(ExchangeGrpcTest, WaitsForAServerThatReadsNothing) {
  begin_grpc();
  forward_with(grpc_limits());
  exchange_.on_request_body("a message that the server will read later");
  advance(10min);
  EXPECT_EQ(client_.said, "");
}

TEST_F(ExchangeGrpcTest, IsAnOrdinaryRequestOnHttp1) {
  RequestHead head;
  head.version = HttpVersion::kHttp11;
  head.method = "POST";
  head.path = "/service/Method";
  head.fields.add(Name::kContentType, "application/grpc");
  begin(head, true);
  forward();
  lose();
  EXPECT_EQ(client_.said, "response 502\nend\n");
}

}  // namespace
}  // namespace gatehouse::proxy
