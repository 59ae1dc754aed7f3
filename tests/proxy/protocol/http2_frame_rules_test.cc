// Sequences of frames that nghttp2 alone lets pass, each found by h2spec or by reading RFC 9113.

#include <gtest/gtest.h>

#include "tests/support/http2_peer.h"

namespace gatehouse::proxy {
namespace {

struct Row {
  const char* why;
  std::string frames;
  std::optional<Http2Error> goaway;  // nothing: the connection goes on
};

TEST(Http2FrameRules, JudgesWhatComesForStreamsThatAreOver) {
  const std::string done = get(1);  // answered at once: closed on both sides
  const Row rows[] = {
      {"DATA on a closed stream", done + data(1, "x"), Http2Error::kStreamClosed},
      {"HEADERS on a closed stream", done + get(1), Http2Error::kStreamClosed},
      {"CONTINUATION on a closed stream",
       done + frame(FrameType::kContinuation, kEndHeaders, 1, header_block(get_fields())),
       Http2Error::kProtocol},
      {"WINDOW_UPDATE on a closed stream", done + window_update(1, 1), std::nullopt},
      {"RST_STREAM on a closed stream", done + rst(1), std::nullopt},
      {"PRIORITY on a closed stream",
       done + frame(FrameType::kPriority, 0, 1, big_endian(0, 4) + "x"), std::nullopt},
      {"DATA behind the peer's reset", post(1) + rst(1) + data(1, "x"), Http2Error::kStreamClosed},
      {"HEADERS behind the peer's reset", post(1) + rst(1) + get(1), Http2Error::kStreamClosed},
      {"a smaller id that was never used", get(5) + get(3), Http2Error::kProtocol},
      {"a smaller id before the first", get(5) + get(1), Http2Error::kProtocol},
      {"DATA for an id that was passed over", get(5) + data(3, "x"), Http2Error::kProtocol},
      {"a smaller id that is over", get(3) + get(5) + get(3), Http2Error::kStreamClosed},
      {"an even id", get(2), Http2Error::kProtocol},
      {"DATA on an idle stream", data(1, "x"), Http2Error::kProtocol},
      {"RST_STREAM on an idle stream", rst(1), Http2Error::kProtocol},
      {"WINDOW_UPDATE on an idle stream", window_update(1, 1), Http2Error::kProtocol},
      {"PRIORITY for stream 0", frame(FrameType::kPriority, 0, 0, big_endian(3, 4) + "x"),
       Http2Error::kProtocol},
      {"PRIORITY that depends on itself",
       frame(FrameType::kPriority, 0, 3, big_endian(0x80000003u, 4) + "x"), Http2Error::kProtocol},
      {"PRIORITY of 4 bytes", frame(FrameType::kPriority, 0, 3, big_endian(1, 4)),
       Http2Error::kFrameSize},
      {"PUSH_PROMISE from a client",
       frame(FrameType::kPushPromise, kEndHeaders, 1, big_endian(2, 4)), Http2Error::kProtocol},
      {"HEADERS inside a header block",
       frame(FrameType::kHeaders, kEndStream, 1, header_block(get_fields())) + get(3),
       Http2Error::kProtocol},
      {"a frame that is too large", frame(FrameType::kData, 0, 1, std::string(16385, 'x')),
       Http2Error::kFrameSize},
      {"an unknown frame", frame(static_cast<FrameType>(0x21), 0xff, 1, "x"), std::nullopt},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.why);
    ServerWorld world;
    world.answers = true;
    world.begin();
    // Answers go out between frames only when each is fed by itself.
    std::string_view rest = row.frames;
    Http2FrameScanner scanner(0);
    while (const auto piece = scanner.next(rest)) world.feed(piece->bytes);
    EXPECT_EQ(world.seen.goaway(), row.goaway);
    EXPECT_EQ(world.feed(get(99)), !row.goaway.has_value());
  }
}

TEST(Http2FrameRules, JudgesTheSameWhenFramesComeByteByByte) {
  ServerWorld world;
  world.begin();
  for (const char c : frame(FrameType::kPriority, 0, 3, big_endian(3, 4) + "x"))
    world.feed({&c, 1});
  EXPECT_EQ(world.seen.goaway(), Http2Error::kProtocol);
}

TEST(Http2FrameRules, EndsAtDataOnAHalfClosedStream) {
  ServerWorld world;
  world.begin();
  world.feed(get(1));
  EXPECT_FALSE(world.feed(data(1, "x")));
  EXPECT_EQ(world.seen.goaway(), Http2Error::kStreamClosed);
}

TEST(Http2FrameRules, ForgivesWhatCrossedOurReset) {
  ServerWorld world;
  world.begin();
  world.feed(post(1) + post(3));
  world.session.reset(1, Reset::kTimeout);
  world.flush();
  EXPECT_TRUE(world.feed(data(1, "x") + headers(1, {{"x", "y"}}) + data(3, "ok", true)));
  EXPECT_EQ(world.bodies, "ok");
  EXPECT_EQ(world.told("end 3"), 1u);
}

TEST(Http2FrameRules, HoldsTheConcurrencyLimit) {
  ServerWorld world;
  world.begin();
  for (StreamId id = 1; id < 201; id += 2) ASSERT_TRUE(world.feed(get(id)));
  world.feed(get(201));
  EXPECT_EQ(world.heads.size(), 100u);
  EXPECT_EQ(world.seen.goaway(), Http2Error::kProtocol);
}

TEST(Http2FrameRules, RefusesStreamsOverTheLimitBeforeItIsAcknowledged) {
  ServerWorld world;
  world.feed(std::string(kPreface) + settings());
  for (StreamId id = 1; id < 201; id += 2) ASSERT_TRUE(world.feed(get(id)));
  EXPECT_TRUE(world.feed(post(201) + data(201, "x")));
  EXPECT_EQ(world.seen.reset_of(201), Http2Error::kRefusedStream);
  EXPECT_EQ(world.heads.size(), 100u);
}

}  // namespace
}  // namespace gatehouse::proxy
