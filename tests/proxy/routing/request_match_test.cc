#include "proxy/routing/request_match.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <utility>

#include "proxy/protocol/http2_head_reader.h"

namespace gatehouse::proxy {
namespace {

RequestHead get(std::string path) {
  RequestHead head;
  head.method = "GET";
  head.path = std::move(path);
  return head;
}

bool does_hold(const RequestMatch& match, const RequestHead& head,
               const net::IpAddress* client = nullptr) {
  return holds(match, {head.path, head, client});
}

TEST(RequestMatch, AMethodIsOneOfThoseGiven) {
  RequestHead head = get("/");
  EXPECT_TRUE(does_hold({.methods = {"POST", "GET"}}, head));
  EXPECT_FALSE(does_hold({.methods = {"POST", "PUT"}}, head));
  head.method = "get";  // Methods are case-sensitive (RFC 9110 section 9.1).
  EXPECT_FALSE(does_hold({.methods = {"GET"}}, head));
  head.method = "HEAD";
  EXPECT_FALSE(does_hold({.methods = {"GET"}}, head));
}

TEST(RequestMatch, AWebSocketIsAGetOverHttp2Too) {
  Http2HeadReader reader;
  reader.begin_request({64 * 1024, 100}, 16 * 1024);
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, const char*>>{{":method", "CONNECT"},
                                                                  {":protocol", "websocket"},
                                                                  {":scheme", "https"},
                                                                  {":authority", "a.example"},
                                                                  {":path", "/chat"}})
    reader.add(name, value);
  ASSERT_TRUE(reader.finish_request().is_fine());
  EXPECT_TRUE(does_hold({.methods = {"GET"}}, reader.request()));
  EXPECT_FALSE(does_hold({.methods = {"CONNECT"}}, reader.request()));
}

TEST(RequestMatch, AHeaderHasExactlyThatValue) {
  RequestHead head = get("/");
  head.fields.add("x-beta", "1");
  head.fields.add("x-beta", "two words");
  head.fields.add(Name::kUserAgent, "curl");
  EXPECT_TRUE(does_hold({.headers = {{"x-beta", "1"}}}, head));
  EXPECT_TRUE(does_hold({.headers = {{"x-beta", "two words"}}}, head));
  EXPECT_TRUE(does_hold({.headers = {{"user-agent", "curl"}}}, head));
  EXPECT_FALSE(does_hold({.headers = {{"x-beta", "2"}}}, head));
  EXPECT_FALSE(does_hold({.headers = {{"x-beta", ""}}}, head));
  EXPECT_FALSE(does_hold({.headers = {{"x-beta2", "1"}}}, head));
  EXPECT_FALSE(does_hold({.headers = {{"user-agent", "Curl"}}}, head));
}

TEST(RequestMatch, AllThatIsGivenMustHold) {
  RequestHead head = get("/x?v=2");
  head.fields.add("a", "1");
  head.fields.add("b", "2");
  RequestMatch match{
      .methods = {"GET"}, .headers = {{"a", "1"}, {"b", "2"}}, .query = {{"v", "2"}}};
  EXPECT_TRUE(does_hold(match, head));
  match.headers[1].second = "3";
  EXPECT_FALSE(does_hold(match, head));
  match.headers.pop_back();
  match.query.emplace_back("w", "");
  EXPECT_FALSE(does_hold(match, head));
}

TEST(RequestMatch, AQueryParameterIsComparedDecoded) {
  const auto has = [](std::string_view query, std::string_view name, std::string_view value) {
    return has_parameter(query, name, value);
  };
  EXPECT_TRUE(has("version=2", "version", "2"));
  EXPECT_TRUE(has("a=1&version=2&b=3", "version", "2"));
  EXPECT_TRUE(has("version=1&version=2", "version", "2"));
  EXPECT_TRUE(has("v%65rsion=%32", "version", "2"));
  EXPECT_TRUE(has("q=two+words%21", "q", "two words!"));
  EXPECT_TRUE(has("q=a%3Db%26c", "q", "a=b&c"));
  EXPECT_TRUE(has("q=a=b", "q", "a=b"));
  EXPECT_TRUE(has("flag", "flag", ""));
  EXPECT_TRUE(has("flag=", "flag", ""));
  EXPECT_TRUE(has("q=50%", "q", "50%"));
  EXPECT_TRUE(has("q=%zz%4", "q", "%zz%4"));
  EXPECT_FALSE(has("", "", ""));
  EXPECT_FALSE(has("version=20", "version", "2"));
  EXPECT_FALSE(has("version=", "version", "2"));
  EXPECT_FALSE(has("xversion=2", "version", "2"));
  EXPECT_FALSE(has("versio=n2", "version", "2"));
  EXPECT_FALSE(has("a=version=2", "version", "2"));
  EXPECT_FALSE(has("VERSION=2", "version", "2"));
}

TEST(RequestMatch, TheQueryIsLookedForInTheTargetOnly) {
  EXPECT_TRUE(does_hold({.query = {{"v", "2"}}}, get("/x?a&v=2")));
  EXPECT_FALSE(does_hold({.query = {{"v", "2"}}}, get("/v=2")));
  EXPECT_TRUE(does_hold({.query = {{"v", "?"}}}, get("/x?v=?")));
}

TEST(RequestMatch, AClientIsInOneOfTheNetworks) {
  const RequestMatch match{
      .sources = {*net::Network::parse("192.0.2.0/24"), *net::Network::parse("::1")}};
  const auto inside = *net::IpAddress::parse("192.0.2.77"),
             loopback = *net::IpAddress::parse("::1"),
             outside = *net::IpAddress::parse("192.0.3.1");
  EXPECT_TRUE(does_hold(match, get("/"), &inside));
  EXPECT_TRUE(does_hold(match, get("/"), &loopback));
  EXPECT_FALSE(does_hold(match, get("/"), &outside));
  EXPECT_FALSE(does_hold(match, get("/"), nullptr));
}

}  // namespace
}  // namespace gatehouse::proxy
