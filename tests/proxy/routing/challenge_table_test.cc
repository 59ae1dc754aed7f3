#include "proxy/routing/challenge_table.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

namespace gatehouse::proxy {
namespace {

constexpr std::string_view kFolder = "/.well-known/acme-challenge/";

std::string path_for(std::string_view token) { return std::string(kFolder).append(token); }

net::CredentialPtr credential(std::string name) {
  auto made = std::make_shared<net::Credential>();
  made->name = std::move(name);
  return made;
}

TEST(ChallengeTable, AnswersAnAnnouncedTokenOnly) {
  ChallengeTable table;
  ASSERT_TRUE(table.put_http("tok-EN_1", "tok-EN_1.thumb"));
  EXPECT_EQ(table.http_answer("www.test", path_for("tok-EN_1")), "tok-EN_1.thumb");
  for (const std::string_view other : {"", "tok-EN_2", "tok-en_1", "tok-EN_1/", "tok-EN_1?x",
                                       "tok-EN_1.thumb", "x/tok-EN_1", "/tok-EN_1", "tok%2DEN_1"})
    EXPECT_EQ(table.http_answer("www.test", path_for(other)), std::nullopt) << other;
  EXPECT_EQ(table.http_answer("www.test", "/tok-EN_1"), std::nullopt);
}

TEST(ChallengeTable, ForgetsARemovedToken) {
  ChallengeTable table;
  table.put_http("a", "a.t");
  table.put_http("b", "b.t");
  table.remove_http("a");
  table.remove_http("never there");
  EXPECT_EQ(table.http_answer("www.test", path_for("a")), std::nullopt);
  EXPECT_EQ(table.http_answer("www.test", path_for("b")), "b.t");
}

TEST(ChallengeTable, ANewAnswerReplacesTheOldOne) {
  ChallengeTable table;
  table.put_http("a", "old");
  table.put_http("a", "new");
  EXPECT_EQ(table.http_answer("www.test", path_for("a")), "new");
  EXPECT_EQ(table.http_count(), 1u);
}

TEST(ChallengeTable, RefusesWhatIsNotAToken) {
  ChallengeTable table;
  for (const std::string& token :
       {std::string(), std::string("a/b"), std::string("a.b"), std::string("a="),
        std::string("a b"), std::string("\0", 1), std::string(129, 'a')})
    EXPECT_FALSE(table.put_http(token, "answer")) << token;
  EXPECT_TRUE(table.put_http(std::string(128, 'a'), "answer"));
}

std::shared_ptr<const ChallengeTable::Thumbprints> thumbprints() {
  auto made = std::make_shared<ChallengeTable::Thumbprints>();
  EXPECT_TRUE(made->add("www.test", "thumb"));
  EXPECT_TRUE(made->add("2001:db8::1", "thumb"));
  return made;
}

TEST(ChallengeTable, InAClusterAnswersAnyTokenForTheHostsThatWeIssueFor) {
  ChallengeTable table;
  table.use_thumbprints(thumbprints());
  EXPECT_EQ(table.http_answer("www.test", path_for("a-B_9")), "a-B_9.thumb");
  EXPECT_EQ(table.http_answer("www.test:80", path_for("x")), "x.thumb");
  EXPECT_EQ(table.http_answer("[2001:db8::1]", path_for("x")), "x.thumb");
  EXPECT_EQ(table.http_answer("other.test", path_for("x")), std::nullopt);
  EXPECT_EQ(table.http_answer("sub.www.test", path_for("x")), std::nullopt);
  EXPECT_EQ(table.http_answer("", path_for("x")), std::nullopt);
  table.put_http("x", "x.of another account");
  EXPECT_EQ(table.http_answer("www.test", path_for("x")), "x.of another account");
  table.use_thumbprints(nullptr);
  EXPECT_EQ(table.http_answer("www.test", path_for("a-B_9")), std::nullopt);
}

TEST(ChallengeTable, InAClusterEchoesNothingButTokens) {
  ChallengeTable table;
  table.use_thumbprints(thumbprints());
  for (const std::string& token :
       {std::string(), std::string("a/b"), std::string("a.b"), std::string("a="),
        std::string("a?b"), std::string("<a>"), std::string("a%0d"), std::string("a\r\n"),
        std::string(129, 'a')})
    EXPECT_EQ(table.http_answer("www.test", path_for(token)), std::nullopt) << token;
  const std::string longest(128, 'a');
  EXPECT_EQ(table.http_answer("www.test", path_for(longest)), longest + ".thumb");
}

TEST(ChallengeTable, KnowsThePathsThatAreNeverForwarded) {
  for (const std::string_view path :
       {"/.well-known/acme-challenge", "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/x/y", "/.well-known/acme-challenge/x?q",
        "/.well-known/acme-challenge?q", "/.well-known/acme-challenge//"})
    EXPECT_TRUE(ChallengeTable::is_challenge_path(path)) << path;
  for (const std::string_view path :
       {"/", "/.well-known/", "/.well-known/acme-challenges", "/.well-known/acme-challengex/y",
        "/x/.well-known/acme-challenge/y", "/?/.well-known/acme-challenge/"})
    EXPECT_FALSE(ChallengeTable::is_challenge_path(path)) << path;
}

TEST(ChallengeTable, GivesTheCertificateOfAnOpenTlsAlpnChallenge) {
  ChallengeTable table;
  const auto made = credential("a.example");
  ASSERT_TRUE(table.put_tls_alpn("a.example", made));
  EXPECT_EQ(table.tls_alpn("a.example"), made);
  EXPECT_EQ(table.tls_alpn("b.example"), nullptr);
  EXPECT_EQ(table.tls_alpn(""), nullptr);
  table.remove_tls_alpn("a.example");
  EXPECT_EQ(table.tls_alpn("a.example"), nullptr);
}

TEST(ChallengeTable, RefusesAChallengeWithoutNameOrCertificate) {
  ChallengeTable table;
  EXPECT_FALSE(table.put_tls_alpn("", credential("x")));
  EXPECT_FALSE(table.put_tls_alpn("a.example", nullptr));
  EXPECT_EQ(table.tls_alpn_count(), 0u);
}

TEST(ChallengeTable, HasABound) {
  ChallengeTable table;
  for (std::size_t i = 0; i < ChallengeTable::kEntriesMax; ++i)
    ASSERT_TRUE(table.put_http("t" + std::to_string(i), "answer"));
  EXPECT_FALSE(table.put_http("one-more", "answer"));
  EXPECT_TRUE(table.put_http("t0", "replaced"));
  table.remove_http("t1");
  EXPECT_TRUE(table.put_http("one-more", "answer"));
}

}  // namespace
}  // namespace gatehouse::proxy
