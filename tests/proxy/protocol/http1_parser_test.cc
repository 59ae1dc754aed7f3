// Requests: each row is a message and the verdict on it. Every row is also fed byte by byte and in
// random pieces, and has to give the same transcript.

#include "proxy/protocol/http1_parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/http1_transcript.h"

namespace gatehouse::proxy {
namespace {

using namespace std::string_view_literals;
using Role = Http1Parser::Role;

struct Row {
  std::string_view bytes;
  std::string_view verdict;
};

std::string transcript_of(std::string_view bytes, const MessageLimits& limits = {}) {
  return transcript_in_pieces(Role::kRequest, bytes, bytes.size() + 1, 1, limits);
}

std::string verdict_of(std::string_view bytes, const MessageLimits& limits = {}) {
  Http1Transcript transcript(Role::kRequest, limits);
  transcript.feed(bytes);
  return transcript.verdict();
}

void expect_verdicts(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    EXPECT_EQ(verdict_of(row.bytes), row.verdict) << testing::PrintToString(row.bytes);
    const std::string whole = transcript_of(row.bytes);
    EXPECT_EQ(transcript_in_pieces(Role::kRequest, row.bytes, 1), whole) << row.bytes;
    for (std::uint32_t seed = 1; seed <= 8; ++seed)
      EXPECT_EQ(transcript_in_pieces(Role::kRequest, row.bytes, 0, seed), whole) << row.bytes;
  }
}

TEST(Http1Requests, RequestLineHasOneForm) {
  expect_verdicts({
      {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
      {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
      {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 empty_request_line"},
      {"get / HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
      {"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
      {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request_line"},
      {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_version"},
      {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400 bad_version"},
      {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_method"},
      {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_method"},
      {"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request_line"},
      {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_method"},
      {"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n"sv, "400 bad_method"},
      {"G\xc3\x84T / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_method"},
      {"GET: / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_method"},
      {"GET\r\n\r\n", "400 bad_request_line"},
      {"GET /\r\n\r\n", "400 bad_request_line"},
      {"GET \r\n\r\n", "400 bad_request_line"},
      {"AMETHODTHATISLONGERTHANANYBODYNEEDS / HTTP/1.1\r\nHost: a\r\n\r\n", "501 unknown_method"},
      {"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "501 connect_refused"},
      {"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "501 connect_refused"},
      {"\x16\x03\x01\x02", "400 bad_method"},
      {"\0"sv, "400 bad_method"},
      {"\n", "400 bad_method"},
      {"GE", "more"},
  });
}

TEST(Http1Requests, OnlyVersions10And11) {
  expect_verdicts({
      {"GET / HTTP/1.0\r\n\r\n", "ok"},
      {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505 unsupported_version"},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505 unsupported_version"},
      {"GET / HTTP/0.9\r\nHost: a\r\n\r\n", "505 unsupported_version"},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 unsupported_version"},
      {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", "400 bad_version"},
      {"GET / HTTP/01.1\r\nHost: a\r\n\r\n", "400 bad_version"},
      {"GET / HTTP/1\r\nHost: a\r\n\r\n", "400 bad_version"},
      {"GET / HTTP/1,1\r\nHost: a\r\n\r\n", "400 bad_version"},
      {"GET / http/1.1\r\nHost: a\r\n\r\n", "400 bad_version"},
      {"GET / HTTPS/1.1\r\nHost: a\r\n\r\n", "400 bad_version"},
      {"GET / HTTP/1.1\0\r\nHost: a\r\n\r\n"sv, "400 bad_version"},
      {"GET / XHTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_version"},
  });
}

TEST(Http1Requests, TargetHasFourFormsOfWhichOneIsRefused) {
  expect_verdicts({
      {"GET /a/../b?c=%2F&\"<>\\^`{|} HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
      {"GET //x HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
      {"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"sv, "400 bad_target"},
      {"GET /\r/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET a HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET ?q HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
      {"OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
      {"GET HTTPS://b:8443?q HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
      {"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
      {"GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET http://b/#f HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET http://b#f HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET http:/b HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET http://b:99999/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_target"},
      {"GET http://b/ HTTP/1.1\r\n\r\n", "400 no_host"},
  });
}

TEST(Http1Requests, HostIsOneAndValid) {
  expect_verdicts({
      {"GET / HTTP/1.1\r\n\r\n", "400 no_host"},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400 several_hosts"},
      {"GET / HTTP/1.0\r\nHost: a\r\nhOST: b\r\n\r\n", "400 several_hosts"},
      {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: a:80x\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: \xc3\xa4.example\r\n\r\n", "400 bad_host"},
      {"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "ok"},
      {"GET / HTTP/1.1\r\nHost: WWW.Shop_1.example.:443\r\n\r\n", "ok"},
  });
}

TEST(Http1Requests, LinesEndInCrLfOnly) {
  expect_verdicts({
      {"GET / HTTP/1.1\nHost: a\n\n", "400 bare_line_feed"},
      {"GET / HTTP/1.1\r\nHost: a\n\r\n", "400 bare_line_feed"},
      {"GET / HTTP/1.1\r\nHost: a\r\n\n", "400 bare_line_feed"},
      {"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "400 bad_field_value"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "400 bad_field_value"},
      {"GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n", "400 bad_field_name"},
      {"GET / HTTP/1.1\rHost: a\r\r", "more"},
      {"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "400 bad_version"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: y\n z\r\n\r\n", "400 bare_line_feed"},
  });
}

TEST(Http1Requests, FieldsAreTokensAndCleanValues) {
  expect_verdicts({
      {"GET / HTTP/1.1\r\nHost: a\r\nX:y\r\nZ:\t y \t\r\nE:\r\n\r\n", "ok"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\x80\xff\r\n\r\n", "ok"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: tab\tinside\r\n\r\n", "ok"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "400 bad_field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n", "400 bad_field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", "400 bad_field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "400 bad_field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n", "400 bad_field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX\0Y: z\r\n\r\n"sv, "400 bad_field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX\xe4: z\r\n\r\n", "400 bad_field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\n:authority: z\r\n\r\n", "400 bad_field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"sv, "400 bad_field_value"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: a\x1b[0m\r\n\r\n", "400 bad_field_value"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n", "400 bad_field_value"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: a\x0b\r\n\r\n", "400 bad_field_value"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", "400 folded_line"},
      {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400 folded_line"},
      {"GET / HTTP/1.1\r\nHost: a\r\n\tX: y\r\n\r\n", "400 folded_line"},
      {"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", "400 folded_line"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n", "more"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r", "more"},
  });
}

TEST(Http1Requests, LengthIsOneNumber) {
  expect_verdicts({
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "ok"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "ok"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\nabc", "ok"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 3\r\n\r\n", "400 disguised_framing"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTRANSFER_ENCODING: chunked\r\n\r\n", "400 disguised_framing"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", "more"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\nab", "more"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n",
       "400 bad_content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551619\r\n\r\nabc",
       "400 bad_content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n", "400 bad_content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", "400 bad_content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", "400 bad_content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 3\r\n\r\n", "400 bad_content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", "400 bad_content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3;\r\n\r\n", "400 bad_content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"3\"\r\n\r\n", "400 bad_content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "400 bad_content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3.0\r\n\r\n", "400 bad_content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
       "400 several_content_lengths"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\ncontent-length: 4\r\n\r\nabc",
       "400 several_content_lengths"},
  });
}

TEST(Http1Requests, TransferEncodingIsChunkedAlone) {
  expect_verdicts({
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "ok"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \t ChunKed \r\n\r\n0\r\n\r\n", "ok"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
       "400 length_and_chunked"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
       "400 length_and_chunked"},
      {"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
       "400 transfer_encoding_in_http10"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
       "chunked\r\n\r\n",
       "400 several_transfer_encodings"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
       "400 several_transfer_encodings"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
       "501 unknown_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
       "501 unknown_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
       "501 unknown_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
       "400 bad_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
       "400 bad_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n",
       "400 bad_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n",
       "400 bad_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
       "400 bad_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
       "400 bad_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", "400 bad_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
       "chunked\r\n\r\n",
       "400 bad_field_value"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", "400 bad_field_name"},
      {"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n",
       "400 folded_line"},
  });
}

TEST(Http1Requests, ChunksAreExact) {
  const auto chunked = [](std::string_view body, std::string_view verdict) {
    const std::string bytes =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(body);
    expect_verdicts({{bytes, verdict}});
  };
  chunked("3\r\nabc\r\n0\r\n\r\n", "ok");
  chunked("00A\r\n0123456789\r\n000\r\n\r\n", "ok");
  chunked("3;x\r\nabc\r\n0;y=z;w=\"q\\\"; \"\r\n\r\n", "ok");
  chunked("3 ; x = y\r\nabc\r\n0\r\n\r\n", "ok");
  chunked("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", "ok");
  chunked("3\r\nab", "more");
  chunked("3\r\nabc\r\n0\r\n", "more");
  chunked("7fffffffffffffff\r\nabc", "more");
  chunked("3\nabc\r\n0\r\n\r\n", "400 bare_line_feed");
  chunked("3\r\nabc\n0\r\n\r\n", "400 chunk_longer_than_said");
  chunked("3\r\nabc\r0\r\n\r\n", "400 chunk_longer_than_said");
  chunked("3\r\nabcd\r\n0\r\n\r\n", "400 chunk_longer_than_said");
  chunked("4\r\nabc\r\n0\r\n\r\n", "400 chunk_longer_than_said");
  chunked("\r\nabc\r\n0\r\n\r\n", "400 bad_chunk_size");
  chunked("x\r\n", "400 bad_chunk_size");
  chunked("-1\r\n", "400 bad_chunk_size");
  chunked("+1\r\na\r\n0\r\n\r\n", "400 bad_chunk_size");
  chunked(" 3\r\nabc\r\n0\r\n\r\n", "400 bad_chunk_size");
  chunked("0x3\r\nabc\r\n0\r\n\r\n", "400 bad_chunk_extension");
  chunked("3 \r\nabc\r\n0\r\n\r\n", "400 bad_chunk_extension");
  chunked("3\r\r\nabc\r\n0\r\n\r\n", "400 bad_chunk_extension");
  chunked("3;\r\nabc\r\n0\r\n\r\n", "400 bad_chunk_extension");
  chunked("3;x\rGET / HTTP/1.1\r\nabc\r\n0\r\n\r\n", "400 bad_chunk_extension");
  chunked("3;x\nabc\r\n0\r\n\r\n", "400 bare_line_feed");
  chunked("3;x=\"y\r\nabc\r\n0\r\n\r\n", "400 bad_chunk_extension");
  chunked("3,x\r\nabc\r\n0\r\n\r\n", "400 bad_chunk_extension");
  chunked("8000000000000000\r\nabc", "400 chunk_size_too_large");
  chunked("fffffffffffffffff\r\nabc", "400 chunk_size_too_large");
  chunked("00000000000000003\r\nabc", "400 chunk_size_too_large");
  chunked("10000000000000003\r\nabc", "400 chunk_size_too_large");
  chunked("0\r\nContent-Length: 3\r\n\r\n", "400 framing_in_trailers");
  chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n", "400 framing_in_trailers");
  chunked("0\r\nHost: b\r\n\r\n", "400 framing_in_trailers");
  chunked("0\r\nX : y\r\n\r\n", "400 bad_field_name");
  chunked("0\r\nX: y\r\n z\r\n\r\n", "400 folded_line");
  chunked("0\r\nX: y\n\r\n", "400 bare_line_feed");
}

TEST(Http1Requests, ExpectationIsExactOrRefused) {
  const auto expect = [](std::string_view field, std::string_view verdict) {
    expect_verdicts(
        {{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n" + std::string(field) + "\r\n\r\nx",
          verdict}});
  };
  expect("Expect: 100-continue", "ok");
  expect("Expect: 100-Continue", "ok");
  expect("Expect: 100-continue, x", "417 unknown_expectation");
  expect("Expect: y 100-continue", "417 unknown_expectation");
  expect("Expect:", "417 unknown_expectation");
  expect("Expect: 100-continue\r\nExpect: 100-continue", "417 unknown_expectation");
  expect("Expect: 200-ok", "417 unknown_expectation");
}

// ---- what comes out ---------------------------------------------------------------------------

TEST(Http1Requests, FieldsComeOutLowerCaseAndWithoutTheConnections) {
  EXPECT_EQ(transcript_of("GET /p?q HTTP/1.1\r\nHost: WWW.Example:80\r\nAccept: */*\r\n"
                          "Connection: Keep-Alive, X-Hop, TE\r\nKeep-Alive: 5\r\nX-Hop: 1\r\n"
                          "TE: trailers, deflate\r\nProxy-Connection: x\r\nX-Stay: 2\r\n\r\n"),
            "request GET |www.example:80|/p?q te\n  accept: */*\n  x-stay: 2\nok");
}

TEST(Http1Requests, AbsoluteFormWinsOverHost) {
  EXPECT_EQ(transcript_of("GET HTTP://B.example?q=1 HTTP/1.1\r\nHost: a\r\n\r\n"),
            "request GET http|b.example|/?q=1\nok");
}

TEST(Http1Requests, AbsoluteFormOfOptionsWithoutPathIsTheAsterisk) {
  EXPECT_EQ(transcript_of("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n"),
            "request OPTIONS http|b|*\nok");
}

TEST(Http1Requests, ContentLengthStaysThoughNominated) {
  EXPECT_EQ(transcript_of("POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length, close\r\n"
                          "Content-Length: 002\r\n\r\nhi"),
            "request POST |a|/ length=2  [body]  [close]\n  content-length: 2\nbody hi\nend\nok");
}

TEST(Http1Requests, TooManyNominationsAreRefused) {
  std::string options = "x0";
  for (int i = 1; i < 40; ++i) options += ",x" + std::to_string(i);
  EXPECT_EQ(verdict_of("GET / HTTP/1.1\r\nHost: a\r\nConnection: " + options + "\r\n\r\n"),
            "400 too_many_connection_options");
}

TEST(Http1Requests, UpgradeIsToldAndLeavesNoField) {
  EXPECT_EQ(transcript_of("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                          "Upgrade: WebSocket\r\nHTTP2-Settings: AA\r\n\r\n"),
            "request GET |a|/ upgrade=websocket\nok");
}

TEST(Http1Requests, UpgradeThatConnectionDoesNotNameIsNone) {
  EXPECT_EQ(transcript_of("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"),
            "request GET |a|/\nok");
}

TEST(Http1Requests, CookiesAreJoined) {
  EXPECT_EQ(transcript_of("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n"),
            "request GET |a|/\n  cookie: a=1; b=2\nok");
}

TEST(Http1Requests, Http10IsKeptAliveOnlyWhenAsked) {
  EXPECT_EQ(transcript_of("GET / HTTP/1.0\r\n\r\n"), "request GET ||/ 1.0  [close]\nok");
  EXPECT_EQ(transcript_of("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
            "request GET ||/ 1.0\nok");
  EXPECT_EQ(transcript_of("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"),
            "request GET ||/ 1.0  [close]\nok");
}

TEST(Http1Requests, CloseWinsOnWhicheverLineItStands) {
  const std::string begin = "GET / HTTP/1.1\r\nHost: a\r\nConnection: ";
  for (const char* lines : {"close\r\nConnection: keep-alive", "keep-alive\r\nConnection: CLOSE",
                            "close\r\nConnection: keep-alive, x", "x, close\r\nConnection: x",
                            "close\r\nKeep-Alive: 5"})
    EXPECT_EQ(transcript_of(begin + lines + "\r\n\r\n"), "request GET |a|/  [close]\nok") << lines;
  EXPECT_EQ(transcript_of(begin + "Keep-Alive\r\nKeep-Alive: 5\r\n\r\n"), "request GET |a|/\nok");
}

TEST(Http1Requests, FieldNamesOfAnyLengthAreLowered) {
  for (const std::size_t size : {1, 63, 64, 65, 200}) {
    const std::string line = std::string(size, 'N') + ": v\r\n";
    EXPECT_EQ(transcript_of("GET / HTTP/1.1\r\nHost: a\r\n" + line + "\r\n"),
              "request GET |a|/\n  " + std::string(size, 'n') + ": v\nok");
    for (const char* bad : {"N", "N ", "N("})
      EXPECT_EQ(
          verdict_of("GET / HTTP/1.1\r\nHost: a\r\n" + std::string(size, 'N') + bad + "\r\n\r\n"),
          "400 bad_field_name")
          << size << bad;
  }
}

TEST(Http1Requests, ExpectationWithoutABodyIsNone) {
  EXPECT_EQ(transcript_of("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"),
            "request GET |a|/\nok");
}

TEST(Http1Requests, TrailersAreCleanedAndGiven) {
  EXPECT_EQ(transcript_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 7\r\nCookie: a\r\n"
                          "Authorization: b\r\nConnection: close\r\nX_Forwarded_For: c\r\n"
                          "Content_Length: 5\r\n\r\n"),
            "request POST |a|/  [body]\nbody hello world\nend\n  x-sum: 7\nok");
}

TEST(Http1Requests, PipelinedRequestsComeOutOneByOne) {
  EXPECT_EQ(
      transcript_of("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
                    "GET /2 HTTP/1.1\r\nHost: b\r\n\r\n\r\nGET /3 HTTP/1.1\r\nHost: c\r\n\r\n"),
      "request POST |a|/1 length=2  [body]\n  content-length: 2\nbody hi\nend\n"
      "request GET |b|/2\nrequest GET |c|/3\nok");
}

// ---- limits -----------------------------------------------------------------------------------

TEST(Http1Requests, LimitsHaveTheirStatuses) {
  MessageLimits limits;
  limits.uri_bytes = 10;
  limits.header_bytes = 200;
  limits.header_fields = 3;
  const auto get = [](std::string_view path, std::string_view fields) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n";
  };
  EXPECT_EQ(verdict_of(get("/123456789", ""), limits), "ok");
  EXPECT_EQ(verdict_of(get("/1234567890", ""), limits), "414 uri_too_long");
  EXPECT_EQ(verdict_of("GET /" + std::string(100, 'a'), limits), "414 uri_too_long");
  EXPECT_EQ(verdict_of(get("/", "A: b\r\nC: d\r\n"), limits), "ok");
  EXPECT_EQ(verdict_of(get("/", "A: b\r\nC: d\r\nE: f\r\n"), limits), "431 too_many_header_fields");
  EXPECT_EQ(verdict_of(get("/", "A: " + std::string(140, 'b') + "\r\n"), limits), "ok");
  EXPECT_EQ(verdict_of(get("/", "A: " + std::string(180, 'b') + "\r\n"), limits),
            "431 header_fields_too_large");
  EXPECT_EQ(verdict_of("GET / HTTP/1.1\r\nA: " + std::string(300, ' '), limits),
            "431 header_fields_too_large");
  // As HTTP/2 counts: 32 bytes for each field.
  EXPECT_EQ(
      verdict_of(get("/", "A: " + std::string(80, 'b') + "\r\nC: " + std::string(70, 'b') + "\r\n"),
                 limits),
      "431 header_fields_too_large");
}

TEST(Http1Requests, ExtensionsAndTrailersAreBounded) {
  MessageLimits limits;
  limits.trailer_bytes = 20;
  limits.chunk_extension_bytes = 10;
  const auto chunked = [](std::string_view body) {
    return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(body);
  };
  EXPECT_EQ(verdict_of(chunked("1;aaaa\r\nx\r\n1;aaaa\r\nx\r\n0\r\n\r\n"), limits), "ok");
  EXPECT_EQ(verdict_of(chunked("1;aaaa\r\nx\r\n1;aaaaa\r\nx\r\n0\r\n\r\n"), limits),
            "400 chunk_line_too_long");
  EXPECT_EQ(verdict_of(chunked("1;" + std::string(40, 'a')), limits), "400 chunk_line_too_long");
  EXPECT_EQ(verdict_of(chunked("0\r\nA: 1\r\n\r\n"), limits), "ok");
  EXPECT_EQ(verdict_of(chunked("0\r\nA: " + std::string(20, 'b') + "\r\n\r\n"), limits),
            "431 trailer_fields_too_large");
}

TEST(Http1Requests, LimitsDoNotDependOnSplits) {
  MessageLimits limits;
  limits.uri_bytes = 30;
  limits.header_bytes = 120;
  limits.trailer_bytes = 20;
  limits.chunk_extension_bytes = 10;
  for (std::size_t size = 0; size < 160; ++size) {
    const std::string fill(size, 'a');
    for (const std::string& bytes :
         {"GET /" + fill + " HTTP/1.1\r\nHost: a\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a\r\nX: " + fill + "\r\n\r\n",
          "P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + fill + "\r\nx\r\n",
          "P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX:" + fill + "\r\n"}) {
      const std::string whole = transcript_of(bytes, limits);
      EXPECT_EQ(transcript_in_pieces(Role::kRequest, bytes, 1, 1, limits), whole) << bytes;
      EXPECT_EQ(transcript_in_pieces(Role::kRequest, bytes, 0, 7, limits), whole) << bytes;
    }
  }
}

TEST(Http1Requests, AFailedParserStaysFailed) {
  Http1Transcript transcript(Role::kRequest);
  EXPECT_FALSE(transcript.feed("G(T / HTTP/1.1\r\n"));
  std::string_view next = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  EXPECT_EQ(transcript.parser().next(next), Http1Parser::Event::kError);
}

TEST(Http1Requests, IsMidHeadFromTheFirstByteToTheEmptyLine) {
  Http1Parser parser(Role::kRequest, {});
  const auto feed = [&](std::string_view bytes) { return parser.next(bytes); };
  EXPECT_FALSE(parser.is_mid_head());
  feed("G");
  EXPECT_TRUE(parser.is_mid_head());
  feed("ET / HTTP/1.1\r\nHost: a\r\n");
  EXPECT_TRUE(parser.is_mid_head());
  EXPECT_EQ(feed("\r\n"), Http1Parser::Event::kHead);
  EXPECT_FALSE(parser.is_mid_head());
  parser.shrink();
  feed("\r\n");
  EXPECT_FALSE(parser.is_mid_head());
}

}  // namespace
}  // namespace gatehouse::proxy
