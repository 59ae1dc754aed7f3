#include "daemon/base/slot_map.h"

#include <gtest/gtest.h>

#include <map>
#include <unordered_set>

#include "daemon/base/random.h"

namespace gatehouse {

using Map = SlotMap<int>;

TEST(SlotMap, FindsWhatItOwns) {
  Map map;
  const auto id = map.insert(std::make_unique<int>(7));
  ASSERT_NE(map.find(id), nullptr);
  EXPECT_EQ(*map.find(id), 7);
  EXPECT_EQ(map.size(), 1u);
}

TEST(SlotMap, TheDefaultIdFindsNobody) {
  Map map;
  map.insert(std::make_unique<int>(7));
  EXPECT_FALSE(Map::Id());
  EXPECT_EQ(map.find(Map::Id()), nullptr);
}

TEST(SlotMap, AnOldIdDoesNotFindTheSlotsNewTenant) {
  Map map;
  const auto old = map.insert(std::make_unique<int>(1));
  EXPECT_EQ(*map.erase(old), 1);
  const auto fresh = map.insert(std::make_unique<int>(2));
  EXPECT_EQ(fresh.slot, old.slot);
  EXPECT_EQ(map.find(old), nullptr);
  EXPECT_EQ(map.erase(old), nullptr);
  EXPECT_EQ(*map.find(fresh), 2);
}

TEST(SlotMap, AnIdSurvivesPacking) {
  const Map::Id id{123456, 654321};
  EXPECT_EQ(Map::Id::unpack(id.packed()), id);
}

TEST(SlotMap, VisitingAllowsToEraseTheVisited) {
  Map map;
  for (int i = 0; i < 10; ++i) map.insert(std::make_unique<int>(i));
  int visited = 0;
  map.for_each([&](Map::Id id, int& value) {
    ++visited;
    if (value % 2) map.erase(id);
  });
  EXPECT_EQ(visited, 10);
  EXPECT_EQ(map.size(), 5u);
}

TEST(SlotMap, VisitingAllowsToInsert) {
  Map map;
  map.insert(std::make_unique<int>(0));
  map.for_each([&](Map::Id, int value) {
    if (value < 50) map.insert(std::make_unique<int>(value + 1));
  });
  EXPECT_EQ(map.size(), 51u);
}

TEST(SlotMap, BehavesLikeAMapThatNeverReusesIds) {
  SeededRandom random(3);
  Map map;
  std::map<std::uint64_t, int> model;
  std::unordered_set<std::uint64_t> ever;
  for (int i = 0; i < 50000; ++i) {
    if (model.empty() || random.below(2) == 0) {
      const auto id = map.insert(std::make_unique<int>(i));
      ASSERT_TRUE(ever.insert(id.packed()).second);
      model[id.packed()] = i;
    } else {
      const auto victim = std::next(model.begin(), static_cast<long>(random.below(model.size())));
      ASSERT_EQ(*map.erase(Map::Id::unpack(victim->first)), victim->second);
      ASSERT_EQ(map.find(Map::Id::unpack(victim->first)), nullptr);
      model.erase(victim);
    }
    ASSERT_EQ(map.size(), model.size());
  }
  for (const auto& [id, value] : model) EXPECT_EQ(*map.find(Map::Id::unpack(id)), value);
}

}  // namespace gatehouse
