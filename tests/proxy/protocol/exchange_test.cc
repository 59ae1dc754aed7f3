#include "proxy/protocol/exchange.h"

#include <gtest/gtest.h>

#include "tests/support/exchange_world.h"

namespace gatehouse::proxy {
namespace {

using namespace std::chrono_literals;

TEST_F(ExchangeTest, PassesAWholeExchangeFromEndToEnd) {
  begin("GET", true);
  forward();
  respond(200);
  exchange_.on_response_body("hello");
  exchange_.on_response_end(nullptr);
  exchange_.on_response_taken(5);
  exchange_.on_closed(Reset::kNone);
  EXPECT_EQ(backend_.said, "request GET /x whole\n");
  EXPECT_EQ(client_.said, "response 200\nend\n");
  EXPECT_EQ(client_.body, "hello");
  EXPECT_EQ(exchange_.response_bytes(), 5u);
  EXPECT_FALSE(exchange_.flags().any());
  EXPECT_EQ(done_, 1);
}

TEST_F(ExchangeTest, TellsOnceHowAnAttemptEnded) {
  const auto ends_of = [&](auto happens) {
    attempt_ends_.clear();
    begin("GET", true);
    forward();
    happens();
    if (exchange_.phase() != Exchange::Phase::kDone) exchange_.on_closed(Reset::kNone);
    exchange_.recycle();
    return attempt_ends_;
  };
  using Ends = std::vector<AttemptEnd>;
  EXPECT_EQ(ends_of([&] {
              respond(503);
              exchange_.on_response_end(nullptr);
            }),
            Ends{AttemptEnd::kAnswered});
  EXPECT_EQ(ends_of([&] { exchange_.on_closed(Reset::kCancel); }), Ends{AttemptEnd::kCancelled});
  EXPECT_EQ(ends_of([&] { advance(61s); }), Ends{AttemptEnd::kTimeout});
  EXPECT_EQ(ends_of([&] { exchange_.on_failed({.reason = Reset::kProtocol}); }),
            Ends{AttemptEnd::kMalformed});
  EXPECT_EQ(ends_of([&] {
              respond(200);
              exchange_.on_failed({.reason = Reset::kConnectionLost});
            }),
            Ends{AttemptEnd::kLost});
}

TEST_F(ExchangeTest, KeepsTheBodyThatComesBeforeTheBackendStream) {
  begin("POST", false);
  exchange_.go_to_backend(timeouts());
  exchange_.on_request_body("ab");
  exchange_.on_request_body("cd");
  exchange_.on_request_end(nullptr);
  exchange_.on_assigned(BackendId{3, 1}, backend_, false);
  EXPECT_EQ(backend_.said, "request POST /x\nend\n");
  EXPECT_EQ(backend_.body, "abcd");
}

TEST_F(ExchangeTest, AcknowledgesTheRequestOnlyWhenTheBackendTookIt) {
  begin("POST", false);
  forward();
  exchange_.on_request_body("abcd");
  EXPECT_EQ(client_.acknowledged, 0u);
  exchange_.on_request_taken(4);
  EXPECT_EQ(client_.acknowledged, 4u);
}

TEST_F(ExchangeTest, AcknowledgesTheResponseOnlyWhenTheClientTookIt) {
  begin("GET", true);
  forward();
  respond(200);
  exchange_.on_response_body("abcd");
  EXPECT_EQ(backend_.acknowledged, 0u);
  exchange_.on_response_taken(4);
  EXPECT_EQ(backend_.acknowledged, 4u);
}

TEST_F(ExchangeTest, CancelsTheBackendWhenTheClientGoes) {
  begin("GET", true);
  forward();
  exchange_.on_closed(Reset::kConnectionLost);
  EXPECT_EQ(backend_.said, "request GET /x whole\nreset cancel\n");
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kDc));
  EXPECT_EQ(done_, 1);
}

TEST_F(ExchangeTest, LeavesTheQueueWhenTheClientGoesBeforeAStream) {
  begin("GET", true);
  exchange_.go_to_backend(timeouts());
  exchange_.on_closed(Reset::kCancel);
  EXPECT_EQ(left_queue_, 1);
}

TEST_F(ExchangeTest, BlamesAClientThatBreaksTheProtocol) {
  begin("POST", false);
  exchange_.request().version = HttpVersion::kHttp11;  // HTTP/2 resets instead.
  forward();
  exchange_.on_closed(Reset::kProtocol);
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kDpe));
  EXPECT_EQ(exchange_.status(), 400);
}

TEST_F(ExchangeTest, KnowsTheStatusThatTooLargeTrailersGot) {
  begin("POST", false);
  exchange_.request().version = HttpVersion::kHttp11;  // HTTP/2 resets instead.
  forward();
  exchange_.on_closed(Reset::kOverflow);
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kDpe));
  EXPECT_EQ(exchange_.status(), 431);
}

TEST_F(ExchangeTest, GivesUpAClientThatTakesNothingOfASilentKindOfStream) {
  begin("POST", true);
  ExchangeTimeouts patient = timeouts();
  patient.response = {};
  exchange_.go_to_backend(patient);
  exchange_.on_assigned(BackendId{3, 1}, backend_, false);
  ResponseHead head;
  head.status = 200;
  head.content_length = 5;
  exchange_.on_response(head, false);
  exchange_.on_response_body("hello");
  advance(30s);
  EXPECT_EQ(client_.said, "response 200\nreset timeout\n");
}

TEST_F(ExchangeTest, RestsWhileBothSidesAreSilent) {
  begin("POST", false);
  ExchangeTimeouts patient = timeouts();
  patient.response = {};
  patient.body_rate = 0;
  exchange_.go_to_backend(patient);
  exchange_.on_assigned(BackendId{3, 1}, backend_, false);
  respond(200);
  advance(30s);
  ASSERT_TRUE(timers_.next_wake());
  EXPECT_GT(*timers_.next_wake() - timers_.now(), 50ms);
}

struct FailureCase {
  const char* what;
  Reset reason;
  ResponseFlag flag;
};
class ExchangeFailureTest : public ExchangeTest, public testing::WithParamInterface<FailureCase> {};

TEST_P(ExchangeFailureTest, IsA502BeforeTheHead) {
  begin("POST", true);
  forward();
  exchange_.on_failed({.reason = GetParam().reason, .detail = "why"});
  EXPECT_EQ(client_.said, "response 502\nend\n");
  EXPECT_TRUE(exchange_.flags().has(GetParam().flag));
  EXPECT_EQ(exchange_.status(), 502);
}

TEST_P(ExchangeFailureTest, CutsTheResponseAfterTheHead) {
  begin("GET", true);
  forward();
  respond(200);
  exchange_.on_response_body("part");
  exchange_.on_failed({.reason = GetParam().reason, .detail = "why"});
  EXPECT_EQ(client_.said, "response 200\nreset internal\n");
  EXPECT_TRUE(exchange_.flags().has(GetParam().flag));
}

TEST_P(ExchangeFailureTest, IsA502AsLongAsTheHeadDidNotGoOut) {
  client_.is_response_out = false;
  begin("GET", true);
  forward();
  respond(200);
  exchange_.on_response_body("part");
  exchange_.on_failed({.reason = GetParam().reason, .detail = "why"});
  EXPECT_EQ(client_.said, "response 200\ntake back\nresponse 502\nend\n");
  EXPECT_EQ(client_.body, "Bad Gateway\n");
  EXPECT_TRUE(exchange_.flags().has(GetParam().flag));
  EXPECT_EQ(exchange_.status(), 502);
}

INSTANTIATE_TEST_SUITE_P(
    Reasons, ExchangeFailureTest,
    testing::Values(FailureCase{"closed", Reset::kConnectionLost, ResponseFlag::kUc},
                    FailureCase{"reset", Reset::kCancel, ResponseFlag::kUr},
                    FailureCase{"malformed", Reset::kProtocol, ResponseFlag::kUpe}),
    [](const auto& from) { return from.param.what; });

TEST_F(ExchangeTest, TriesAGetAgainThatAStaleConnectionSwallowed) {
  begin("GET", true);
  forward(true);
  exchange_.on_failed({.reason = Reset::kConnectionLost, .is_retryable = true, .was_sent = true});
  EXPECT_EQ(retries_, 1);
  EXPECT_EQ(exchange_.phase(), Exchange::Phase::kWaiting);
  EXPECT_EQ(client_.said, "");
}

TEST_F(ExchangeTest, NeverSendsAPostTwiceThatMayHaveArrived) {
  begin("POST", true);
  forward(true);
  exchange_.on_failed({.reason = Reset::kConnectionLost, .is_retryable = true, .was_sent = true});
  EXPECT_EQ(retries_, 0);
  EXPECT_EQ(exchange_.status(), 502);
}

TEST_F(ExchangeTest, TriesAPostAgainThatWasSurelyNotProcessed) {
  begin("POST", true);
  forward(true);
  exchange_.on_failed({.reason = Reset::kRefused, .is_retryable = true, .was_sent = false});
  EXPECT_EQ(retries_, 1);
}

TEST_F(ExchangeTest, DoesNotReplayABodyThatIsGone) {
  begin("PUT", false);
  forward(true);
  exchange_.on_request_body("x");
  exchange_.on_failed({.reason = Reset::kRefused, .is_retryable = true, .was_sent = false});
  EXPECT_EQ(retries_, 0);
  EXPECT_EQ(exchange_.status(), 502);
}

TEST_F(ExchangeTest, GivesUpAfterThreeAttempts) {
  begin("GET", true);
  exchange_.go_to_backend(timeouts());
  for (int i = 0; i < 3; ++i) {
    exchange_.on_assigned(BackendId{3, 1}, backend_, true);
    exchange_.on_failed({.reason = Reset::kRefused, .is_retryable = true});
  }
  EXPECT_EQ(retries_, 2);
  EXPECT_EQ(exchange_.status(), 502);
}

TEST_F(ExchangeTest, AnswersA504WhenTheBackendIsSilent) {
  begin("GET", true);
  forward();
  advance(59s);
  EXPECT_EQ(client_.said, "");
  advance(2s);
  EXPECT_EQ(client_.said, "response 504\nend\n");
  EXPECT_EQ(backend_.said, "request GET /x whole\nreset cancel\n");
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kUt));
}

TEST_F(ExchangeTest, CutsAResponseWhoseBackendFallsSilent) {
  begin("GET", true);
  forward();
  respond(200);
  exchange_.on_response_body("part");
  exchange_.on_response_taken(4);
  advance(61s);
  EXPECT_EQ(client_.said, "response 200\nreset internal\n");
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kUt));
}

TEST_F(ExchangeTest, LetsAResponseGoOnForHoursWhileBytesCome) {
  begin("GET", true);
  forward();
  respond(200);
  for (int i = 0; i < 120; ++i) {
    advance(30s);
    exchange_.on_response_body("x");
    exchange_.on_response_taken(1);
  }
  EXPECT_EQ(client_.said, "response 200\n");
}

TEST_F(ExchangeTest, LetsAnEventStreamBeSilent) {
  begin("GET", true);
  forward();
  ResponseHead head;
  head.status = 200;
  head.fields.add(Name::kContentType, "text/event-stream; charset=utf-8");
  exchange_.on_response(head, false);
  advance(1h);
  EXPECT_EQ(client_.said, "response 200\n");
}

TEST_F(ExchangeTest, ResetsAClientThatTakesNothing) {
  begin("GET", true);
  forward();
  respond(200);
  exchange_.on_response_body("ready");
  advance(61s);
  EXPECT_EQ(client_.said, "response 200\nreset timeout\n");
  EXPECT_TRUE(exchange_.flags().has(ResponseFlag::kSi));
}

TEST_F(ExchangeTest, AnswersA408ToABodyThatIsTooSlow) {
  begin("POST", false);
  forward();
  exchange_.on_request_body("x");
  exchange_.on_request_taken(1);
  advance(11s);
  EXPECT_EQ(client_.said, "response 408\nend\n");
}

TEST_F(ExchangeTest, LetsABodyBeAsSlowAsTheRateAllows) {
  begin("POST", false);
  forward();
  for (int i = 0; i < 60; ++i) {
    exchange_.on_request_body(std::string(600, 'x'));
    exchange_.on_request_taken(600);
    advance(1s);
  }
  EXPECT_EQ(client_.said, "");
}

TEST_F(ExchangeTest, AnswersA504WhenTheBackendTakesNoBody) {
  begin("POST", false);
  forward();
  exchange_.on_request_body("ready");
  advance(12s);
  EXPECT_EQ(client_.said, "response 504\nend\n");
}

TEST_F(ExchangeTest, RefusesABodyBeyondTheLimit) {
  begin("POST", false);
  ExchangeTimeouts limits = timeouts();
  limits.body_bytes = 3;
  exchange_.go_to_backend(limits);
  exchange_.on_assigned(BackendId{3, 1}, backend_, false);
  exchange_.on_request_body("abcd");
  EXPECT_EQ(client_.said, "response 413\nend\n");
  EXPECT_EQ(backend_.said, "request POST /x\nreset cancel\n");
  EXPECT_EQ(client_.acknowledged, 4u);
}

TEST_F(ExchangeTest, DropsTheRestOfABodyBehindItsOwnAnswer) {
  begin("POST", false);
  exchange_.reply(404, ResponseFlag::kNr, "route_not_found");
  exchange_.on_request_body("abcd");
  EXPECT_EQ(client_.acknowledged, 4u);
}

TEST_F(ExchangeTest, SaysNothingInTheBodyOfAnAnswerToHead) {
  begin("HEAD", true);
  exchange_.reply(404, ResponseFlag::kNr, "route_not_found");
  EXPECT_EQ(client_.said, "response 404 whole\n");
  EXPECT_EQ(client_.body, "");
}

TEST_F(ExchangeTest, AnswersGrpcInItsOwnForm) {
  begin("POST", true, "application/grpc");
  exchange_.reply(503, ResponseFlag::kUh, "no_healthy_upstream");
  EXPECT_EQ(client_.said, "response 200 whole\n");
}

TEST_F(ExchangeTest, PassesInterimResponsesOn) {
  begin("POST", false);
  forward();
  ResponseHead head;
  head.status = 100;
  exchange_.on_interim(head);
  respond(200, true);
  exchange_.on_response_end(nullptr);
  EXPECT_EQ(client_.said, "interim 100\nresponse 200 whole\n");
}

TEST_F(ExchangeTest, GivesCreditBackForABodyThatNobodyWantsAnyMore) {
  begin("POST", false);
  forward();
  exchange_.on_request_body("abcd");
  respond(200, true);
  exchange_.on_response_end(nullptr);
  EXPECT_EQ(client_.acknowledged, 4u);
  exchange_.on_request_body("ef");
  EXPECT_EQ(client_.acknowledged, 6u);
}

TEST_F(ExchangeTest, SurvivesAFrontendThatIsGone) {
  begin("GET", true);
  forward();
  has_frontend_ = false;
  respond(200);
  exchange_.on_response_body("x");
  exchange_.on_response_end(nullptr);
  exchange_.on_closed(Reset::kConnectionLost);
  EXPECT_EQ(done_, 1);
}

TEST_F(ExchangeTest, StartsAfreshWhenItIsUsedAgain) {
  begin("POST", false);
  forward();
  exchange_.on_request_body("abcd");
  exchange_.on_closed(Reset::kCancel);
  exchange_.recycle();
  begin("GET", true);
  EXPECT_EQ(exchange_.request_bytes(), 0u);
  EXPECT_FALSE(exchange_.flags().any());
  EXPECT_EQ(exchange_.attempts(), 0u);
}

}  // namespace
}  // namespace gatehouse::proxy
