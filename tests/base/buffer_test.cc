#include "daemon/base/buffer.h"

#include <gtest/gtest.h>

#include "daemon/base/random.h"

namespace gatehouse {

std::string pattern(std::size_t size) {
  std::string text(size, ' ');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 23);
  return text;
}

TEST(Buffer, KeepsBytesInOrderAcrossBlocks) {
  const std::string text = pattern(3 * Buffer::kBlockBytes + 17);
  Buffer buffer;
  buffer.append(text.substr(0, 5000));
  buffer.append(text.substr(5000));
  EXPECT_EQ(buffer.size(), text.size());
  EXPECT_EQ(buffer.to_string(), text);
}

TEST(Buffer, FrontIsTheFirstContiguousPiece) {
  Buffer buffer;
  EXPECT_EQ(buffer.front(), "");
  buffer.append(pattern(Buffer::kBlockBytes + 1));
  EXPECT_EQ(buffer.front().size(), Buffer::kBlockBytes);
  buffer.consume(Buffer::kBlockBytes);
  EXPECT_EQ(buffer.front().size(), 1u);
}

TEST(Buffer, GivesBlocksBackAsTheyAreConsumed) {
  const std::size_t before = Buffer::blocks_in_use();
  Buffer buffer;
  buffer.append(pattern(4 * Buffer::kBlockBytes));
  EXPECT_EQ(Buffer::blocks_in_use(), before + 4);
  buffer.consume(2 * Buffer::kBlockBytes + 1);
  EXPECT_EQ(Buffer::blocks_in_use(), before + 2);
  buffer.clear();
  EXPECT_EQ(Buffer::blocks_in_use(), before);
}

TEST(Buffer, MovingTakesTheBlocks) {
  Buffer from;
  from.append("hello");
  Buffer to = std::move(from);
  EXPECT_EQ(to.to_string(), "hello");
  EXPECT_TRUE(from.empty());  // NOLINT: the moved-from state is the claim.
  from.append("again");
  EXPECT_EQ(from.to_string(), "again");
}

TEST(Buffer, AppendingABufferMovesItsBlocksBehindOurs) {
  Buffer all, tail;
  all.append("head ");
  tail.append("tail");
  const std::size_t blocks = Buffer::blocks_in_use();
  all.append(std::move(tail));
  all.append(Buffer());
  EXPECT_EQ(all.to_string(), "head tail");
  EXPECT_EQ(Buffer::blocks_in_use(), blocks);
}

TEST(Buffer, ConsumingMoreThanItHoldsIsABug) {
  Buffer buffer;
  buffer.append("abc");
  EXPECT_DEATH(buffer.consume(4), "more than the buffer holds");
}

TEST(Buffer, BehavesLikeAStringUnderRandomUse) {
  SeededRandom random(7);
  const std::size_t before = Buffer::blocks_in_use();
  {
    Buffer buffer;
    std::string model;
    for (int i = 0; i < 20000; ++i) {
      const std::string piece = pattern(random.below(6000));
      if (random.below(3) == 0) {
        Buffer other;
        other.append(piece);
        buffer.append(std::move(other));
        model += piece;
      } else if (random.below(2) == 0) {
        buffer.append(piece);
        model += piece;
      } else {
        const std::size_t gone = random.below(model.size() + 1);
        buffer.consume(gone);
        model.erase(0, gone);
      }
      ASSERT_EQ(buffer.size(), model.size());
      ASSERT_EQ(buffer.front(), model.substr(0, buffer.front().size()));
      ASSERT_EQ(buffer.front().empty(), model.empty());
    }
    EXPECT_EQ(buffer.to_string(), model);
  }
  EXPECT_EQ(Buffer::blocks_in_use(), before);
}

}  // namespace gatehouse
