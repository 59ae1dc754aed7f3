#include "proxy/protocol/http2_limits.h"

#include <gtest/gtest.h>

#include <set>

#include "proxy/protocol/http2_frame_scanner.h"
#include "proxy/protocol/http2_session_memory.h"
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

TEST(Http2SessionMemory, GivesOnlyTheFrameBufferBack) {
  Http2SessionMemory memory;
  char* small = memory.allocate(100);
  char* buffer = memory.resize(nullptr, 16394);
  char* second = memory.allocate(17000);
  std::fill_n(small, 100, 'a');
  std::fill_n(buffer, 16394, 'b');
  std::fill_n(second, 17000, 'c');
  EXPECT_EQ(memory.frame_buffer_resident_bytes(), 20480u);
  memory.discard_frame_buffer();
  EXPECT_EQ(memory.frame_buffer_resident_bytes(), 0u);
  EXPECT_EQ(small[99], 'a');
  EXPECT_EQ(second[16999], 'c');
  EXPECT_EQ(buffer[0], '\0');
  memory.release(second);
  memory.release(buffer);
  memory.release(small);
  EXPECT_EQ(memory.heap_bytes(), 0u);
}

TEST(Http2SessionMemory, KeepsBytesWhenTheFrameBufferGrows) {
  Http2SessionMemory memory;
  char* buffer = memory.allocate(16394);
  buffer[16393] = 'x';
  buffer = memory.resize(buffer, 100'000);
  EXPECT_EQ(buffer[16393], 'x');
  EXPECT_EQ(memory.frame_buffer_resident_bytes(), 0u);
  memory.release(buffer);
  EXPECT_EQ(memory.heap_bytes(), 0u);
}

}  // namespace
}  // namespace gatehouse::proxy
