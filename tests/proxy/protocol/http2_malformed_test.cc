// Requests that must reach nobody: each row is reset with PROTOCOL_ERROR or answered by the
// session, told to the log alone, and leaves the connection usable (RFC 9113 section 8.1.1).

#include <gtest/gtest.h>

#include "tests/support/http2_peer.h"

namespace gatehouse::proxy {
namespace {

struct Row {
  const char* why;
  FieldList fields;
  int status = 400;  // of the log; the peer sees it too when it is not 400
};

const FieldList kGood = get_fields();

FieldList with(FieldList more) {
  FieldList fields = kGood;
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}
FieldList pseudo(std::string method, std::string scheme, std::string authority, std::string path) {
  return {{":method", method}, {":scheme", scheme}, {":authority", authority}, {":path", path}};
}
FieldList path(std::string text) { return pseudo("GET", "https", "a.example", text); }
FieldList authority(std::string text) { return pseudo("GET", "https", text, "/"); }

std::vector<Row> rows() {
  const std::string nul(1, '\0');
  return {
      {"no method", {{":scheme", "https"}, {":authority", "a"}, {":path", "/"}}},
      {"no scheme", {{":method", "GET"}, {":authority", "a"}, {":path", "/"}}},
      {"no path", {{":method", "GET"}, {":scheme", "https"}, {":authority", "a"}}},
      {"no authority", {{":method", "GET"}, {":scheme", "https"}, {":path", "/"}}},
      {"nothing but a field", {{"x", "y"}}},
      {"two methods", with({{":method", "GET"}})},
      {"two schemes", with({{":scheme", "https"}})},
      {"two authorities", with({{":authority", "a.example"}})},
      {"two paths", with({{":path", "/"}})},
      {"unknown pseudo", with({{":foo", "bar"}})},
      {"response pseudo", with({{":status", "200"}})},
      {"protocol without the setting", with({{":protocol", "websocket"}})},
      {"pseudo behind a field",
       {{":method", "GET"}, {"x", "y"}, {":scheme", "https"}, {":authority", "a"}, {":path", "/"}}},
      {"empty method", pseudo("", "https", "a.example", "/")},
      {"method with space", pseudo("GE T", "https", "a.example", "/")},
      {"method with CRLF", pseudo("GET\r\nx:", "https", "a.example", "/")},
      {"method with NUL", pseudo("GET" + nul, "https", "a.example", "/")},
      {"scheme unknown", pseudo("GET", "ftp", "a.example", "/")},
      {"scheme empty", pseudo("GET", "", "a.example", "/")},
      {"scheme smuggling", pseudo("GET", "https://evil/?", "a.example", "/")},
      {"path empty", path("")},
      {"path without slash", path("a")},
      {"path absolute", path("https://a.example/")},
      {"path star for GET", path("*")},
      {"path with space", path("/a b")},
      {"path with CRLF", path("/ HTTP/1.1\r\nx: y")},
      {"path with LF", path("/a\nb")},
      {"path with NUL", path("/a" + nul)},
      {"path with fragment", path("/a#b")},
      {"path with DEL", path("/a\x7f")},
      {"path with UTF-8", path("/\xc3\xa9")},
      {"path with tab", path("/a\tb")},
      {"authority empty", authority("")},
      {"authority with user", authority("user@a.example")},
      {"authority with space", authority("a example")},
      {"authority with path", authority("a.example/x")},
      {"authority with CRLF", authority("a.example\r\nx: y")},
      {"authority with bad port", authority("a.example:port")},
      {"authority with port too large", authority("a.example:65536")},
      {"authority with comma", authority("a.example,b.example")},
      {"authority with query", authority("a.example?x")},
      {"host differs", with({{"host", "b.example"}})},
      {"host differs in port", with({{"host", "a.example:444"}})},
      {"two hosts", with({{"host", "a.example"}, {"host", "a.example"}})},
      {"connection", with({{"connection", "close"}})},
      {"keep-alive", with({{"keep-alive", "1"}})},
      {"proxy-connection", with({{"proxy-connection", "x"}})},
      {"transfer-encoding", with({{"transfer-encoding", "chunked"}})},
      {"upgrade", with({{"upgrade", "h2c"}})},
      {"te other", with({{"te", "gzip"}})},
      {"te list", with({{"te", "trailers, gzip"}})},
      {"name in upper case", with({{"X-Y", "z"}})},
      {"name empty", with({{"", "z"}})},
      {"name with space", with({{"x y", "z"}})},
      {"name with colon", with({{"x:y", "z"}})},
      {"name with CR", with({{"x\ry", "z"}})},
      {"name with NUL", with({{"x" + nul, "z"}})},
      {"name not ASCII", with({{"\xc3\xa9", "z"}})},
      {"value with CR", with({{"x", "a\rb"}})},
      {"value with LF", with({{"x", "a\nb"}})},
      {"value with CRLF", with({{"x", "a\r\ncontent-length: 0"}})},
      {"value with NUL", with({{"x", "a" + nul + "b"}})},
      {"value with DEL", with({{"x", "a\x7f"}})},
      {"value with space in front", with({{"x", " a"}})},
      {"value with space behind", with({{"x", "a "}})},
      {"value with tab behind", with({{"x", "a\t"}})},
      {"length not a number", with({{"content-length", "x"}})},
      {"length negative", with({{"content-length", "-1"}})},
      {"length signed", with({{"content-length", "+1"}})},
      {"length empty", with({{"content-length", ""}})},
      {"length a list", with({{"content-length", "0, 0"}})},
      {"length twice", with({{"content-length", "0"}, {"content-length", "0"}})},
      {"length too large", with({{"content-length", "99999999999999999999"}})},
      {"length with an underscore", with({{"content_length", "0"}})},
      {"coding with an underscore", with({{"transfer_encoding", "chunked"}})},
      {"length without body", with({{"content-length", "5"}})},
      {"CONNECT with path", pseudo("CONNECT", "https", "a.example:443", "/")},
      {"CONNECT", {{":method", "CONNECT"}, {":authority", "a.example:443"}}, 501},
      {"expectation", with({{"expect", "200-ok"}}), 417},
      {"path too long", path("/" + std::string(17 * 1024, 'a')), 414},
      {"too many bytes", with({{"x", std::string(40'000, 'a')}, {"y", std::string(30'000, 'a')}}),
       431},
      {"too many fields", with(FieldList(101, {"x", "y"})), 431},
      {"too many crumbs", with(FieldList(2000, {"cookie", "a=b"})), 431},
  };
}

std::string in_frames(StreamId stream, const FieldList& fields) {
  const std::string block = header_block(fields);
  std::string out;
  for (std::size_t at = 0; at == 0 || at < block.size(); at += 16384) {
    const bool is_last = at + 16384 >= block.size();
    out += frame(at == 0 ? FrameType::kHeaders : FrameType::kContinuation,
                 (is_last ? kEndHeaders : 0) | (at == 0 ? kEndStream : 0), stream,
                 block.substr(at, 16384));
  }
  return out;
}

TEST(Http2Malformed, HasEnoughRows) { EXPECT_GE(rows().size(), 60u); }

TEST(Http2Malformed, ReachesNobodyAndSparesTheConnection) {
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.why);
    ServerWorld world;
    world.begin();
    EXPECT_TRUE(world.feed(in_frames(1, row.fields)));
    EXPECT_TRUE(world.heads.empty());
    ASSERT_EQ(world.log.size(), 1u) << world.transcript();
    EXPECT_TRUE(world.log[0].starts_with("refused " + std::to_string(row.status) + " "))
        << world.log[0];
    if (row.status == 400) {
      EXPECT_EQ(world.seen.reset_of(1), Http2Error::kProtocol);
      EXPECT_EQ(world.seen.heads_of(1), "");
    } else {
      EXPECT_EQ(world.seen.heads_of(1),
                ":status: " + std::to_string(row.status) + "\ncontent-length: 0\n");
    }
    EXPECT_EQ(world.session.open_streams(), 0u);
    EXPECT_TRUE(world.feed(get(3)));
    EXPECT_EQ(world.log.back(), "request 3 GET https://a.example/ ended") << "HPACK is in step";
  }
}

TEST(Http2Malformed, AcceptsTheStarOfOptions) {
  ServerWorld world;
  world.begin();
  world.feed(headers(1, pseudo("OPTIONS", "https", "a.example", "*")));
  EXPECT_EQ(world.told("request 1 OPTIONS https://a.example* ended"), 1u);
}

struct BodyRow {
  const char* why;
  std::string frames;
};

TEST(Http2Malformed, BodiesThatLieAreNeverWhole) {
  const BodyRow bodies[] = {
      {"more than the length", post(1, {{"content-length", "3"}}) + data(1, "abcd", true)},
      {"less than the length", post(1, {{"content-length", "3"}}) + data(1, "ab", true)},
      {"trailers before the length is reached",
       post(1, {{"content-length", "3"}}) + data(1, "ab") + headers(1, {{"x", "y"}})},
      {"pseudo field in trailers", post(1) + headers(1, {{":path", "/"}})},
      {"connection field in trailers", post(1) + headers(1, {{"connection", "close"}})},
      {"transfer-encoding in trailers", post(1) + headers(1, {{"transfer-encoding", "x"}})},
      {"CRLF in trailers", post(1) + headers(1, {{"x", "a\r\nb"}})},
      {"trailers that do not end", post(1) + headers(1, {{"x", "y"}}, false)},
  };
  for (const BodyRow& row : bodies) {
    SCOPED_TRACE(row.why);
    ServerWorld world;
    world.begin();
    EXPECT_TRUE(world.feed(row.frames));
    EXPECT_LE(world.bodies.size(), 3u) << "never beyond Content-Length";
    EXPECT_EQ(world.seen.reset_of(1), Http2Error::kProtocol);
    ASSERT_EQ(world.log.size(), 2u) << world.transcript();
    EXPECT_EQ(world.log[1], "closed 1 protocol");
  }
}

TEST(Http2Malformed, TrailersBeyondTheirLimitEndTheStream) {
  ServerWorld world;
  world.begin();
  world.feed(post(1) + in_frames(1, {{"x", std::string(20'000, 'a')}}));
  EXPECT_EQ(world.log.back(), "closed 1 overflow");
  EXPECT_EQ(world.seen.reset_of(1), Http2Error::kInternal);
}

}  // namespace
}  // namespace gatehouse::proxy
