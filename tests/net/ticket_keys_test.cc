#include <gtest/gtest.h>

#include <cstring>

#include "daemon/net/tls_context.h"
#include "tests/support/fake_clock.h"

namespace gatehouse::net {
namespace {

TEST(TicketKeys, RotateTwiceADayAndKeepTwoOldKeys) {
  FakeClock clock;
  auto keys = *TicketKeys::create(clock);
  const TicketKeys::Key first = keys->current();
  keys->rotate_if_due();
  EXPECT_EQ(std::memcmp(keys->current().name, first.name, sizeof first.name), 0) << "not yet due";
  for (int i = 0; i < 2; ++i) {
    clock.advance(12h);
    keys->rotate_if_due();
    EXPECT_NE(std::memcmp(keys->current().name, first.name, sizeof first.name), 0);
    EXPECT_NE(keys->find(first.name), nullptr);
  }
  clock.advance(12h);
  EXPECT_EQ(keys->find(first.name), nullptr) << "spent, although nobody rotated";
  keys->rotate_if_due();
  EXPECT_EQ(keys->find(first.name), nullptr);
}

TEST(TicketKeys, SurviveAClockThatIsSetBack) {
  FakeClock clock;
  auto keys = *TicketKeys::create(clock);
  const TicketKeys::Key first = keys->current();
  clock.set_wall(clock.wall_now() - 1000h);
  keys->rotate_if_due();
  EXPECT_NE(keys->find(first.name), nullptr);
  EXPECT_NE(std::memcmp(keys->current().name, first.name, sizeof first.name), 0);
}

bool is_same(const TicketKeys::Key& a, const TicketKeys::Key& b) {
  return std::memcmp(a.name, b.name, sizeof a.name) == 0;
}

TEST(SharedTicketKeys, ReplaceOurOwnWhichOnlyDecryptFromThenOn) {
  FakeClock clock;
  auto keys = *TicketKeys::create(clock);
  const TicketKeys::Key own = keys->current();
  const auto shared = *TicketKeys::make_shared_key(clock.wall_now());
  keys->use_shared({shared});
  keys->rotate_if_due();
  EXPECT_TRUE(is_same(keys->current(), shared));
  EXPECT_NE(keys->find(own.name), nullptr);
  clock.advance(36h);
  EXPECT_EQ(keys->find(own.name), nullptr);
}

TEST(SharedTicketKeys, AreKnownBeforeTheirTimeAndEncryptFromThenOn) {
  FakeClock clock;
  auto keys = *TicketKeys::create(clock);
  const auto first = *TicketKeys::make_shared_key(clock.wall_now() - 11h);
  const auto next = *TicketKeys::make_shared_key(clock.wall_now() + 1h);
  keys->use_shared({next, first});
  EXPECT_TRUE(is_same(keys->current(), first));
  EXPECT_NE(keys->find(next.name), nullptr);
  clock.advance(1h);
  EXPECT_TRUE(is_same(keys->current(), next));
  EXPECT_NE(keys->find(first.name), nullptr);
}

TEST(SharedTicketKeys, TheSameSetAgainChangesNothing) {
  FakeClock clock;
  auto keys = *TicketKeys::create(clock);
  const auto first = *TicketKeys::make_shared_key(clock.wall_now());
  keys->use_shared({first});
  const TicketKeys::Key* const place = &keys->current();
  keys->use_shared({first});
  EXPECT_EQ(&keys->current(), place);
}

TEST(SharedTicketKeys, GiveWayToOurOwnWhenNobodyRenewsThem) {
  FakeClock clock;
  auto keys = *TicketKeys::create(clock);
  const auto shared = *TicketKeys::make_shared_key(clock.wall_now());
  keys->use_shared({shared});
  clock.advance(24h);
  keys->rotate_if_due();
  EXPECT_FALSE(is_same(keys->current(), shared));
  EXPECT_NE(keys->find(shared.name), nullptr) << "its tickets live on";
  const auto newer = *TicketKeys::make_shared_key(clock.wall_now());
  keys->use_shared({newer, shared});
  EXPECT_TRUE(is_same(keys->current(), newer));
}

TEST(SharedTicketKeys, AreOneSetOnNodesWhoseClocksDiffer) {
  FakeClock early, late;
  late.advance(10min);
  auto a = *TicketKeys::create(early);
  auto b = *TicketKeys::create(late);
  const auto first = *TicketKeys::make_shared_key(early.wall_now() - 12h);
  const auto next = *TicketKeys::make_shared_key(early.wall_now() + 5min);
  for (auto* keys : {a.get(), b.get()}) keys->use_shared({next, first});
  EXPECT_TRUE(is_same(a->current(), first));
  EXPECT_TRUE(is_same(b->current(), next));
  EXPECT_NE(a->find(b->current().name), nullptr);
  EXPECT_NE(b->find(a->current().name), nullptr);
}

}  // namespace
}  // namespace gatehouse::net
