#include "acme/issuer.h"

#include <gtest/gtest.h>

#include "daemon/base/text.h"
#include "tests/support/issuer_world.h"

namespace gatehouse::acme {
namespace {

using Strings = std::vector<std::string>;

std::string message_of(const AttemptResult& result) {
  return result ? "success" : result.error().error.message;
}

net::HttpResponse with_field(net::HttpResponse response, std::string name, std::string value) {
  response.fields.push_back({std::move(name), std::move(value)});
  return response;
}

TEST(Issuer, IssuesForAllNames) {
  IssuerWorld world;
  auto result = world.issue(task_for({"a.example", "B.example"}));
  ASSERT_TRUE(result) << message_of(result);
  EXPECT_EQ((*result)->name, "a.example");
  EXPECT_TRUE((*result)->facts.covers("b.example"));
  EXPECT_EQ(world.ca->complaints, Strings());
}

TEST(Issuer, LeavesNoAnswerBehind) {
  IssuerWorld world;
  ASSERT_TRUE(world.issue(task_for({"a.example"})));
  EXPECT_TRUE(world.process->sink.is_empty());
}

TEST(Issuer, LeavesTheOrderToBeFinishedByTheKeeper) {
  IssuerWorld world;
  ASSERT_TRUE(world.issue(task_for({"a.example"})));
  ASSERT_TRUE(world.order("a.example"));
  EXPECT_EQ(world.order("a.example")->step, store::OrderStep::kIssued);
}

TEST(Issuer, TakesTheChallengeTypesInOrderOfPreference) {
  IssuerWorld world;
  ASSERT_TRUE(world.issue(task_for({"a.example"})));
  EXPECT_EQ(world.ca->challenges, Strings{"tls-alpn-01 a.example"});

  auto options = fake_ca_options();
  options.challenges = {ChallengeType::kHttp01, ChallengeType::kTlsAlpn01};
  IssuerWorld other(options);
  ASSERT_TRUE(other.issue(task_for({"a.example"})));
  EXPECT_EQ(other.ca->challenges, Strings{"http-01 a.example"});
}

TEST(Issuer, TriesTheNextChallengeTypeSoonAfterOneFailed) {
  IssuerWorld world;
  world.ca->verdict = [](const std::string& type, const std::string&) {
    return type == "tls-alpn-01" ? "unauthorized" : "";
  };
  auto first = world.issue(task_for({"a.example"}));
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().reaction, Reaction::kTransient);
  EXPECT_EQ(first.error().problem_type, "unauthorized");
  EXPECT_TRUE(world.issue(task_for({"a.example"})));
  EXPECT_EQ(world.ca->challenges, (Strings{"tls-alpn-01 a.example", "http-01 a.example"}));
}

TEST(Issuer, KeepsToTheTypeThatWorked) {
  IssuerWorld world;
  world.ca->verdict = [](const std::string& type, const std::string&) {
    return type == "tls-alpn-01" ? "connection" : "";
  };
  EXPECT_FALSE(world.issue(task_for({"a.example"})));
  ASSERT_TRUE(world.issue(task_for({"a.example"})));
  world.ca->challenges.clear();
  world.ca->forget_everything();
  ASSERT_TRUE(world.issue(task_for({"a.example"})));
  EXPECT_EQ(world.ca->challenges, Strings{"http-01 a.example"});
}

TEST(Issuer, BeginsWithTheNextTypeAfterARestart) {
  IssuerWorld world;
  Issuer::Past past;
  auto& facts = past.renewal.facts["a.example"];
  facts.ca_attempts = 1;
  facts.ca = "fake";
  facts.last_error = store::LastError{"unauthorized", "no", "fake", {}};
  world.restart(std::move(past));
  ASSERT_TRUE(world.issue(task_for({"a.example"})));
  EXPECT_EQ(world.ca->challenges, Strings{"http-01 a.example"});
}

TEST(Issuer, NeedsAPersonWhenEveryTypeWasRefused) {
  IssuerWorld world;
  world.ca->verdict = [](const std::string&, const std::string&) { return "unauthorized"; };
  EXPECT_FALSE(world.issue(task_for({"a.example"})));
  auto second = world.issue(task_for({"a.example"}));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().reaction, Reaction::kPersistent);
  EXPECT_FALSE(world.order("a.example"));
  EXPECT_TRUE(world.process->sink.is_empty());
}

TEST(Issuer, NamesTheHostThatFailed) {
  IssuerWorld world;
  world.ca->verdict = [](const std::string&, const std::string& name) {
    return name == "bad.example" ? "dns" : "";
  };
  auto result = world.issue(task_for({"good.example", "bad.example"}));
  ASSERT_FALSE(result);
  EXPECT_NE(message_of(result).find("bad.example: dns"), std::string::npos) << message_of(result);
  EXPECT_EQ(message_of(result).find("good.example"), std::string::npos);
}

TEST(Issuer, RefusesWildcardsWithoutAskingTheCa) {
  IssuerWorld world;
  auto result = world.issue(task_for({"*.a.example"}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reaction, Reaction::kPersistent);
  EXPECT_NE(message_of(result).find("not supported yet"), std::string::npos);
  EXPECT_EQ(world.ca->requests, 0);
}

TEST(Issuer, AnswersForAnAddressUnderItsReverseName) {
  IssuerWorld world;
  world.begin(task_for({"192.0.2.1"}));
  world.ca->polls_until_valid = 3;
  while (!world.is_done() && world.process->sink.is_empty()) world.process->step();
  EXPECT_EQ(world.process->sink.tls_alpn.count("1.2.0.192.in-addr.arpa"), 1u);
  auto result = world.finish();
  ASSERT_TRUE(result) << message_of(result);
  EXPECT_TRUE((*result)->facts.covers("192.0.2.1"));
}

TEST(Issuer, SkipsWhatTheCaStillRemembers) {
  IssuerWorld world;
  world.ca->reuses_authorizations = true;
  ASSERT_TRUE(world.issue(task_for({"a.example"})));
  auto task = task_for({"a.example"});
  task.certificate.name = "second";
  ASSERT_TRUE(world.issue(std::move(task)));
  EXPECT_EQ(world.ca->challenges.size(), 1u);
  EXPECT_EQ(world.ca->certificates_issued, 2);
}

TEST(Issuer, SaysThatALeafWasReplacedAlready) {
  IssuerWorld world;
  world.ca->replaced.insert("old.id");
  auto task = task_for({"a.example"});
  task.replaces = "old.id";
  auto result = world.issue(std::move(task));
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().is_replaced_already);
  EXPECT_EQ(result.error().reaction, Reaction::kRetrySoon);
  EXPECT_TRUE(world.issue(task_for({"a.example"}))) << "asked again without it";
  EXPECT_EQ(world.ca->order_payloads.back().find("replaces"), std::string::npos);
}

TEST(Issuer, SendsReplacesOnlyToACaWithRenewalInformation) {
  IssuerWorld world;
  world.ca->has_ari = false;
  auto task = task_for({"a.example"});
  task.replaces = "old.id";
  ASSERT_TRUE(world.issue(std::move(task)));
  EXPECT_EQ(world.ca->order_payloads.back().find("replaces"), std::string::npos);
}

TEST(Issuer, SendsTheProfile) {
  auto options = fake_ca_options();
  options.profile = "shortlived";
  IssuerWorld world(options);
  ASSERT_TRUE(world.issue(task_for({"a.example"})));
  EXPECT_NE(world.ca->order_payloads.back().find(R"("profile":"shortlived")"), std::string::npos);
}

TEST(Issuer, WaitsWhileTheOrderIsProcessed) {
  IssuerWorld world;
  world.ca->polls_until_issued = 20;
  EXPECT_TRUE(world.issue(task_for({"a.example"})));
}

TEST(Issuer, GivesUpAProcessingOrderAfterTenMinutesAndResumesIt) {
  IssuerWorld world;
  world.ca->polls_until_issued = 1'000'000;
  const auto begun = world.process->loop.clock().steady_now();
  auto result = world.issue(task_for({"a.example"}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reaction, Reaction::kTransient);
  const auto took = world.process->loop.clock().steady_now() - begun;
  EXPECT_GE(took, 10min);
  EXPECT_LT(took, 12min);
  world.ca->polls_until_issued = 1;
  world.restart();
  EXPECT_TRUE(world.issue(task_for({"a.example"})));
  EXPECT_EQ(world.ca->orders_placed, 1);
  EXPECT_EQ(world.ca->certificates_issued, 1);
}

TEST(Issuer, RepeatsAHundredTimesOnBadNonces) {
  IssuerWorld world;
  world.ca->bad_nonces = 100;
  EXPECT_TRUE(world.issue(task_for({"a.example"})));
}

TEST(Issuer, BacksOffWhenNoNonceIsGoodEnough) {
  IssuerWorld world;
  world.ca->bad_nonces = 101;
  auto result = world.issue(task_for({"a.example"}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reaction, Reaction::kTransient);
  EXPECT_TRUE(world.issue(task_for({"a.example"})));
}

TEST(Issuer, TellsTheTimeOfARateLimit) {
  for (const std::string value : {"3600", "Sat, 01 Aug 2026 11:00:00 GMT"}) {
    IssuerWorld world;
    world.ca->answer_instead("/order-new",
                             with_field(FakeCa::problem(429, "rateLimited"), "Retry-After", value));
    auto result = world.issue(task_for({"a.example"}));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().reaction, Reaction::kRateLimited);
    ASSERT_TRUE(result.error().not_before);
    const auto left = *result.error().not_before - *parse_rfc3339("2026-08-01T11:00:00Z");
    EXPECT_LT(std::chrono::abs(left), 10s) << value;
  }
}

TEST(Issuer, CaThatIsDownIsTransientAndTheOrderGoesOnLater) {
  for (const std::string path :
       {"/dir", "/nonce", "/account-new", "/order-new", "/authz", "/chall", "/finalize", "/cert"}) {
    IssuerWorld world;
    world.ca->answer_instead(path, FakeCa::problem(500, "serverInternal"));
    auto result = world.issue(task_for({"a.example"}));
    ASSERT_FALSE(result) << path;
    EXPECT_EQ(result.error().reaction, Reaction::kTransient) << path;
    EXPECT_TRUE(world.process->sink.is_empty()) << path;
    EXPECT_TRUE(world.issue(task_for({"a.example"}))) << path;
    EXPECT_EQ(world.ca->certificates_issued, 1) << path;
    EXPECT_EQ(world.ca->orders_placed, 1) << path;
  }
}

struct ChainCase {
  std::string name;
  FakeCa::Chain chain;
  Reaction reaction;
  bool is_order_kept;  // a further download may be good
};
void PrintTo(const ChainCase& one, std::ostream* out) { *out << one.name; }
class IssuedChain : public testing::TestWithParam<ChainCase> {};

TEST_P(IssuedChain, IsRefused) {
  IssuerWorld world;
  world.ca->chain = GetParam().chain;
  auto result = world.issue(task_for({"a.example"}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reaction, GetParam().reaction) << message_of(result);
  EXPECT_EQ(world.order("a.example").has_value(), GetParam().is_order_kept);
}

INSTANTIATE_TEST_SUITE_P(
    Faults, IssuedChain,
    testing::Values(ChainCase{"WrongKey", FakeCa::Chain::kWrongKey, Reaction::kPersistent, false},
                    ChainCase{"Expired", FakeCa::Chain::kExpired, Reaction::kPersistent, false},
                    ChainCase{"OtherName", FakeCa::Chain::kOtherName, Reaction::kPersistent, false},
                    ChainCase{"Reversed", FakeCa::Chain::kReversed, Reaction::kPersistent, false},
                    ChainCase{"NotLinked", FakeCa::Chain::kNotLinked, Reaction::kPersistent, false},
                    ChainCase{"Html", FakeCa::Chain::kHtml, Reaction::kTransient, true},
                    ChainCase{"TooLarge", FakeCa::Chain::kTooLarge, Reaction::kTransient, true},
                    ChainCase{"Truncated", FakeCa::Chain::kTruncated, Reaction::kTransient, true}),
    [](const auto& one) { return one.param.name; });

TEST(Issuer, DownloadsAgainWhatWasCut) {
  IssuerWorld world;
  world.ca->chain = FakeCa::Chain::kTruncated;
  EXPECT_FALSE(world.issue(task_for({"a.example"})));
  world.ca->chain = FakeCa::Chain::kGood;
  EXPECT_TRUE(world.issue(task_for({"a.example"})));
  EXPECT_EQ(world.ca->certificates_issued, 1);
}

TEST(Issuer, RegistersAgainWithTheSameKeyWhenTheAccountIsGone) {
  IssuerWorld world;
  ASSERT_TRUE(world.issue(task_for({"a.example"})));
  const auto before = world.account();
  world.ca->forget_everything();
  auto result = world.issue(task_for({"b.example"}));
  ASSERT_TRUE(result) << message_of(result);
  EXPECT_EQ(world.account()->key_pem, before->key_pem);
  EXPECT_NE(world.account()->url, before->url);
}

TEST(Issuer, AlarmsWhenTheAccountIsGoneTwice) {
  IssuerWorld world;
  world.ca->answer_instead("/order-new", FakeCa::problem(400, "accountDoesNotExist"), 2);
  auto result = world.issue(task_for({"a.example"}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reaction, Reaction::kAccount);
  EXPECT_TRUE(result.error().is_ca_wide);
}

TEST(Issuer, OrderThatTheCaForgotIsPlacedAfresh) {
  IssuerWorld world;
  world.ca->polls_until_issued = 1'000'000;
  EXPECT_FALSE(world.issue(task_for({"a.example"})));
  world.ca->polls_until_issued = 0;
  world.ca->answer_instead("/order/", FakeCa::problem(404, "malformed"));
  EXPECT_TRUE(world.issue(task_for({"a.example"})));
  EXPECT_EQ(world.ca->orders_placed, 2);
}

TEST(Issuer, FinalizesAgainWhenTheOrderWasNotReady) {
  IssuerWorld world;
  world.ca->answer_instead("/finalize/", FakeCa::problem(403, "orderNotReady"));
  auto result = world.issue(task_for({"a.example"}));
  EXPECT_TRUE(result) << message_of(result);
}

TEST(Issuer, ShowsWhereAPersonHasToAgree) {
  IssuerWorld world;
  auto refused = FakeCa::problem(403, "userActionRequired");
  refused.body.insert(refused.body.size() - 1, R"(,"instance":"https://ca.example/agree")");
  world.ca->answer_instead("/order-new", refused);
  auto result = world.issue(task_for({"a.example"}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reaction, Reaction::kAccount);
  EXPECT_TRUE(result.error().is_ca_wide);
  EXPECT_NE(message_of(result).find("https://ca.example/agree"), std::string::npos);
}

TEST(Issuer, CaThatWantsAnExternalAccountIsToldApart) {
  IssuerWorld world;
  world.ca->needs_external_account = true;
  auto result = world.issue(task_for({"a.example"}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().problem_type, "externalAccountRequired");
  EXPECT_NE(message_of(result).find("external_account"), std::string::npos);
  EXPECT_EQ(world.ca->accounts_made, 0);
}

TEST(Issuer, BindsTheAccountToTheOneThatTheOperatorHas) {
  IssuerWorld world(customer_options());
  world.ca->customer = customer_options().external_account;
  ASSERT_TRUE(world.issue(task_for({"a.example"})));
  EXPECT_EQ(world.ca->bindings_spent, 1);
  ASSERT_TRUE(world.issue(task_for({"b.example"})));
  world.restart();
  ASSERT_TRUE(world.issue(task_for({"c.example"})));
  EXPECT_EQ(world.ca->bindings_spent, 1) << "the account is there";
  EXPECT_EQ(world.ca->complaints, Strings());
}

TEST(Issuer, SaysWhatTheCaHasAgainstABindingAndNothingOfItsKey) {
  for (const bool is_code : {true, false}) {
    IssuerWorld world(customer_options());
    world.ca->customer = customer_options().external_account;
    (is_code ? world.ca->customer->hmac_key : world.ca->customer->key_id) += "x";
    auto result = world.issue(task_for({"a.example"}));
    ASSERT_FALSE(result);
    EXPECT_TRUE(result.error().is_ca_wide);
    EXPECT_NE(message_of(result).find(is_code ? "the code" : "the key id"), std::string::npos);
    EXPECT_EQ(message_of(result).find(customer_options().external_account->hmac_key),
              std::string::npos);
    EXPECT_EQ(world.ca->accounts_made, 0);
  }
}

TEST(Issuer, ChangesTheContactOfTheAccountWhenTheEmailChanged) {
  IssuerWorld world;
  ASSERT_TRUE(world.issue(task_for({"a.example"})));
  Issuer::Past past;
  past.former_accounts.push_back(*world.account());
  world.options.email = "new@a.example";
  world.restart(std::move(past));
  ASSERT_TRUE(world.issue(task_for({"b.example"})));
  EXPECT_EQ(world.ca->accounts_made, 1);
  EXPECT_EQ(world.ca->contacts, Strings{"mailto:new@a.example"});
  ASSERT_TRUE(world.account());
}

TEST(Issuer, OrdersThatShareAHostRunOneAfterAnother) {
  IssuerWorld world;
  auto first = task_for({"a.example"}), second = task_for({"a.example", "b.example"});
  second.certificate.name = "second";
  std::optional<AttemptResult> other;
  boost::asio::co_spawn(
      world.process->loop.context(), world.process->issuer->issue(std::move(second)),
      [&](const std::exception_ptr&, AttemptResult result) { other.emplace(std::move(result)); });
  EXPECT_TRUE(world.issue(std::move(first)));
  while (!other) world.process->step();
  EXPECT_TRUE(*other) << message_of(*other);
  EXPECT_EQ(world.ca->complaints, Strings());
  EXPECT_EQ(world.ca->accounts_made, 1);
}

TEST(Issuer, TellsItsSteps) {
  IssuerWorld world;
  Strings steps;
  auto task = task_for({"a.example"});
  task.on_step = [&](std::string_view step) { steps.emplace_back(step); };
  ASSERT_TRUE(world.issue(std::move(task)));
  EXPECT_EQ(steps, (Strings{"opening the account", "making a key", "placing the order",
                            "waiting for validation", "finalizing the order",
                            "downloading the certificate"}));
}

TEST(Issuer, ReadsRenewalInformation) {
  IssuerWorld world;
  world.ca->renewal_info =
      R"({"suggestedWindow":{"start":"2026-09-01T00:00:00Z","end":"2026-09-03T00:00:00Z"}})";
  Awaited answer(world.process->loop, world.process->issuer->renewal_info("a.b"));
  while (!answer.is_done()) world.process->step();
  ASSERT_TRUE(*answer);
  EXPECT_EQ((*answer)->start, parse_rfc3339("2026-09-01T00:00:00Z"));
  EXPECT_EQ((*answer)->retry_after, Duration(6h));
  EXPECT_EQ(world.ca->log.back(), "GET /ari/a.b");
}

TEST(Issuer, CaWithoutRenewalInformationIsUnsupported) {
  IssuerWorld world;
  world.ca->has_ari = false;
  Awaited answer(world.process->loop, world.process->issuer->renewal_info("a.b"));
  while (!answer.is_done()) world.process->step();
  ASSERT_FALSE(*answer);
  EXPECT_EQ(answer->error().fault, Fault::kUnsupported);
}

}  // namespace
}  // namespace gatehouse::acme
