#include "proxy/protocol/http2_session_memory.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace gatehouse::proxy
