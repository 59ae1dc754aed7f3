#include "daemon/base/kill_point.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

namespace gatehouse {

#ifdef GATEHOUSE_KILL_POINTS

// The environment is read at the first passage: each case runs in a process of its own.
testing::KilledBySignal killed() { return testing::KilledBySignal(SIGKILL); }
testing::ExitedWithCode alive() { return testing::ExitedWithCode(0); }

void pass_with(const char* kill_at, int passages) {
  setenv("GATEHOUSE_KILL_AT", kill_at, 1);
  for (int i = 0; i < passages; ++i) {
    kill_point("order.created");
    kill_point("order.finalized");
  }
  std::_Exit(0);
}

TEST(KillPoint, KillsAtItsName) { EXPECT_EXIT(pass_with("order.created", 1), killed(), ""); }

TEST(KillPoint, PassesOtherNames) { EXPECT_EXIT(pass_with("order", 3), alive(), ""); }

TEST(KillPoint, KillsAtTheGivenPassage) {
  EXPECT_EXIT(pass_with("order.created:3", 2), alive(), "");
  EXPECT_EXIT(pass_with("order.created:3", 3), killed(), "");
}

TEST(KillPoint, RefusesACountThatIsNone) {
  EXPECT_DEATH(pass_with("order.created:x", 1), "NAME or NAME:COUNT");
}

#else

TEST(KillPoint, IsCompiledOut) {
  setenv("GATEHOUSE_KILL_AT", "order.created", 1);
  kill_point("order.created");
}

#endif

}  // namespace gatehouse
