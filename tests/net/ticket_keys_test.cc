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

}  // namespace
}  // namespace gatehouse::net
