#include "daemon/base/flat_buffer.h"

#include <gtest/gtest.h>

#include <string>

#include "daemon/base/random.h"

namespace gatehouse {

TEST(FlatBuffer, HoldsNoMemoryBeforeItIsUsed) {
  const FlatBuffer buffer;
  EXPECT_EQ(buffer.capacity(), 0u);
  EXPECT_EQ(buffer.view(), "");
}

TEST(FlatBuffer, KeepsAppendedBytesTogether) {
  FlatBuffer buffer;
  buffer.append("GET ");
  buffer.append('/');
  buffer.append("");
  EXPECT_EQ(buffer.view(), "GET /");
}

TEST(FlatBuffer, TakesWhatWasWrittenIntoPreparedRoom) {
  FlatBuffer buffer;
  std::memcpy(buffer.prepare(100), "abc", 3);
  buffer.commit(3);
  EXPECT_EQ(buffer.view(), "abc");
}

TEST(FlatBuffer, ReusesItsRoomInsteadOfGrowing) {
  FlatBuffer buffer;
  buffer.append(std::string(400, 'x'));
  for (int i = 0; i < 1000; ++i) {
    buffer.consume(100);
    buffer.append(std::string(100, 'y'));
  }
  EXPECT_LE(buffer.capacity(), 1024u);
}

TEST(FlatBuffer, ReleaseGivesMemoryBackOnlyWhenEmpty) {
  FlatBuffer buffer;
  buffer.append("abc");
  buffer.release();
  EXPECT_EQ(buffer.view(), "abc");
  buffer.consume(3);
  buffer.release();
  EXPECT_EQ(buffer.capacity(), 0u);
}

TEST(FlatBuffer, BehavesLikeAStringUnderRandomUse) {
  SeededRandom random(11);
  FlatBuffer buffer;
  std::string model;
  for (int i = 0; i < 50000; ++i) {
    switch (random.below(4)) {
      case 0:
      case 1: {
        const std::string piece(random.below(700), static_cast<char>('a' + i % 26));
        buffer.append(piece);
        model += piece;
        break;
      }
      case 2: {
        const std::size_t gone = random.below(model.size() + 1);
        buffer.consume(gone);
        model.erase(0, gone);
        break;
      }
      default: buffer.release();
    }
    ASSERT_EQ(buffer.view(), model);
  }
}

TEST(FlatBuffer, BorrowsOnlyForAsLongAsItIsFull) {
  FlatBuffer first, second;
  first.borrow();
  const char* const block = first.prepare(1);
  EXPECT_GT(first.capacity(), 64u * 1024);
  first.append(std::string(70'000, 'x'));
  first.consume(69'000);
  first.keep_rest();
  EXPECT_EQ(first.view(), std::string(1'000, 'x'));
  EXPECT_LT(first.capacity(), 2'000u);
  second.borrow();
  EXPECT_EQ(second.prepare(1), block);  // The same memory again.
  second.keep_rest();
  EXPECT_EQ(second.capacity(), 0u);
}

TEST(FlatBuffer, GrowsBeyondWhatItBorrowed) {
  FlatBuffer buffer;
  buffer.borrow();
  const std::string bytes(300'000, 'y');
  buffer.append(bytes);
  buffer.keep_rest();
  EXPECT_EQ(buffer.view(), bytes);
}

}  // namespace gatehouse
