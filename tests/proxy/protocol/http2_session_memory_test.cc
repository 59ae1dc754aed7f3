#include "proxy/protocol/http2_session_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace gatehouse::proxy {
namespace {

TEST(Http2SessionMemory, GivesABlockToTheNextThatNeedsOne) {
  Http2SessionMemory first, second;
  char* const block = first.allocate(200);
  EXPECT_GE(first.heap_bytes(), 200u);
  first.release(block);
  EXPECT_EQ(first.heap_bytes(), 0u);
  char* const again = second.allocate(200);
  EXPECT_EQ(again, block);
  second.release(again);
}

TEST(Http2SessionMemory, BlocksAreAsLargeAsAskedFor) {
  Http2SessionMemory memory;
  std::vector<std::pair<char*, std::size_t>> held;
  for (int round = 0; round < 3; ++round) {
    for (std::size_t size = 1; size < 700; size += 3) {
      char* const block = memory.allocate(size);
      std::memset(block, static_cast<int>(size % 251), size);  // ASan looks at the end.
      held.emplace_back(block, size);
    }
    for (const auto& [block, size] : held) {
      const std::string kept(size, static_cast<char>(size % 251));
      EXPECT_EQ(std::string_view(block, size), kept);  // Nobody else got it.
      memory.release(block);
    }
    held.clear();
    EXPECT_EQ(memory.heap_bytes(), 0u);
  }
}

TEST(Http2SessionMemory, ResizesWhatWasSpare) {
  Http2SessionMemory memory;
  memory.release(memory.allocate(100));
  char* block = memory.allocate(100);
  std::memset(block, 'x', 100);
  block = memory.resize(block, 5000);
  EXPECT_EQ(std::string_view(block, 100), std::string(100, 'x'));
  block = memory.resize(block, 20);
  EXPECT_EQ(std::string_view(block, 20), std::string(20, 'x'));
  memory.release(block);
  EXPECT_EQ(memory.heap_bytes(), 0u);
}

TEST(Http2SessionMemory, ZeroedBlocksAreZero) {
  Http2SessionMemory memory;
  char* block = memory.allocate(64);
  std::memset(block, 'x', 64);
  memory.release(block);
  block = memory.allocate_zeroed(8, 8);
  EXPECT_EQ(std::string_view(block, 64), std::string(64, '\0'));
  memory.release(block);
}

TEST(Http2SessionMemory, GivesOnlyTheFrameBufferBack) {
  Http2SessionMemory memory;
  char* small = memory.allocate(100);
  char* buffer = memory.resize(nullptr, 16394);
  char* second = memory.allocate(17000);
  std::fill_n(small, 100, 'a');
  std::fill_n(buffer, 16394, 'b');
  std::fill_n(second, 17000, 'c');
  EXPECT_EQ(memory.resident_page_bytes(), 20480u);
  memory.discard_pages();
  EXPECT_EQ(memory.resident_page_bytes(), 0u);
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
  EXPECT_EQ(memory.resident_page_bytes(), 0u);
  memory.release(buffer);
  EXPECT_EQ(memory.heap_bytes(), 0u);
}

TEST(Http2SessionMemory, GivesTheStreamTableBackWhileItIsZero) {
  Http2SessionMemory memory;
  char* table = memory.allocate_zeroed(256, 16);
  char* buffer = memory.allocate(16394);
  EXPECT_EQ(memory.heap_bytes(), 0u);
  std::fill_n(buffer, 16394, 'b');
  table[4095] = 't';
  memory.discard_pages();
  EXPECT_EQ(memory.resident_page_bytes(), 4096u);
  EXPECT_EQ(table[4095], 't');
  table[4095] = '\0';
  memory.discard_pages();
  EXPECT_EQ(memory.resident_page_bytes(), 0u);
  EXPECT_EQ(std::string_view(table, 4096), std::string(4096, '\0'));
  table[0] = 't';
  memory.release(buffer);
  EXPECT_EQ(table[0], 't') << "one of the two is released, the other stays";
  table = memory.resize(table, 8192);
  EXPECT_EQ(table[0], 't');
  memory.release(table);
  EXPECT_EQ(memory.heap_bytes(), 0u);
}

TEST(Http2SessionMemory, AStreamTableIsZeroWhateverItsPageHeldBefore) {
  for (int round = 0; round < 3; ++round) {
    Http2SessionMemory memory;
    char* const table = memory.allocate_zeroed(256, 16);
    EXPECT_EQ(std::string_view(table, 4096), std::string(4096, '\0'));
    std::fill_n(table, 4096, 'x');
    memory.release(table);
  }
}

}  // namespace
}  // namespace gatehouse::proxy
