#include "proxy/protocol/headers.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace gatehouse::proxy {
namespace {

std::string text_of(const Fields& fields) {
  std::string text;
  for (const auto field : fields)
    text.append(field.name).append("=").append(field.value).append("\n");
  return text;
}

Fields fields_of(const std::vector<std::pair<std::string_view, std::string_view>>& pairs) {
  Fields fields;
  for (const auto& [name, value] : pairs) fields.add(name, value);
  return fields;
}

TEST(Lists, MembersAreTrimmedAndEmptyOnesSkipped) {
  std::string seen;
  for_each_member(" a, ,b\t,,c ", [&](std::string_view one) { seen.append(one).append("|"); });
  EXPECT_EQ(seen, "a|b|c|");
  EXPECT_TRUE(has_member("x, Trailers", "trailers"));
  EXPECT_FALSE(has_member("x-trailers", "trailers"));
}

TEST(HopByHop, TheConnectionsFieldsAndTheNominatedAreRemoved) {
  Fields fields = fields_of({{"a", "1"},
                             {"connection", "X-A, close"},
                             {"x-a", "2"},
                             {"connection", "te"},
                             {"te", "trailers"},
                             {"http2-settings", "x"},
                             {"proxy-connection", "y"},
                             {"keep-alive", "z"},
                             {"x-b", "3"}});
  const auto said = strip_hop_by_hop(fields);
  ASSERT_TRUE(said);
  EXPECT_TRUE(said->has_close);
  EXPECT_TRUE(said->te_trailers);
  EXPECT_FALSE(said->has_keep_alive);
  EXPECT_EQ(text_of(fields), "a=1\nx-b=3\n");
}

TEST(HopByHop, ContentLengthCannotBeNominatedAway) {
  Fields fields = fields_of({{"content-length", "1"}, {"connection", "content-length"}});
  EXPECT_TRUE(strip_hop_by_hop(fields));
  EXPECT_EQ(text_of(fields), "content-length=1\n");
}

TEST(HopByHop, HopByHopTransferEncodingIsRemoved) {
  Fields fields = fields_of({{"transfer-encoding", "chunked"}, {"a", "b"}});
  EXPECT_TRUE(strip_hop_by_hop(fields));
  EXPECT_EQ(text_of(fields), "a=b\n");
}

TEST(Cookies, CrumbsAreJoinedAndOneIsLeftAlone) {
  Fields fields = fields_of({{"cookie", "a=1"}, {"x", "y"}, {"cookie", "b=2"}});
  join_cookies(fields);
  EXPECT_EQ(text_of(fields), "x=y\ncookie=a=1; b=2\n");
  join_cookies(fields);
  EXPECT_EQ(text_of(fields), "x=y\ncookie=a=1; b=2\n");
}

TEST(Trailers, WhatMustBeKnownBeforeTheBodyIsNotAllowed) {
  const auto is_allowed = [](std::string_view name) {
    return is_allowed_in_trailers({name_of(name), name, "x"});
  };
  for (const std::string_view name : {"grpc-status", "grpc-message", "x-checksum", "etag",
                                      "server-timing", "grpc-status-details-bin"})
    EXPECT_TRUE(is_allowed(name)) << name;
  for (const std::string_view name : {"content-length",
                                      "transfer-encoding",
                                      "host",
                                      "connection",
                                      "te",
                                      "trailer",
                                      "cookie",
                                      "set-cookie",
                                      "authorization",
                                      "content-type",
                                      "content-encoding",
                                      "cache-control",
                                      "range",
                                      "expect",
                                      "x-forwarded-for",
                                      "x_forwarded_proto",
                                      "x-request-id",
                                      "forwarded",
                                      "via",
                                      "upgrade",
                                      "location",
                                      "date",
                                      "if-match",
                                      "www-authenticate",
                                      "x-http-method-override"})
    EXPECT_FALSE(is_allowed(name)) << name;
}

ForwardingFacts facts(bool is_trusted) {
  ForwardingFacts facts;
  facts.peer_ip = "192.0.2.7";
  facts.is_trusted = is_trusted;
  facts.scheme = "https";
  facts.request_id = "fresh";
  return facts;
}

TEST(Forwarding, UntrustedClaimsAreReplacedInEverySpelling) {
  RequestHead head;
  head.fields = fields_of({{"x-forwarded-for", "1.1.1.1"},
                           {"x_forwarded_for", "1.1.1.1"},
                           {"x-forwarded_proto", "http"},
                           {"x-forwarded-client-cert", "x"},
                           {"x_forwarded-port", "x"},
                           {"x-real-ip", "x"},
                           {"x_real_ip", "x"},
                           {"forwarded", "for=x"},
                           {"x-envoy-internal", "true"},
                           {"x_envoy_original_path", "x"},
                           {"x-request-id", "theirs"},
                           {"x_request_id", "theirs"},
                           {"x-forwardedness", "also"},
                           {"traceparent", "kept"},
                           {"x-b3-traceid", "kept"},
                           {"x-real", "kept"}});
  apply_forwarding(head, facts(false));
  EXPECT_EQ(text_of(head.fields),
            "traceparent=kept\nx-b3-traceid=kept\nx-real=kept\nx-forwarded-for=192.0.2.7\n"
            "x-forwarded-proto=https\nx-request-id=fresh\nvia=1.1 gatehouse\n");
}

TEST(Forwarding, TrustedClaimsAreKeptAndExtended) {
  RequestHead head;
  head.version = HttpVersion::kHttp2;
  head.fields = fields_of({{"x-forwarded-for", "1.1.1.1"},
                           {"x-forwarded-for", "2.2.2.2, 3.3.3.3"},
                           {"x-forwarded-proto", "http"},
                           {"x-forwarded-host", "h"},
                           {"x-request-id", "theirs"},
                           {"via", "1.0 other"}});
  apply_forwarding(head, facts(true));
  EXPECT_EQ(text_of(head.fields),
            "x-forwarded-proto=http\nx-forwarded-host=h\nx-request-id=theirs\nvia=1.0 other\n"
            "x-forwarded-for=1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7\nvia=2.0 gatehouse\n");
}

TEST(Forwarding, ForwardedOfATrustedPeerIsExtended) {
  RequestHead head;
  head.fields = fields_of({{"forwarded", "for=1.1.1.1;host=a"}, {"forwarded", "for=\"[::1]\""}});
  apply_forwarding(head, facts(true));
  EXPECT_EQ(head.fields.find(Name::kForwarded),
            "for=1.1.1.1;host=a, for=\"[::1]\", for=192.0.2.7;proto=https");
  ForwardingFacts v6 = facts(true);
  v6.peer_ip = "2001:db8::1";
  apply_forwarding(head, v6);
  EXPECT_TRUE(head.fields.find(Name::kForwarded)->ends_with(", for=\"[2001:db8::1]\";proto=https"));
}

TEST(Forwarding, NobodyIsBelievedWhatCertificateTheClientHas) {
  RequestHead head;
  head.fields =
      fields_of({{"x-forwarded-client-cert", "Hash=00"}, {"x_forwarded-client_cert", "y"}});
  apply_forwarding(head, facts(true));
  EXPECT_EQ(text_of(head.fields).find("client"), std::string::npos);
}

TEST(Forwarding, TrustedPeerThatSaysNothingGetsTheSameFields) {
  RequestHead head;
  head.version = HttpVersion::kHttp10;
  apply_forwarding(head, facts(true));
  EXPECT_EQ(text_of(head.fields),
            "x-forwarded-for=192.0.2.7\nx-forwarded-proto=https\nx-request-id=fresh\n"
            "via=1.0 gatehouse\n");
}

}  // namespace
}  // namespace gatehouse::proxy
