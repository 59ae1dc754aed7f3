#include "store/gateway_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/base/log.h"
#include "tests/support/await.h"
#include "tests/support/test_certificates.h"
#include "tests/support/test_loop.h"

namespace gatehouse::store {
namespace {

using testing::HasSubstr;
using State = GatewayStatus::State;

struct GatewayCheckTest : testing::Test {
  TestLoop loop;
  SeededRandom random{7};
  Metrics metrics;
  std::string log_lines;
  std::vector<net::ProbeRequest> asked;
  net::CredentialPtr shown;  // by the gateway; null: nobody answers
  Duration takes{};          // a handshake
  int at_once = 0, at_once_most = 0;
  GatewayCheck check{{loop, random, metrics},
                     [this](net::ProbeRequest request) { return answer(std::move(request)); }};

  GatewayCheckTest() { capture_log(&log_lines); }
  ~GatewayCheckTest() override {
    bool is_done = false;
    boost::asio::co_spawn(loop.context(), check.stop(),
                          [&is_done](const std::exception_ptr&) { is_done = true; });
    loop.run_ready();
    EXPECT_TRUE(is_done);
    capture_log(nullptr);
  }
  boost::asio::awaitable<Result<net::CertificateFacts>> answer(net::ProbeRequest request) {
    asked.push_back(std::move(request));
    at_once_most = std::max(at_once_most, ++at_once);
    if (takes > Duration{}) (void)co_await net::sleep_for(loop, takes);
    --at_once;
    if (!shown) co_return Error{Fault::kConnection, "connection refused"};
    co_return shown->facts;
  }
  net::CredentialPtr certificate(const std::string& name = "shop",
                                 std::vector<std::string> names = {"www.test"}) {
    const WallTime now = loop.clock().wall_now();
    return make_test_certificate(name, names, now - std::chrono::hours(1),
                                 now + std::chrono::hours(24));
  }
  GatewayStatus status() { return check.status().at(0); }
  bool has_metric(const std::string& line) {
    return metrics.to_text().find(line) != std::string::npos;
  }
};

TEST_F(GatewayCheckTest, AsksUntilTheGatewayShowsItAndTellsTheLag) {
  check.use({{"shop", "gw.test", 8443, 60s}});
  EXPECT_EQ(status().state, State::kWaiting);
  shown = certificate();
  const auto fresh = certificate();
  check.expect(fresh, /*is_written=*/true);
  loop.advance(5s);
  EXPECT_EQ(status().state, State::kPending);
  EXPECT_EQ(status().shown, shown->facts.serial_hex);
  EXPECT_THAT(status().reason, HasSubstr(shown->facts.serial_hex));
  EXPECT_EQ(asked[0].host, "gw.test");
  EXPECT_EQ(asked[0].port, 8443);
  EXPECT_EQ(asked[0].server_name, "www.test");
  EXPECT_GE(asked.size(), 5u);
  EXPECT_LE(asked.size(), 7u);
  shown = fresh;
  loop.advance(2s);
  EXPECT_EQ(status().state, State::kServed);
  EXPECT_GE(*status().lag, 5s);
  EXPECT_LT(*status().lag, 7s);
  EXPECT_TRUE(has_metric("gatehouse_gateway_lag_seconds{certificate=\"shop\"}"));
  EXPECT_TRUE(has_metric("gatehouse_gateway_in_time{certificate=\"shop\"} 1"));
  EXPECT_THAT(log_lines, HasSubstr("level=info event=gateway.serves"));
  const auto before = asked.size();
  check.expect(fresh, /*is_written=*/false);  // The mirror looks at its Secret every minute.
  loop.advance(1h);
  EXPECT_EQ(asked.size(), before);
}

TEST_F(GatewayCheckTest, SoundsTheAlarmAtTheBoundAndGoesOnMoreSlowly) {
  check.use({{"shop", "gw.test", 443, 30s}});
  const auto fresh = certificate();
  check.expect(fresh, /*is_written=*/true);
  loop.advance(29s);
  EXPECT_EQ(status().state, State::kPending);
  EXPECT_TRUE(has_metric("gatehouse_gateway_in_time{certificate=\"shop\"} 1"));
  loop.advance(1500ms);
  EXPECT_EQ(status().state, State::kLate);
  EXPECT_THAT(status().reason, HasSubstr("connection refused"));
  EXPECT_THAT(log_lines, HasSubstr("level=error event=gateway.late"));
  EXPECT_TRUE(has_metric("gatehouse_gateway_in_time{certificate=\"shop\"} 0"));
  const auto before = asked.size();
  loop.advance(10min);
  EXPECT_GE(asked.size() - before, 18u);
  EXPECT_LE(asked.size() - before, 22u);
  EXPECT_EQ(log_lines.find("event=gateway.late"), log_lines.rfind("event=gateway.late"));
  shown = fresh;
  loop.advance(35s);
  EXPECT_EQ(status().state, State::kServed);
  EXPECT_TRUE(has_metric("gatehouse_gateway_in_time{certificate=\"shop\"} 1"));
  EXPECT_GT(*status().lag, 10min);
}

TEST_F(GatewayCheckTest, AHandshakeThatHangsDoesNotDelayTheAlarm) {
  takes = 5min;
  check.use({{"shop", "gw.test", 443, 10s}});
  check.expect(certificate(), /*is_written=*/true);
  loop.advance(11s);
  EXPECT_EQ(status().state, State::kLate);
  EXPECT_EQ(asked.size(), 1u);
  loop.advance(5min);
}

TEST_F(GatewayCheckTest, AfterARestartItIsProvenAgainWithoutALag) {
  check.use({{"shop", "gw.test", 443, 60s}});
  shown = certificate();
  check.expect(shown, /*is_written=*/false);
  loop.advance(1s);
  EXPECT_EQ(status().state, State::kServed);
  EXPECT_FALSE(status().lag);
  EXPECT_FALSE(has_metric("gatehouse_gateway_lag_seconds"));
}

TEST_F(GatewayCheckTest, ANewerCertificateStartsAnewWhileAnOlderIsAskedFor) {
  takes = 3s;
  check.use({{"shop", "gw.test", 443, 60s}});
  shown = certificate();
  check.expect(shown, /*is_written=*/true);
  loop.advance(1s);
  const auto newer = certificate();
  check.expect(newer, /*is_written=*/true);
  loop.advance(4s);
  EXPECT_EQ(status().state, State::kPending) << "the answer was to another question";
  shown = newer;
  loop.advance(10s);
  EXPECT_EQ(status().state, State::kServed);
  EXPECT_EQ(status().serial, newer->facts.serial_hex);
}

TEST_F(GatewayCheckTest, WhatTheAddressBeforeHasShownProvesNothing) {
  takes = 3s;
  check.use({{"shop", "old.test", 443, 60s}});
  shown = certificate();
  check.expect(shown, /*is_written=*/true);
  loop.advance(1s);
  check.use({{"shop", "new.test", 443, 60s}});
  loop.advance(2500ms);
  EXPECT_EQ(status().state, State::kPending);
  EXPECT_EQ(asked.back().host, "new.test");
  loop.advance(3s);
  EXPECT_EQ(status().state, State::kServed);
}

TEST_F(GatewayCheckTest, AFewHandshakesAtOnceHoweverManyCertificates) {
  std::vector<GatewayTarget> targets;
  for (int i = 0; i < 50; ++i) targets.push_back({"c" + std::to_string(i), "gw.test", 443, 600s});
  check.use(targets);
  takes = 100ms;
  for (const auto& target : targets) check.expect(certificate(target.certificate), true);
  loop.advance(5s);
  EXPECT_EQ(at_once_most, GatewayCheck::kHandshakesMax);
  std::set<std::string> names;
  for (const auto& status : check.status())
    if (status.reason != "it was not asked yet") names.insert(status.certificate);
  EXPECT_EQ(names.size(), 50u) << "everybody has a turn";
}

TEST_F(GatewayCheckTest, WhatIsNoLongerConfiguredIsForgotten) {
  check.use({{"shop", "gw.test", 443, 60s}});
  check.expect(certificate(), /*is_written=*/true);
  loop.advance(1s);
  check.use({});
  const auto before = asked.size();
  loop.advance(1min);
  EXPECT_EQ(asked.size(), before);
  EXPECT_FALSE(has_metric("gatehouse_gateway"));
  check.expect(certificate(), /*is_written=*/true);
}

TEST(NameToAsk, IsTheFirstThatIsNoWildcardElseAnExample) {
  net::CertificateFacts facts;
  facts.dns_names = {"*.shop.test", "www.test"};
  EXPECT_EQ(name_to_ask(facts), "www.test");
  facts.dns_names = {"*.shop.test"};
  EXPECT_EQ(name_to_ask(facts), "example.shop.test");
  facts.dns_names.clear();
  EXPECT_EQ(name_to_ask(facts), "");
}

}  // namespace
}  // namespace gatehouse::store
