#include "acme/messages.h"

#include <gtest/gtest.h>

#include <string>

#include "daemon/base/json.h"
#include "daemon/base/text.h"

namespace gatehouse::acme {
namespace {

const WallTime kNow = *parse_rfc3339("2026-08-01T10:00:00Z");

constexpr std::string_view kDirectory = R"({
  "newNonce": "https://ca.example/new-nonce",
  "newAccount": "https://ca.example/new-account",
  "newOrder": "https://ca.example/new-order",
  "revokeCert": "https://ca.example/revoke",
  "keyChange": "https://ca.example/key-change",
  "renewalInfo": "https://ca.example/ari/",
  "Zt2mQ8wC": "https://community.example/adding-random-entries-to-the-directory",
  "meta": {"termsOfService": "https://ca.example/terms", "externalAccountRequired": true,
           "profiles": {"classic": "what you are used to", "shortlived": "six days"},
           "caaIdentities": ["ca.example"]}
})";

TEST(Messages, DirectoryIsRead) {
  auto directory = parse_directory(kDirectory);
  ASSERT_TRUE(directory) << directory.error().message;
  EXPECT_EQ(directory->new_order, "https://ca.example/new-order");
  EXPECT_EQ(directory->renewal_info, "https://ca.example/ari");
  EXPECT_EQ(directory->terms_of_service, "https://ca.example/terms");
  EXPECT_TRUE(directory->needs_external_account);
  EXPECT_EQ(directory->profiles.size(), 2u);
}

TEST(Messages, DirectoryNeedsOnlyThreeUrls) {
  auto directory = parse_directory(
      R"({"newNonce":"https://c/n","newAccount":"https://c/a","newOrder":"https://c/o"})");
  ASSERT_TRUE(directory);
  EXPECT_EQ(directory->renewal_info, "");
  EXPECT_FALSE(directory->needs_external_account);
}

TEST(Messages, DirectoryOverPlainHttpIsRefused) {
  auto directory = parse_directory(
      R"({"newNonce":"https://c/n","newAccount":"http://c/a","newOrder":"https://c/o"})");
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().message, "directory.newAccount: expected an https URL");
}

TEST(Messages, OrderIsRead) {
  auto order = parse_order(
      R"({"status":"valid","expires":"2026-08-08T10:00:00Z",)"
      R"("identifiers":[{"type":"dns","value":"a.example"},{"type":"ip","value":"192.0.2.1"}],)"
      R"("authorizations":["https://c/z/1","https://c/z/2"],"finalize":"https://c/f",)"
      R"("certificate":"https://c/cert","replaces":"aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"})",
      kNow);
  ASSERT_TRUE(order) << order.error().message;
  EXPECT_EQ(order->status, OrderStatus::kValid);
  EXPECT_EQ(order->expires, parse_rfc3339("2026-08-08T10:00:00Z"));
  EXPECT_EQ(order->identifiers[1], (Identifier{"ip", "192.0.2.1"}));
  EXPECT_EQ(order->authorizations.size(), 2u);
  EXPECT_EQ(order->certificate, "https://c/cert");
  EXPECT_EQ(order->replaces, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
}

TEST(Messages, OrderKeepsItsProblem) {
  auto order =
      parse_order(R"({"status":"invalid","identifiers":[{"type":"dns","value":"a.example"}],)"
                  R"("authorizations":[],"finalize":"https://c/f",)"
                  R"("error":{"type":"urn:ietf:params:acme:error:caa","detail":"no"}})",
                  kNow);
  ASSERT_TRUE(order);
  ASSERT_TRUE(order->error);
  EXPECT_EQ(order->error->type, "caa");
}

struct BadCase {
  std::string name, body, message;
};
void PrintTo(const BadCase& one, std::ostream* out) { *out << one.name; }
class BadOrder : public testing::TestWithParam<BadCase> {};

TEST_P(BadOrder, IsRefusedByPath) {
  auto order = parse_order(GetParam().body, kNow);
  ASSERT_FALSE(order);
  EXPECT_NE(order.error().message.find(GetParam().message), std::string::npos)
      << order.error().message;
}

constexpr auto kIdentifiers = R"("identifiers":[{"type":"dns","value":"a"}])";
const std::string kRest = std::string(kIdentifiers) + R"(,"authorizations":[],"finalize":)";

INSTANTIATE_TEST_SUITE_P(
    Orders, BadOrder,
    testing::Values(
        BadCase{"Empty", "", "order"}, BadCase{"Html", "<html></html>", "order"},
        BadCase{"Array", "[]", "order"},
        BadCase{"NoStatus", "{" + kRest + R"("https://c/f"})", "order.status"},
        BadCase{"OddStatus", R"({"status":"done",)" + kRest + R"("https://c/f"})",
                "unknown status"},
        BadCase{"StatusNumber", R"({"status":1,)" + kRest + R"("https://c/f"})", "order.status"},
        BadCase{"NoFinalize", R"({"status":"ready",)" + kRest + "null}", "order.finalize"},
        BadCase{"PlainFinalize", R"({"status":"ready",)" + kRest + R"("http://c/f"})", "https URL"},
        BadCase{"SpaceInUrl", R"({"status":"ready",)" + kRest + R"("https://c/f\r\nX: y"})",
                "https URL"},
        BadCase{"ValidWithoutCertificate", R"({"status":"valid",)" + kRest + R"("https://c/f"})",
                "order.certificate"},
        BadCase{"NoIdentifiers",
                R"({"status":"ready","authorizations":[],"finalize":"https://c/f"})",
                "order.identifiers"},
        BadCase{"OddExpires",
                R"({"status":"ready","expires":"tomorrow",)" + kRest + R"("https://c/f"})",
                "order.expires"},
        BadCase{"AuthorizationNotAUrl",
                R"({"status":"ready",)" + std::string(kIdentifiers) +
                    R"(,"authorizations":["x"],"finalize":"https://c/f"})",
                "order.authorizations"}),
    [](const auto& one) { return one.param.name; });

constexpr std::string_view kAuthorization = R"({
  "status": "pending", "expires": "2026-08-02T10:00:00Z",
  "identifier": {"type": "dns", "value": "a.example"},
  "challenges": [
    {"type": "dns-persist-01", "url": "https://c/ch/0", "status": "pending", "issuer-domain-names": []},
    {"type": "http-01", "url": "https://c/ch/1", "status": "invalid", "token": "abc-_DEF",
     "error": {"type": "urn:ietf:params:acme:error:connection", "detail": "refused"}},
    {"type": "tls-alpn-01", "url": "https://c/ch/2", "status": "processing", "token": "abc"}]})";

TEST(Messages, AuthorizationIsRead) {
  auto authorization = parse_authorization(kAuthorization, kNow);
  ASSERT_TRUE(authorization) << authorization.error().message;
  EXPECT_EQ(authorization->identifier.value, "a.example");
  ASSERT_NE(authorization->find("tls-alpn-01"), nullptr);
  EXPECT_EQ(authorization->find("tls-alpn-01")->status, ChallengeStatus::kProcessing);
  EXPECT_EQ(authorization->find("dns-01"), nullptr);
}

TEST(Messages, ProblemOfAChallengeStaysWithIt) {
  auto authorization = parse_authorization(kAuthorization, kNow);
  ASSERT_TRUE(authorization);
  ASSERT_TRUE(authorization->find("http-01")->error);
  EXPECT_EQ(authorization->find("http-01")->error->type, "connection");
  EXPECT_FALSE(authorization->find("tls-alpn-01")->error);
}

TEST(Messages, TokensOutsideBase64urlAreRefused) {
  for (const std::string& token : {std::string("../../etc"), std::string("a b"), std::string(),
                                   std::string("a="), std::string(129, 'a')}) {
    const auto body =
        R"({"type":"http-01","url":"https://c/1","status":"pending","token":")" + token + "\"}";
    EXPECT_FALSE(parse_challenge(body, kNow)) << token;
  }
}

TEST(Messages, ChallengesOfUnknownTypeNeedNoToken) {
  EXPECT_TRUE(parse_challenge(R"({"type":"odd-01","url":"https://c/1","status":"pending"})", kNow));
}

TEST(Messages, RenewalWindowIsRead) {
  auto window = parse_renewal_info(
      R"({"suggestedWindow":{"start":"2026-09-01T00:00:00Z","end":"2026-09-03T00:00:00+02:00"},)"
      R"("explanationURL":"https://ca.example/why"})");
  ASSERT_TRUE(window) << window.error().message;
  EXPECT_EQ(window->end, parse_rfc3339("2026-09-02T22:00:00Z"));
  EXPECT_EQ(window->explanation_url, "https://ca.example/why");
}

TEST(Messages, RenewalWindowThatEndsBeforeItStartsIsNoAnswer) {
  for (const std::string end : {"2026-08-31T00:00:00Z", "2026-09-01T00:00:00Z"}) {
    auto window = parse_renewal_info(
        R"({"suggestedWindow":{"start":"2026-09-01T00:00:00Z","end":")" + end + "\"}}");
    ASSERT_FALSE(window);
    EXPECT_EQ(window.error().fault, Fault::kInvalid);
  }
}

TEST(Messages, AccountIsRead) {
  auto account = parse_account(R"({"status":"valid","contact":["mailto:me@a.example"]})");
  ASSERT_TRUE(account);
  EXPECT_EQ(account->status, "valid");
  EXPECT_EQ(account->contacts, std::vector<std::string>{"mailto:me@a.example"});
}

TEST(Messages, PayloadsAreThoseOfRfc8555) {
  const auto json = [](const std::string& text) { return *parse_json(text); };
  EXPECT_EQ(json(new_account_payload("me@a.example")),
            json(R"({"termsOfServiceAgreed":true,"contact":["mailto:me@a.example"]})"));
  EXPECT_EQ(json(new_account_payload("")), json(R"({"termsOfServiceAgreed":true})"));
  EXPECT_EQ(json(new_account_payload("", R"({"payload":"x"})")),
            json(R"({"termsOfServiceAgreed":true,"externalAccountBinding":{"payload":"x"}})"));
  EXPECT_EQ(json(find_account_payload()), json(R"({"onlyReturnExisting":true})"));
  EXPECT_EQ(json(contact_payload("")), json(R"({"contact":[]})"));
  EXPECT_EQ(json(finalize_payload("\x01\xff")), json(R"({"csr":"Af8"})"));
  NewOrder order;
  order.identifiers = {identifier_of("A.example"), identifier_of("2001:DB8:0::1")};
  EXPECT_EQ(json(new_order_payload(order)),
            json(R"({"identifiers":[{"type":"dns","value":"a.example"},)"
                 R"({"type":"ip","value":"2001:db8::1"}]})"));
  order.profile = "tlsserver";
  order.replaces = "a.b";
  EXPECT_EQ(json(new_order_payload(order)).at("profile"), "tlsserver");
  EXPECT_EQ(json(new_order_payload(order)).at("replaces"), "a.b");
}

}  // namespace
}  // namespace gatehouse::acme
