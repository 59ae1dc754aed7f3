#include "acme/problem.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "daemon/base/text.h"

namespace gatehouse::acme {
namespace {

const WallTime kNow = *parse_rfc3339("2026-08-01T10:00:00Z");

ProblemAnswer answer(int status, std::string_view body) {
  ProblemAnswer made;
  made.status = status;
  made.content_type = "application/problem+json";
  made.body = body;
  return made;
}

Problem problem(int status, std::string_view body) {
  return parse_problem(answer(status, body), kNow);
}

Problem of_type(std::string_view type, int status = 403) {
  return problem(status, R"({"type":"urn:ietf:params:acme:error:)" + std::string(type) + R"("})");
}

struct ReactionCase {
  std::string type;
  int status;
  Reaction reaction;
  bool tries_next_challenge;
};
void PrintTo(const ReactionCase& one, std::ostream* out) {
  *out << one.type << " with " << one.status;
}

class ProblemReaction : public testing::TestWithParam<ReactionCase> {};

TEST_P(ProblemReaction, FollowsTheTable) {
  const auto parsed = of_type(GetParam().type, GetParam().status);
  EXPECT_EQ(parsed.type, GetParam().type);
  EXPECT_EQ(static_cast<int>(reaction_to(parsed)), static_cast<int>(GetParam().reaction));
  EXPECT_EQ(is_validation_failure(parsed), GetParam().tries_next_challenge);
}

INSTANTIATE_TEST_SUITE_P(
    AllTypes, ProblemReaction,
    testing::Values(ReactionCase{"badNonce", 400, Reaction::kRetrySoon, false},
                    ReactionCase{"orderNotReady", 403, Reaction::kRetrySoon, false},
                    ReactionCase{"alreadyReplaced", 409, Reaction::kRetrySoon, false},
                    ReactionCase{"rateLimited", 429, Reaction::kRateLimited, false},
                    ReactionCase{"rateLimited", 403, Reaction::kRateLimited, false},
                    ReactionCase{"malformed", 429, Reaction::kRateLimited, false},
                    ReactionCase{"dns", 400, Reaction::kTransient, true},
                    ReactionCase{"connection", 400, Reaction::kTransient, true},
                    ReactionCase{"tls", 400, Reaction::kTransient, true},
                    ReactionCase{"serverInternal", 500, Reaction::kTransient, false},
                    ReactionCase{"", 502, Reaction::kTransient, false},
                    ReactionCase{"", 503, Reaction::kTransient, false},
                    ReactionCase{"accountDoesNotExist", 400, Reaction::kAccount, false},
                    ReactionCase{"userActionRequired", 403, Reaction::kAccount, false},
                    ReactionCase{"externalAccountRequired", 403, Reaction::kAccount, false},
                    ReactionCase{"invalidContact", 400, Reaction::kAccount, false},
                    ReactionCase{"unsupportedContact", 400, Reaction::kAccount, false},
                    ReactionCase{"badSignatureAlgorithm", 400, Reaction::kAccount, false},
                    ReactionCase{"caa", 403, Reaction::kPersistent, false},
                    ReactionCase{"unauthorized", 403, Reaction::kPersistent, true},
                    ReactionCase{"incorrectResponse", 403, Reaction::kPersistent, true},
                    ReactionCase{"rejectedIdentifier", 400, Reaction::kPersistent, false},
                    ReactionCase{"unsupportedIdentifier", 400, Reaction::kPersistent, false},
                    ReactionCase{"badCSR", 400, Reaction::kPersistent, false},
                    ReactionCase{"badPublicKey", 400, Reaction::kPersistent, false},
                    ReactionCase{"malformed", 400, Reaction::kPersistent, false},
                    ReactionCase{"invalidProfile", 400, Reaction::kPersistent, false},
                    ReactionCase{"somethingNew", 400, Reaction::kPersistent, false},
                    ReactionCase{"somethingNew", 500, Reaction::kTransient, false}));

TEST(Problem, KeepsWhatTheDocumentSays) {
  const auto parsed = problem(
      403, R"({"type":"urn:ietf:params:acme:error:userActionRequired","detail":"Terms changed",)"
           R"("instance":"https://ca.example/terms","status":400})");
  EXPECT_EQ(parsed.type, "userActionRequired");
  EXPECT_EQ(parsed.detail, "Terms changed");
  EXPECT_EQ(parsed.instance, "https://ca.example/terms");
  EXPECT_EQ(parsed.status, 403) << "the answer's own status counts";
}

TEST(Problem, TypesOutsideAcmeAreKeptWhole) {
  EXPECT_EQ(problem(400, R"({"type":"https://ca.example/odd"})").type, "https://ca.example/odd");
  EXPECT_EQ(problem(400, R"({"type":"about:blank","title":"Bad"})").type, "");
}

TEST(Problem, SubproblemsNameTheIdentifier) {
  const auto parsed = problem(
      403, R"({"type":"urn:ietf:params:acme:error:compound","detail":"two errors","subproblems":[)"
           R"({"type":"urn:ietf:params:acme:error:caa","detail":"CAA forbids",)"
           R"("identifier":{"type":"dns","value":"a.example"}},)"
           R"({"type":"urn:ietf:params:acme:error:dns","detail":"SERVFAIL",)"
           R"("identifier":{"type":"dns","value":"b.example"}}]})");
  ASSERT_EQ(parsed.subproblems.size(), 2u);
  EXPECT_EQ(parsed.subproblems[0].identifier, (Identifier{"dns", "a.example"}));
  const auto text = describe(parsed);
  EXPECT_NE(text.find("a.example: caa: CAA forbids"), std::string::npos) << text;
  EXPECT_NE(text.find("b.example: dns: SERVFAIL"), std::string::npos) << text;
}

TEST(Problem, CompoundIsAsBadAsItsWorstPart) {
  const auto with = [](std::string_view first, std::string_view second) {
    return reaction_to(
        problem(400, R"({"type":"urn:ietf:params:acme:error:compound","subproblems":[{"type":)"
                     R"("urn:ietf:params:acme:error:)" +
                         std::string(first) + R"("},{"type":"urn:ietf:params:acme:error:)" +
                         std::string(second) + R"("}]})"));
  };
  EXPECT_EQ(with("dns", "caa"), Reaction::kPersistent);
  EXPECT_EQ(with("dns", "connection"), Reaction::kTransient);
  EXPECT_EQ(with("userActionRequired", "caa"), Reaction::kAccount);
}

TEST(Problem, RetryAfterInSecondsAndAsDate) {
  auto limited = answer(429, R"({"type":"urn:ietf:params:acme:error:rateLimited"})");
  limited.retry_after = "120";
  EXPECT_EQ(parse_problem(limited, kNow).retry_after, kNow + 120s);
  limited.retry_after = "Sat, 01 Aug 2026 11:00:00 GMT";
  EXPECT_EQ(parse_problem(limited, kNow).retry_after, kNow + 1h);
}

TEST(Problem, AnAbsurdRetryAfterIsCapped) {
  EXPECT_EQ(parse_retry_after("99999999999999999999999", kNow), kNow + 24h * 30);
  EXPECT_EQ(parse_retry_after("Fri, 01 Aug 2099 11:00:00 GMT", kNow), kNow + 24h * 30);
}

TEST(Problem, RetryAfterThatMakesNoSenseIsNone) {
  for (const std::string_view text : {"", " ", "soon", "-1", "1.5", "0x10", "Sat, 01 Aug"})
    EXPECT_FALSE(parse_retry_after(text, kNow)) << text;
}

TEST(Problem, RetryAfterIsFoundInLetsEncryptsText) {
  const auto parsed = problem(
      429, R"({"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates (5))"
           R"( already issued for this exact set of identifiers in the last 168h0m0s, retry after)"
           R"( 2026-08-02 12:30:05 UTC: see https://letsencrypt.org/docs/rate-limits/"})");
  EXPECT_EQ(parsed.retry_after, parse_rfc3339("2026-08-02T12:30:05Z"));
  EXPECT_FALSE(is_ca_wide(parsed));
}

TEST(Problem, RetryAfterTextIsUnderstoodAsRfc3339Too) {
  const auto parsed =
      problem(429, R"({"type":"urn:ietf:params:acme:error:rateLimited",)"
                   R"("detail":"too many, retry after 2026-08-02T12:30:05Z: see there"})");
  EXPECT_EQ(parsed.retry_after, parse_rfc3339("2026-08-02T12:30:05Z"));
}

TEST(Problem, LimitsOfTheAccountHoldTheWholeCa) {
  for (const std::string_view detail :
       {"too many new orders (300) from this account in the last 3h0m0s",
        "too many new registrations (10) from this IP address in the last 3h0m0s"}) {
    const auto parsed = problem(429, R"({"type":"urn:ietf:params:acme:error:rateLimited",)"
                                     R"("detail":")" +
                                         std::string(detail) + "\"}");
    EXPECT_TRUE(is_ca_wide(parsed)) << detail;
  }
}

TEST(Problem, BusyCaHoldsTheWholeCa) {
  auto busy = answer(503, "");
  busy.retry_after = "5";
  const auto parsed = parse_problem(busy, kNow);
  EXPECT_EQ(reaction_to(parsed), Reaction::kRateLimited);
  EXPECT_TRUE(is_ca_wide(parsed));
}

TEST(Problem, PausedNameNeedsAPersonAndShowsTheLink) {
  const auto parsed = problem(
      429, R"({"type":"urn:ietf:params:acme:error:rateLimited","detail":"Your account is)"
           R"( temporarily prevented from requesting certificates for a.example. Please visit:)"
           R"( https://portal.letsencrypt.org/sfe/v1/unpause?jwt=abc.def"})");
  EXPECT_EQ(parsed.unpause_url, "https://portal.letsencrypt.org/sfe/v1/unpause?jwt=abc.def");
  EXPECT_EQ(reaction_to(parsed), Reaction::kPersistent);
  EXPECT_NE(describe(parsed).find("until a person opens https://portal"), std::string::npos);
}

TEST(Problem, ShowsWhereTheNewTermsAre) {
  auto refused = answer(403, R"({"type":"urn:ietf:params:acme:error:userActionRequired",)"
                             R"("instance":"https://ca.example/agree"})");
  refused.links = {"<https://ca.example/dir>;rel=\"index\"",
                   "<https://ca.example/terms-2>; rel=\"terms-of-service\""};
  const auto parsed = parse_problem(refused, kNow);
  EXPECT_EQ(parsed.terms_url, "https://ca.example/terms-2");
  const auto text = describe(parsed);
  EXPECT_NE(text.find("https://ca.example/agree"), std::string::npos);
  EXPECT_NE(text.find("https://ca.example/terms-2"), std::string::npos);
}

TEST(Problem, LinkTargetsAreFoundByRelation) {
  const std::string_view two = R"(<https://a/1>;rel="index", <https://a/2>; title="x"; rel=up)";
  EXPECT_EQ(link_target(two, "index"), "https://a/1");
  EXPECT_EQ(link_target(two, "up"), "https://a/2");
  EXPECT_EQ(link_target(two, "upper"), "");
  EXPECT_EQ(link_target("rel=\"up\"", "up"), "");
  EXPECT_EQ(link_target("<https://a", "up"), "");
}

TEST(Problem, HtmlFromALoadBalancerIsAProblemWithoutType) {
  auto html = answer(502, "<html>bad gateway</html>");
  html.content_type = "text/html";
  const auto parsed = parse_problem(html, kNow);
  EXPECT_EQ(parsed.type, "");
  EXPECT_EQ(describe(parsed),
            "HTTP status 502: an answer that is not a problem document (text/html)");
}

TEST(Problem, WrongTypesInsideAreIgnored) {
  const auto parsed = problem(
      400, R"({"type":7,"detail":[],"instance":{},"identifier":"x","subproblems":{"a":1}})");
  EXPECT_EQ(parsed.type, "");
  EXPECT_EQ(describe(parsed), "HTTP status 400");
}

TEST(Problem, ControlCharactersNeverReachTheLog) {
  const auto parsed = problem(400, R"({"detail":"a\nlevel=info\u001b[31m"})");
  EXPECT_EQ(parsed.detail, "a level=info [31m");
}

TEST(Problem, LongTextsAreCutBetweenCharacters) {
  EXPECT_EQ(printable("ab\xc3\xa9", 3), "ab...");
  EXPECT_EQ(printable("ab\xc3\xa9", 4), "ab\xc3\xa9");
}

TEST(Problem, FailureCarriesTypeTimeAndReaction) {
  auto limited = answer(429, R"({"type":"urn:ietf:params:acme:error:rateLimited","detail":"x"})");
  limited.retry_after = "60";
  const auto failure = to_failure(parse_problem(limited, kNow), "placing the order");
  EXPECT_EQ(failure.reaction, Reaction::kRateLimited);
  EXPECT_EQ(failure.problem_type, "rateLimited");
  EXPECT_EQ(failure.not_before, kNow + 60s);
  EXPECT_EQ(failure.error.fault, Fault::kRateLimited);
  EXPECT_EQ(failure.error.message, "placing the order: rateLimited: x");
}

TEST(Problem, AlreadyReplacedIsToldApart) {
  EXPECT_TRUE(to_failure(of_type("alreadyReplaced", 409), "x").is_replaced_already);
  EXPECT_FALSE(to_failure(of_type("malformed", 400), "x").is_replaced_already);
}

}  // namespace
}  // namespace gatehouse::acme
