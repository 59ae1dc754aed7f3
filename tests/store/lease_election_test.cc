#include "store/lease_election.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/support/fake_clock.h"

namespace gatehouse::store {
namespace {

/// The apiserver's side: one object, written only over the version that the writer has read.
struct FakeLease {
  std::optional<LeaseObject> object;
  int version = 0, writes = 0;
  bool is_down = false;

  std::optional<LeaseObject> put(const LeaseAction& action) {
    if (is_down) return std::nullopt;
    if (action.resource_version != (object ? object->resource_version : "")) return std::nullopt;
    ++writes;
    object = LeaseObject{action.record, std::to_string(++version)};
    return object;
  }
};

struct Node {
  FakeClock clock;
  FakeLease& lease;
  LeaseElection election;

  Node(FakeLease& shared, std::string name) : lease(shared), election(clock, std::move(name)) {}

  void try_once() {
    std::optional<LeaseAction> action = election.begin();
    while (action) {
      if (action->kind == LeaseAction::Kind::kRead) {
        if (lease.is_down)
          action = election.on_failed();
        else
          action = lease.object ? election.on_read(*lease.object) : election.on_absent();
        continue;
      }
      if (const auto written = lease.put(*action)) {
        election.on_written(*written);
        return;
      }
      action = election.on_failed();
    }
  }
};

struct Election : testing::Test {
  FakeLease lease;
  Node a{lease, "a"}, b{lease, "b"};
  void pass(Duration by) {
    a.clock.advance(by);
    b.clock.advance(by);
  }
};

TEST_F(Election, CreatesTheLeaseAndLeads) {
  a.try_once();
  ASSERT_TRUE(lease.object);
  EXPECT_TRUE(a.election.is_leading());
  EXPECT_EQ(a.election.term(), 1u);
  const LeaseRecord& record = lease.object->record;
  EXPECT_EQ(record.holder, "a");
  EXPECT_EQ(record.duration_seconds, 15);
  EXPECT_EQ(record.transitions, 0);
  EXPECT_EQ(record.acquire_time, "2026-08-01T10:00:00.000000Z");
  EXPECT_EQ(record.renew_time, record.acquire_time);
}

TEST_F(Election, RenewsWithoutReadingAndKeepsItsAcquireTime) {
  a.try_once();
  pass(2s);
  const LeaseAction action = a.election.begin();
  EXPECT_EQ(action.kind, LeaseAction::Kind::kWrite);
  EXPECT_EQ(action.resource_version, "1");
  EXPECT_EQ(action.record.acquire_time, "2026-08-01T10:00:00.000000Z");
  EXPECT_EQ(action.record.renew_time, "2026-08-01T10:00:02.000000Z");
  EXPECT_EQ(action.record.transitions, 0);
}

TEST_F(Election, LeavesAHolderAlone) {
  a.try_once();
  for (int i = 0; i < 20; ++i) {
    pass(2s);
    a.try_once();
    b.try_once();
    EXPECT_TRUE(a.election.is_leading());
    EXPECT_FALSE(b.election.is_leading());
  }
  EXPECT_EQ(a.election.term(), 1u);
  EXPECT_EQ(lease.object->record.holder, "a");
}

TEST_F(Election, LosesTenSecondsAfterTheLastRenewal) {
  a.try_once();
  lease.is_down = true;
  for (int i = 0; i < 4; ++i) {
    pass(2s);
    a.try_once();
    EXPECT_TRUE(a.election.is_leading());
  }
  pass(2s - 1ms);
  EXPECT_TRUE(a.election.is_leading());
  pass(1ms);
  EXPECT_FALSE(a.election.is_leading());
}

TEST_F(Election, CountsTheDeadlineFromTheBeginOfTheRequest) {
  a.try_once();
  const LeaseAction action = a.election.begin();
  pass(9s);  // The answer took its time.
  a.election.on_written({action.record, "2"});
  EXPECT_TRUE(a.election.is_leading());
  pass(1s);
  EXPECT_FALSE(a.election.is_leading());
}

TEST_F(Election, TakesAnAnswerBehindTheDeadlineForNoRenewal) {
  a.try_once();
  const LeaseAction action = a.election.begin();
  pass(11s);
  a.election.on_written({action.record, "2"});
  EXPECT_FALSE(a.election.is_leading());
}

TEST_F(Election, TakesOverFifteenSecondsAfterItSawTheLastRenewal) {
  a.try_once();
  pass(14s);     // The record is old, but b has not looked before.
  b.try_once();  // It sees the record now.
  pass(15s - 1ms);
  b.try_once();
  EXPECT_FALSE(b.election.is_leading());
  pass(1ms);
  b.try_once();
  EXPECT_TRUE(b.election.is_leading());
  EXPECT_EQ(lease.object->record.transitions, 1);
  EXPECT_EQ(lease.object->record.acquire_time, lease.object->record.renew_time);
}

TEST_F(Election, WaitsAsLongAsTheHolderSaidNotAsLongAsWeWould) {
  lease.object = LeaseObject{{"other", 40, "", "x", 3}, "7"};
  b.try_once();
  pass(39s);
  b.try_once();
  EXPECT_FALSE(b.election.is_leading());
  pass(1s);
  b.try_once();
  EXPECT_TRUE(b.election.is_leading());
  EXPECT_EQ(lease.object->record.duration_seconds, 15);
  EXPECT_EQ(lease.object->record.transitions, 4);
}

TEST_F(Election, LooksAtNoWallClock) {
  a.try_once();
  for (const std::chrono::minutes skew : {-5min, 5min, 60 * 24 * 365min}) {
    b.clock.set_wall(a.clock.wall_now() + skew);
    pass(2s);
    a.try_once();
    b.try_once();
    EXPECT_TRUE(a.election.is_leading());
    EXPECT_FALSE(b.election.is_leading());
  }
  a.clock.set_wall(a.clock.wall_now() - 24h);
  EXPECT_TRUE(a.election.is_leading());
  a.try_once();
  EXPECT_TRUE(a.election.is_leading());
}

TEST_F(Election, APausedHolderLeadsNoMoreBeforeItWritesAnything) {
  a.try_once();
  b.try_once();
  pass(60s);
  EXPECT_FALSE(a.election.is_leading());
  b.try_once();
  ASSERT_TRUE(b.election.is_leading());
  const int writes = lease.writes;
  a.try_once();
  EXPECT_FALSE(a.election.is_leading());
  EXPECT_EQ(lease.writes, writes);
  EXPECT_EQ(lease.object->record.holder, "b");
}

TEST_F(Election, AWriteOverAnOlderVersionLeadsNowhere) {
  lease.object = LeaseObject{{"", 1, "", "x", 5}, "9"};
  auto from_a = a.election.begin();
  ASSERT_EQ(from_a.kind, LeaseAction::Kind::kRead);
  auto write = a.election.on_read(*lease.object);
  ASSERT_TRUE(write);
  b.try_once();
  ASSERT_TRUE(b.election.is_leading());
  ASSERT_FALSE(lease.put(*write));
  EXPECT_FALSE(a.election.on_failed());
  EXPECT_FALSE(a.election.is_leading());
}

TEST_F(Election, ALeaseThatWasDeletedIsMadeAgain) {
  a.try_once();
  lease.object.reset();
  pass(2s);
  // Whoever comes first has it: a term of its own.
  a.try_once();
  ASSERT_TRUE(lease.object);
  EXPECT_EQ(lease.object->record.holder, "a");
  EXPECT_TRUE(a.election.is_leading());
  EXPECT_EQ(a.election.term(), 2u);
}

TEST_F(Election, ANewTermIsCountedWhenTheLeaseComesBack) {
  a.try_once();
  lease.is_down = true;
  pass(12s);
  a.try_once();
  EXPECT_FALSE(a.election.is_leading());
  lease.is_down = false;
  a.try_once();  // Nobody had it meanwhile.
  EXPECT_TRUE(a.election.is_leading());
  EXPECT_EQ(a.election.term(), 2u);
  EXPECT_EQ(lease.object->record.transitions, 0);
}

TEST_F(Election, AReleasedLeaseIsTakenAtOnce) {
  a.try_once();
  b.try_once();
  pass(1s);
  const auto action = a.election.release();
  ASSERT_TRUE(action);
  EXPECT_EQ(action->record.holder, "");
  EXPECT_EQ(action->record.duration_seconds, 1);
  EXPECT_EQ(action->record.transitions, 0);
  ASSERT_TRUE(lease.put(*action));
  a.election.on_released();
  EXPECT_FALSE(a.election.is_leading());
  EXPECT_FALSE(a.election.release());
  b.try_once();
  EXPECT_TRUE(b.election.is_leading());
  EXPECT_EQ(lease.object->record.transitions, 1);
}

TEST_F(Election, PausesLikeClientGo) {
  SeededRandom random{7};
  for (int i = 0; i < 100; ++i) {
    const Duration pause = a.election.pause(random);
    EXPECT_GE(pause, 2s);
    EXPECT_LE(pause, 4400ms);
  }
  a.try_once();
  EXPECT_EQ(a.election.pause(random), Duration(2s));
}

TEST(MicroTime, AlwaysHasSixDigits) {
  const WallTime second{std::chrono::seconds(1785578400)};
  EXPECT_EQ(format_micro_time(second), "2026-08-01T10:00:00.000000Z");
  EXPECT_EQ(format_micro_time(second + std::chrono::microseconds(42)),
            "2026-08-01T10:00:00.000042Z");
  EXPECT_EQ(format_micro_time(second + std::chrono::nanoseconds(999999999)),
            "2026-08-01T10:00:00.999999Z");
}

}  // namespace
}  // namespace gatehouse::store
