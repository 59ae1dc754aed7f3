#include "proxy/protocol/http2_limits.h"

#include <gtest/gtest.h>

#include <set>

#include "proxy/protocol/http2_frame_scanner.h"
#include "tests/support/fake_clock.h"

namespace gatehouse::proxy {
namespace {

TEST(TokenBucket, GivesWhatItHasAndRefillsToItsSize) {
  SteadyTime now{};
  TokenBucket bucket(10, 2, now);
  EXPECT_TRUE(bucket.take(10, now));
  EXPECT_FALSE(bucket.take(1, now));
  EXPECT_TRUE(bucket.take(2, now + 1s));
  EXPECT_FALSE(bucket.take(1, now + 1s));
  EXPECT_TRUE(bucket.take(10, now + 1h));
  EXPECT_FALSE(bucket.take(1, now + 1h));
}

TEST(Http2Limits, AllowsResetsAtTheirRate) {
  FakeClock clock;
  Http2Limits limits(clock);
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(limits.note(Offence::kRapidReset));
  for (int i = 0; i < 100; ++i) {
    clock.advance(100ms);
    ASSERT_TRUE(limits.note(Offence::kProvokedReset));
  }
  EXPECT_FALSE(limits.note(Offence::kRapidReset));
  EXPECT_EQ(limits.exceeded(), Offence::kRapidReset);
  EXPECT_EQ(limits.count(Offence::kProvokedReset), 100u);
}

TEST(Http2Limits, NamesEachOffenceDifferently) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kOffences; ++i) names.insert(to_string(static_cast<Offence>(i)));
  EXPECT_EQ(names.size(), kOffences);
  EXPECT_EQ(names.count(""), 0u);
}

TEST(Http2FrameScanner, FindsFramesInAnyPieces) {
  const std::string input = std::string("MAGIC") + std::string("\0\0\3\0\1\0\0\0\7abc", 12) +
                            std::string("\0\0\0\4\0\x80\0\0\1", 9);
  for (std::size_t piece = 1; piece <= input.size(); ++piece) {
    Http2FrameScanner scanner(5);
    EXPECT_FALSE(scanner.is_mid_frame());
    std::string out;
    std::vector<std::uint32_t> streams;
    for (std::size_t at = 0; at < input.size(); at += piece) {
      std::string_view rest = std::string_view(input).substr(at, piece);
      while (const auto next = scanner.next(rest)) {
        out += next->bytes;
        if (next->begins) streams.push_back(scanner.head().stream);
      }
    }
    EXPECT_EQ(out, input);
    EXPECT_EQ(streams, (std::vector<std::uint32_t>{7, 1})) << "the reserved bit is not of the id";
    EXPECT_FALSE(scanner.is_mid_frame());
  }
}

TEST(Http2FrameScanner, KnowsThatInputStoppedInsideSomething) {
  for (const std::size_t size : {1u, 4u, 8u, 9u, 11u}) {
    Http2FrameScanner scanner(0);
    const std::string input("\0\0\3\0\1\0\0\0\7abc", 12);
    std::string_view rest = std::string_view(input).substr(0, size);
    while (scanner.next(rest)) {
    }
    EXPECT_TRUE(scanner.is_mid_frame()) << size;
  }
}

}  // namespace
}  // namespace gatehouse::proxy
