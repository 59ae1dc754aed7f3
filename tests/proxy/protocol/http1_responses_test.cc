// Responses: each row is a message and the verdict on it, the same for every way to split it.

#include <gtest/gtest.h>

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

std::string transcript_of(std::string_view bytes, bool to_head = false) {
  return transcript_in_pieces(Role::kResponse, bytes, bytes.size() + 1, 1, {}, to_head);
}

void expect_verdicts(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    Http1Transcript transcript(Role::kResponse);
    transcript.feed(row.bytes);
    EXPECT_EQ(transcript.verdict(), row.verdict) << testing::PrintToString(row.bytes);
    const std::string whole = transcript_of(row.bytes);
    EXPECT_EQ(transcript_in_pieces(Role::kResponse, row.bytes, 1), whole) << row.bytes;
    for (std::uint32_t seed = 1; seed <= 8; ++seed)
      EXPECT_EQ(transcript_in_pieces(Role::kResponse, row.bytes, 0, seed), whole) << row.bytes;
  }
}

TEST(Http1Responses, StatusLineHasOneForm) {
  expect_verdicts({
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "ok"},
      {"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "ok"},
      {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "ok"},
      {"HTTP/1.0 404 Nicht gef\xc3\xbcnden\tda\r\nContent-Length: 0\r\n\r\n", "ok"},
      {"HTTP/1.1 599 X\r\nContent-Length: 0\r\n\r\n", "ok"},
      {"HTTP/1.1 000 X\r\n\r\n", "400 bad_status"},
      {"HTTP/1.1 099 X\r\n\r\n", "400 bad_status"},
      {"HTTP/1.1 600 X\r\n\r\n", "400 bad_status"},
      {"HTTP/1.1 999 X\r\n\r\n", "400 bad_status"},
      {"HTTP/1.1 20 OK\r\n\r\n", "400 bad_status_line"},
      {"HTTP/1.1 2000 OK\r\n\r\n", "400 bad_status_line"},
      {"HTTP/1.1 2x0 OK\r\n\r\n", "400 bad_status_line"},
      {"HTTP/1.1 -20 OK\r\n\r\n", "400 bad_status_line"},
      {"HTTP/1.1  200 OK\r\n\r\n", "400 bad_status_line"},
      {"HTTP/1.1\t200 OK\r\n\r\n", "400 bad_status_line"},
      {"HTTP/1.1 200\tOK\r\n\r\n", "400 bad_status_line"},
      {"HTTP/1.1 200 O\0K\r\n\r\n"sv, "400 bad_status_line"},
      {"HTTP/1.1 200 O\rK\r\n\r\n", "400 bad_status_line"},
      {"HTTP/1.1 200 OK\n\n", "400 bare_line_feed"},
      {"HTTP/2.0 200 OK\r\n\r\n", "400 bad_status_line"},
      {"HTTP/1.2 200 OK\r\n\r\n", "400 bad_status_line"},
      {"HTTP/0.9 200 OK\r\n\r\n", "400 bad_status_line"},
      {"http/1.1 200 OK\r\n\r\n", "400 bad_status_line"},
      {"ICY 200 OK\r\n\r\n", "400 bad_status_line"},
      {"SSH-2.0-OpenSSH_9.2\r\n", "400 bad_status_line"},
      {"\r\nHTTP/1.1 200 OK\r\n\r\n", "400 bad_status_line"},
      {" HTTP/1.1 200 OK\r\n\r\n", "400 bad_status_line"},
      {"<html>", "400 bad_status_line"},
      {"HTTP", "more"},
  });
}

TEST(Http1Responses, FieldsAreTokensAndCleanValues) {
  expect_verdicts({
      {"HTTP/1.1 204 X\r\nX : y\r\n\r\n", "400 bad_field_name"},
      {"HTTP/1.1 204 X\r\nX Y: z\r\n\r\n", "400 bad_field_name"},
      {"HTTP/1.1 204 X\r\n: y\r\n\r\n", "400 bad_field_name"},
      {"HTTP/1.1 204 X\r\nnonsense\r\n\r\n", "400 bad_field_name"},
      {"HTTP/1.1 204 X\r\nX: y\r\n z\r\n\r\n", "400 folded_line"},
      {"HTTP/1.1 204 X\r\nX: a\0b\r\n\r\n"sv, "400 bad_field_value"},
      {"HTTP/1.1 204 X\r\nX: a\rb\r\n\r\n", "400 bad_field_value"},
      {"HTTP/1.1 204 X\r\nX: a\nSet-Cookie: b\r\n\r\n", "400 bare_line_feed"},
      {"HTTP/1.1 204 X\r\nHost: x y\r\nExpect: z\r\n\r\n", "ok"},
  });
}

TEST(Http1Responses, FramingIsUnambiguous) {
  expect_verdicts({
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "ok"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", "more"},
      {"HTTP/1.1 200 OK\r\n\r\nhi", "more"},
      {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "400 bad_content_length"},
      {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "400 bad_content_length"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", "400 bad_content_length"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "400 bad_content_length"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
       "400 several_content_lengths"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
       "400 several_content_lengths"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
       "400 length_and_chunked"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "ok"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
       "501 unknown_transfer_encoding"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", "501 unknown_transfer_encoding"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
       "400 several_transfer_encodings"},
      {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "400 transfer_encoding_in_http10"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhix\r\n",
       "400 chunk_longer_than_said"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400 bad_chunk_size"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n",
       "400 framing_in_trailers"},
      {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
       "400 unasked_switch"},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 X\r\n\r\n", "ok"},
      {"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 204 X\r\n\r\n",
       "400 bad_status_line"},
      {"HTTP/1.1 204 X\r\n\r\nbody", "400 bad_status_line"},
  });
}

TEST(Http1Responses, BodyUntilCloseIsCompleteAtTheEnd) {
  EXPECT_EQ(transcript_of("HTTP/1.1 200 OK\r\n\r\nhello"),
            "response 200  [body]  [close]\nbody hello\nend\nok");
}

TEST(Http1Responses, InterimHeadsPrecedeTheFinalOne) {
  EXPECT_EQ(
      transcript_of("HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 0\r\n\r\n"
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
      "response 103\n  link: x\nresponse 100\nresponse 200 length=1  [body]\n"
      "  content-length: 1\nbody x\nend\nok");
}

TEST(Http1Responses, AnswerToHeadHasALengthAndNoBody) {
  EXPECT_EQ(transcript_of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true),
            "response 200 length=5\n  content-length: 5\nok");
  EXPECT_EQ(transcript_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            "response 200\nok");
  EXPECT_EQ(transcript_of("HTTP/1.1 200 OK\r\n\r\n", true), "response 200\nok");
}

TEST(Http1Responses, NotModifiedHasALengthAndNoBody) {
  EXPECT_EQ(transcript_of("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n"),
            "response 304 length=5\n  content-length: 5\nok");
}

TEST(Http1Responses, NoContentThatClaimsABodyEndsTheConnection) {
  EXPECT_EQ(transcript_of("HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n"),
            "response 204  [close]\nok");
  EXPECT_EQ(transcript_of("HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "response 204  [close]\nok");
  EXPECT_EQ(transcript_of("HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n"), "response 204\nok");
}

TEST(Http1Responses, PersistenceFollowsVersionAndConnection) {
  EXPECT_EQ(transcript_of("HTTP/1.1 204 X\r\nConnection: close\r\n\r\n"),
            "response 204  [close]\nok");
  EXPECT_EQ(transcript_of("HTTP/1.0 204 X\r\n\r\n"), "response 204  [close]\nok");
  EXPECT_EQ(transcript_of("HTTP/1.0 204 X\r\nConnection: keep-alive\r\n\r\n"), "response 204\nok");
}

TEST(Http1Responses, HopByHopFieldsAreRemoved) {
  EXPECT_EQ(transcript_of("HTTP/1.1 204 X\r\nConnection: X-A\r\nX-A: 1\r\nKeep-Alive: 2\r\n"
                          "Upgrade: h2c\r\nX-B: 3\r\n\r\n"),
            "response 204\n  x-b: 3\nok");
}

TEST(Http1Responses, GrpcTrailersComeThrough) {
  EXPECT_EQ(transcript_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
                          "Grpc-Status: 0\r\nGrpc-Message: fine\r\nSet-Cookie: a\r\n\r\n"),
            "response 200  [body]\nend\n  grpc-status: 0\n  grpc-message: fine\nok");
}

}  // namespace
}  // namespace gatehouse::proxy
