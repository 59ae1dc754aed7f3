#include "proxy/routing/maglev.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace gatehouse::proxy {
namespace {

std::vector<MaglevTable::Host> hosts(std::uint64_t count) {
  std::vector<MaglevTable::Host> all;
  for (std::uint64_t i = 0; i < count; ++i)
    all.push_back({stable_hash("10.0.0." + std::to_string(i) + ":80")});
  return all;
}

std::map<std::uint64_t, int> shares(const MaglevTable& table,
                                    const std::vector<MaglevTable::Host>& of) {
  std::map<std::uint64_t, int> all;
  for (std::size_t i = 0; i < MaglevTable::kEntries; ++i) ++all[of[table.at(i)].id];
  return all;
}

TEST(MaglevTable, GivesEachHostTheSameShare) {
  const auto ten = hosts(10);
  for (const auto& [id, share] : shares(MaglevTable(ten), ten)) EXPECT_NEAR(share, 1638, 1);
}

TEST(MaglevTable, GivesAHeavyHostMore) {
  auto two = hosts(2);
  two[0].weight = 3;
  EXPECT_NEAR(shares(MaglevTable(two), two)[two[0].id], MaglevTable::kEntries * 3 / 4, 2);
}

TEST(MaglevTable, MovesLittleWhenAHostGoes) {
  const auto before = hosts(10);
  auto after = before;
  after.erase(after.begin() + 4);
  const MaglevTable old_table(before), new_table(after);
  int moved = 0;
  for (std::size_t i = 0; i < MaglevTable::kEntries; ++i) {
    const std::uint64_t was = before[old_table.at(i)].id, is = after[new_table.at(i)].id;
    if (was != before[4].id && was != is) ++moved;
  }
  EXPECT_LT(moved, static_cast<int>(MaglevTable::kEntries / 12)) << "of those that need not move";
}

TEST(MaglevTable, IsTheSameOnNodesThatLearnedTheHostsInAnotherOrder) {
  const auto one = hosts(7);
  auto other = one;
  std::reverse(other.begin(), other.end());
  const MaglevTable a(one), b(other);
  for (std::size_t i = 0; i < MaglevTable::kEntries; ++i)
    ASSERT_EQ(one[a.at(i)].id, other[b.at(i)].id);
}

TEST(MaglevTable, StableHashIsStable) {
  // A changed value would move every key of every deployed edge at once.
  EXPECT_EQ(stable_hash("user-1"), 0x41a2fca5c68401c5u);
  EXPECT_NE(stable_hash("user-1"), stable_hash("user-2"));
  EXPECT_NE(stable_hash("user-1"), stable_hash("user-1", 1));
}

}  // namespace
}  // namespace gatehouse::proxy
