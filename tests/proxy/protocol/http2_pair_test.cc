// Our client against our server: what one end promises, the other must take.

#include <gtest/gtest.h>

#include <random>

#include "tests/support/http2_peer.h"

namespace gatehouse::proxy {
namespace {

/// Carries bytes between the two, in pieces of at most `piece`.
class Pair {
 public:
  explicit Pair(std::size_t piece = 1 << 20, unsigned seed = 0) : piece_(piece), random_(seed) {}

  /// True: something moved.
  bool turn() {
    const bool to_server = carry(client_session_, server_session_);
    const bool to_client = carry(server_session_, client_session_);
    return to_server || to_client;
  }
  void settle() {
    while (turn()) {
    }
  }

  ServerWorld server;
  ClientWorld client;
  std::size_t queued_most = 0;

 private:
  template <class From, class To>
  bool carry(From& from, To& to) {
    FlatBuffer out;
    from.produce(out, 64 * 1024);
    queued_most = std::max(queued_most, out.size());
    const bool moved = !out.empty();
    while (!out.empty()) {
      const std::size_t most = std::min(out.size(), piece_);
      const std::size_t size = piece_ > 4096 ? most : 1 + random_() % most;
      EXPECT_TRUE(to.feed(out.view().substr(0, size)));
      out.consume(size);
    }
    return moved;
  }

  std::size_t piece_;
  std::mt19937 random_;
  FakeClock clock_;
  Http2ServerSession server_session_{server.limits, clock_, server};
  Http2ClientSession client_session_{client.limits, clock_, client, "https"};

 public:
  Http2ServerSession& server_session() { return server_session_; }
  Http2ClientSession& client_session() { return client_session_; }
};

RequestHead request(std::string method) {
  RequestHead head;
  head.method = std::move(method);
  head.authority = "a.example";
  head.path = "/";
  return head;
}

/// One exchange with bodies and trailers both ways.
std::string converse(std::size_t piece, unsigned seed) {
  Pair pair(piece, seed);
  pair.server.acknowledges = false;
  pair.settle();
  Fields trailers;
  trailers.add("x-sum", "1");
  for (StreamToken token : {7u, 8u, 9u}) {
    const StreamId id = pair.client_session().send_request(request("POST"), false, token);
    pair.client_session().send_body(id, std::string(30'000, 'u'));
    pair.client_session().send_end(id, &trailers);
  }
  pair.settle();
  for (StreamId id : {1u, 3u, 5u}) {
    ResponseHead head;
    head.status = 200;
    pair.server_session().send_response(id, head, false);
    pair.server_session().send_body(id, std::string(50'000, 'd'));
    pair.server_session().send_end(id, &trailers);
  }
  pair.settle();
  EXPECT_EQ(pair.client_session().open_streams(), 0u);
  EXPECT_EQ(pair.server_session().open_streams(), 0u);
  return pair.server.transcript() + pair.client.transcript() +
         std::to_string(pair.server.bodies.size()) + " " +
         std::to_string(pair.client.bodies.size());
}

TEST(Http2Pair, TellsTheSameHoweverBytesAreSplit) {
  const std::string whole = converse(1 << 20, 0);
  EXPECT_TRUE(whole.ends_with("90000 150000"));
  EXPECT_NE(whole.find("end 1 trailers x-sum=1;"), std::string::npos);
  for (unsigned seed = 1; seed <= 20; ++seed) EXPECT_EQ(converse(1 + seed * 7, seed), whole);
}

TEST(Http2Pair, CarriesOneGiBInConstantMemory) {
  Pair pair;
  pair.settle();
  const StreamId id = pair.client_session().send_request(request("GET"), true, 7);
  pair.settle();
  ResponseHead head;
  head.status = 200;
  pair.server_session().send_response(id, head, false);
  constexpr std::uint64_t kAll = 1ull << 30;
  constexpr std::size_t kAhead = 256 * 1024;
  const std::string block(64 * 1024, 'x');
  std::uint64_t sent = 0;
  std::size_t blocks_most = 0;
  while (pair.client.body_bytes < kAll) {
    // Credit by what was taken, as an exchange does it.
    while (sent < kAll && sent - pair.server.taken < kAhead) {
      pair.server_session().send_body(id, block);
      sent += block.size();
    }
    blocks_most = std::max(blocks_most, Buffer::blocks_in_use());
    const std::size_t before = pair.client.body_bytes;
    ASSERT_TRUE(pair.turn());
    pair.client_session().acknowledge(id, pair.client.body_bytes - before);
    pair.client.bodies.clear();
  }
  pair.server_session().send_end(id, nullptr);
  pair.settle();
  EXPECT_EQ(pair.client.body_bytes, kAll);
  EXPECT_EQ(pair.client.told("end 7"), 1u);
  EXPECT_LE(blocks_most * Buffer::kBlockBytes, 400u * 1024);
  EXPECT_LE(pair.queued_most, 128u * 1024);
}

TEST(Http2Pair, StopsASenderWhoseReaderTakesNothing) {
  Pair pair;
  pair.settle();
  const StreamId id = pair.client_session().send_request(request("GET"), true, 7);
  pair.settle();
  ResponseHead head;
  head.status = 200;
  pair.server_session().send_response(id, head, false);
  for (int i = 0; i < 16; ++i) pair.server_session().send_body(id, std::string(64 * 1024, 'x'));
  pair.settle();
  EXPECT_EQ(pair.client.body_bytes, 64u * 1024) << "one window, no more";
  EXPECT_EQ(pair.server.taken, 64u * 1024);
  pair.client_session().acknowledge(id, 64 * 1024);
  pair.settle();
  EXPECT_EQ(pair.client.body_bytes, 192u * 1024) << "it has doubled";
}

TEST(Http2Pair, ResetsReachTheOtherEnd) {
  Pair pair;
  pair.settle();
  pair.client_session().send_request(request("GET"), true, 7);
  pair.client_session().send_request(request("GET"), true, 8);
  pair.settle();
  pair.client_session().reset(1, Reset::kCancel);
  pair.server_session().reset(3, Reset::kRefused);
  pair.settle();
  EXPECT_EQ(pair.server.told("closed 1 cancel"), 1u);
  EXPECT_EQ(pair.server.told("closed 3 refused"), 1u);
  EXPECT_EQ(pair.client.transcript(), "failed 8 refused remote_reset retryable\n");
}

TEST(Http2Pair, ADrainedServerMakesTheClientFinish) {
  Pair pair;
  pair.settle();
  pair.server_session().drain();
  pair.server_session().drain();
  pair.settle();
  EXPECT_FALSE(pair.client_session().is_reusable());
  EXPECT_TRUE(pair.server_session().is_finished());
  EXPECT_TRUE(pair.client_session().is_finished());
}

}  // namespace
}  // namespace gatehouse::proxy
