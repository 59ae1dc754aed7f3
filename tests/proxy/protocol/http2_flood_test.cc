// Floods (HARDENING.md section 3): each ends the connection with GOAWAY under its name, and honest
// peers at full speed are left alone.

#include <gtest/gtest.h>

#include "tests/support/http2_peer.h"

namespace gatehouse::proxy {
namespace {

/// Feeds pieces until the connection ends; how many it took.
template <class Make>
int feed_until_end(ServerWorld& world, int most, Make make) {
  for (int i = 0; i < most; ++i)
    if (!world.feed(make(static_cast<StreamId>(2 * i + 1)))) return i;
  return most;
}

void expect_ended_by(const ServerWorld& world, Offence offence) {
  EXPECT_EQ(world.seen.goaway(), Http2Error::kEnhanceYourCalm);
  ASSERT_TRUE(world.session.offences().exceeded());
  EXPECT_EQ(to_string(*world.session.offences().exceeded()), to_string(offence));
  EXPECT_GT(world.session.offences().count(offence), 0u);
  EXPECT_TRUE(world.session.is_finished());
}

// CVE-2023-44487
TEST(Http2Flood, RapidReset) {
  ServerWorld world;
  world.begin();
  const int taken = feed_until_end(world, 1000, [](StreamId id) { return get(id) + rst(id); });
  EXPECT_EQ(taken, 200);
  expect_ended_by(world, Offence::kRapidReset);
  for (const auto& line : world.log)
    EXPECT_TRUE(line.starts_with("request") || line.starts_with("closed"));
}

TEST(Http2Flood, RapidResetInOneReadStopsAtTheLimit) {
  ServerWorld world;
  world.begin();
  std::string all;
  for (StreamId id = 1; id < 10'000; id += 2) all += get(id) + rst(id);
  EXPECT_FALSE(world.feed(all));
  EXPECT_LE(world.heads.size(), 201u);
  expect_ended_by(world, Offence::kRapidReset);
}

TEST(Http2Flood, CancellingSlowlyIsFine) {
  ServerWorld world;
  world.begin();
  const int taken = feed_until_end(world, 1000, [&](StreamId id) {
    world.clock.advance(50ms);
    return get(id) + rst(id);
  });
  EXPECT_EQ(taken, 1000);
}

TEST(Http2Flood, CancellingBehindTheHeadIsFine) {
  ServerWorld world;
  world.begin();
  const int taken = feed_until_end(world, 1000, [&](StreamId id) {
    world.feed(get(id));
    ResponseHead head;
    head.status = 200;
    world.session.send_response(id, head, false);
    world.flush();
    return rst(id);
  });
  EXPECT_EQ(taken, 1000);
}

// CVE-2025-8671, by overflow of a stream's window and by a body longer than its Content-Length.
TEST(Http2Flood, MadeYouResetByWindowOverflow) {
  ServerWorld world;
  world.begin();
  const int taken = feed_until_end(
      world, 1000, [](StreamId id) { return get(id) + window_update(id, 0x7fffffff); });
  EXPECT_LE(taken, 101);
  expect_ended_by(world, Offence::kProvokedReset);
}

TEST(Http2Flood, MadeYouResetByContentLength) {
  ServerWorld world;
  world.begin();
  const int taken = feed_until_end(world, 1000, [](StreamId id) {
    return post(id, {{"content-length", "1"}}) + data(id, "abc", true);
  });
  EXPECT_LE(taken, 101);
  expect_ended_by(world, Offence::kProvokedReset);
}

TEST(Http2Flood, MadeYouResetByMalformedHeads) {
  ServerWorld world;
  world.begin();
  const int taken = feed_until_end(world, 1000, [](StreamId id) {
    return headers(id, {{"connection", "close"}});
  });
  EXPECT_LE(taken, 101);
  expect_ended_by(world, Offence::kProvokedReset);
}

TEST(Http2Flood, RefusedHeads) {
  ServerWorld world;
  world.begin();
  const FieldList fields = {{":method", "CONNECT"}, {":authority", "a.example:443"}};
  const int taken = feed_until_end(world, 1000, [&](StreamId id) { return headers(id, fields); });
  EXPECT_GE(taken, 190);
  EXPECT_LE(taken, 200);
  expect_ended_by(world, Offence::kRefusedHead);
}

struct Flood {
  Offence offence;
  std::string frame;
};

TEST(Http2Flood, FramesThatCarryNothing) {
  const Flood floods[] = {
      {Offence::kPing, ping()},
      {Offence::kSettings, settings()},
      {Offence::kTableSize, settings(setting(1, 0) + setting(1, 4096))},
      {Offence::kPriority, frame(FrameType::kPriority, 0, 5, big_endian(3, 4) + "x")},
      {Offence::kEmptyData, data(1, "")},
      {Offence::kEmptyData, frame(FrameType::kData, 8, 1, std::string(1, '\3') + "\1\1\1")},
      {Offence::kWindowUpdate, window_update(0, 1)},
      {Offence::kUnknownFrame, frame(static_cast<FrameType>(0xee), 0, 0, "x")},
      {Offence::kLateFrame, rst(3)},
  };
  for (const Flood& flood : floods) {
    SCOPED_TRACE(to_string(flood.offence));
    ServerWorld world;
    world.begin();
    world.feed(post(1) + get(3));
    world.respond(3, 200);
    world.flush();
    const int taken = feed_until_end(world, 3000, [&](StreamId) { return flood.frame; });
    EXPECT_GE(taken, 100);
    EXPECT_LE(taken, 2000);
    EXPECT_EQ(world.seen.goaway(), Http2Error::kEnhanceYourCalm);
    EXPECT_GT(world.session.offences().count(flood.offence), 100u);
    EXPECT_TRUE(world.session.offences().exceeded());
    EXPECT_EQ(world.told("closed 1 connection_lost"), 1u);
  }
}

TEST(Http2Flood, TableSizeUpdatesInAHeaderBlock) {
  ServerWorld world;
  world.begin();
  const std::string block = std::string(1000, '\x20') + header_block(get_fields());
  EXPECT_FALSE(world.feed(frame(FrameType::kHeaders, kEndHeaders | kEndStream, 1, block)));
  expect_ended_by(world, Offence::kTableSize);
}

// CVE-2024-28182 and the other CONTINUATION floods of 2024
TEST(Http2Flood, ContinuationByCount) {
  ServerWorld world;
  world.begin();
  world.feed(frame(FrameType::kHeaders, kEndStream, 1, header_block(get_fields())));
  int taken = 0;
  while (taken < 100 && world.feed(frame(FrameType::kContinuation, 0, 1, ""))) ++taken;
  EXPECT_EQ(taken, 8);
  expect_ended_by(world, Offence::kContinuation);
}

TEST(Http2Flood, ContinuationByBytes) {
  ServerWorld world;
  world.begin();
  const std::string piece = header_block({{"x", std::string(16'000, 'a')}});
  world.feed(frame(FrameType::kHeaders, kEndStream, 1, header_block(get_fields())));
  int taken = 0;
  while (taken < 100 && world.feed(frame(FrameType::kContinuation, 0, 1, piece))) ++taken;
  EXPECT_LE(taken, 5);
  expect_ended_by(world, Offence::kContinuation);
}

// CVE-2016-6581 and its like: small on the wire, large when decoded.
TEST(Http2Flood, HpackBombIsAnsweredAndHpackStaysInStep) {
  ServerWorld world;
  world.begin();
  const std::string entry =
      std::string("\x40", 1) + hpack_text("x") + hpack_text(std::string(3000, 'a'));
  const std::string bomb = header_block(get_fields()) + entry + std::string(150, '\xbe');
  world.feed(frame(FrameType::kHeaders, kEndHeaders | kEndStream, 1, bomb));
  EXPECT_EQ(world.told("refused 431 header_fields_too_large"), 1u);
  world.feed(
      frame(FrameType::kHeaders, kEndHeaders | kEndStream, 3, header_block(get_fields()) + "\xbe"));
  ASSERT_EQ(world.heads.size(), 1u);
  EXPECT_EQ(world.heads[0].fields.find("x")->size(), 3000u);
}

TEST(Http2Flood, HpackBombOfMegabytesEndsTheConnectionAtOnce) {
  ServerWorld world;
  world.begin();
  // One field of 3900 bytes enters the table; each octet behind it is that field again.
  std::string block = header_block(get_fields()) + '\x40' + hpack_text("x") +
                      hpack_text(std::string(3900, 'y')) + std::string(10'000, '\xbe');
  EXPECT_FALSE(world.feed(frame(FrameType::kHeaders, kEndHeaders | kEndStream, 1, block)));
  expect_ended_by(world, Offence::kRefusedHead);
  EXPECT_EQ(world.told("refused 431 header_fields_too_large"), 0u) << "decoded to its end";
}

// CVE-2019-9511
TEST(Http2Flood, DataDribble) {
  ServerWorld world;
  world.begin(setting(4, 0));
  world.feed(get(1));
  world.respond(1, 200, std::string(100'000, 'x'));
  const int taken = feed_until_end(world, 10'000, [](StreamId) { return window_update(1, 1); });
  EXPECT_LE(taken, 2001);
  expect_ended_by(world, Offence::kWindowUpdate);
}

TEST(Http2Flood, StreamsWhoseWindowStaysShut) {
  ServerWorld world;
  world.begin(setting(4, 0));
  const int taken = feed_until_end(world, 1000, [&](StreamId id) {
    world.feed(get(id));
    world.session.reset(id, Reset::kTimeout);
    world.flush();
    return ping();
  });
  EXPECT_LE(taken, 101);
  expect_ended_by(world, Offence::kStalledStream);
}

TEST(Http2Flood, APeerThatReadsNothingIsNotReadFrom) {
  ServerWorld world;
  world.begin();
  std::string all;
  for (int i = 0; i < 999; ++i) all += ping();
  world.session.feed(all);
  EXPECT_TRUE(world.session.wants_input());
  world.session.feed(ping() + ping() + ping());
  EXPECT_FALSE(world.session.wants_input());
}

TEST(Http2Flood, FramesBehindAnErrorAreNotLookedAt) {
  ServerWorld world;
  world.begin();
  world.feed(frame(FrameType::kData, 0, 0, "x") + get(1) + settings() + data(1, "x"));
  EXPECT_EQ(world.seen.goaway(), Http2Error::kProtocol);
  EXPECT_TRUE(world.log.empty());
}

TEST(Http2Flood, AFullSpeedDownloadIsHonest) {
  ServerWorld world;
  world.begin();
  world.feed(get(1));
  ResponseHead head;
  head.status = 200;
  world.session.send_response(1, head, false);
  for (int i = 0; i < 20'000; ++i) {
    world.session.send_body(1, std::string(100, 'x'));
    world.flush();
    ASSERT_TRUE(world.feed(window_update(0, 100) + window_update(1, 100) + ping())) << i;
  }
}

TEST(Http2Flood, LimitsAreSharedByTheMix) {
  ServerWorld world;
  world.begin();
  StreamId id = 1;
  int taken = 0;
  while (world.feed(get(id) + rst(id) + headers(id + 2, {{"connection", "x"}})) && taken < 1000) {
    id += 4;
    ++taken;
  }
  EXPECT_GE(taken, 65);
  EXPECT_LE(taken, 68) << "1 + 2 tokens of 200 each time";
}

}  // namespace
}  // namespace gatehouse::proxy
