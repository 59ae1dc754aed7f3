#include "proxy/routing/overload.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

TEST(Overload, WithoutABoundNothingIsTooMuch) {
  Overload overload;
  EXPECT_FALSE(overload.update_memory({1'000'000, 0}));
  EXPECT_FALSE(overload.update_sockets({1'000'000, 0}, {1'000'000, 0}));
  EXPECT_FALSE(overload.actions().any());
  EXPECT_EQ(overload.connections_to_close(1000), 0u);
}

TEST(Overload, OfMemoryShedsMoreTheLessThereIs) {
  Overload overload;
  EXPECT_FALSE(overload.update_memory({799, 1000}));
  EXPECT_TRUE(overload.update_memory({800, 1000}));
  EXPECT_EQ(overload.actions(), (Overload::Actions{true, false, false}));
  EXPECT_TRUE(overload.update_memory({900, 1000}));
  EXPECT_EQ(overload.actions(), (Overload::Actions{true, true, false}));
  EXPECT_TRUE(overload.update_memory({950, 1000}));
  EXPECT_EQ(overload.actions(), (Overload::Actions{true, true, true}));
  EXPECT_FALSE(overload.update_memory({2000, 1000}));
}

TEST(Overload, OfDescriptorsKeepsSomeForBackends) {
  Overload overload;
  overload.update_sockets({80, 100}, {});
  EXPECT_EQ(overload.actions(), (Overload::Actions{true, false, false}));
  overload.update_sockets({90, 100}, {});
  EXPECT_EQ(overload.actions(), (Overload::Actions{true, false, true}));
  overload.update_sockets({97, 100}, {});
  EXPECT_EQ(overload.actions(), (Overload::Actions{true, true, true}));
}

TEST(Overload, DoesNotFlutter) {
  Overload overload;
  EXPECT_TRUE(overload.update_memory({900, 1000}));
  EXPECT_FALSE(overload.update_memory({899, 1000}));
  EXPECT_FALSE(overload.update_memory({850, 1000}));
  EXPECT_TRUE(overload.update_memory({849, 1000}));
  EXPECT_EQ(overload.actions(), (Overload::Actions{true, false, false}));
  EXPECT_FALSE(overload.update_memory({750, 1000}));
  EXPECT_TRUE(overload.update_memory({749, 1000}));
  EXPECT_FALSE(overload.actions().any());
}

TEST(Overload, OneEndsWhatTheOtherDoesNotNeed) {
  Overload overload;
  overload.update_memory({950, 1000});
  overload.update_sockets({85, 100}, {});
  EXPECT_TRUE(overload.update_memory({10, 1000}));
  EXPECT_EQ(overload.actions(), (Overload::Actions{true, false, false}));
  EXPECT_TRUE(overload.update_sockets({10, 100}, {}));
  EXPECT_FALSE(overload.actions().any());
}

TEST(Overload, ClosesAsManyIdleOnesAsAreTooMany) {
  Overload overload;
  overload.update_sockets({85, 100}, {});
  EXPECT_EQ(overload.connections_to_close(80), 11u);
  overload.update_sockets({10, 100}, {999, 1000});
  EXPECT_EQ(overload.connections_to_close(999), 0u);
  overload.update_sockets({10, 100}, {1000, 1000});
  EXPECT_EQ(overload.connections_to_close(1000), 51u);
  EXPECT_FALSE(overload.actions().stops_accepting);
  overload.update_memory({850, 1000});
  EXPECT_EQ(overload.connections_to_close(1000), 125u);
  EXPECT_EQ(overload.connections_to_close(8), 16u);
}

TEST(Overload, WithThemClosedThePressureIsOver) {
  for (const std::size_t most : {100, 208, 333}) {
    Overload overload;
    overload.update_sockets({most - 1, most}, {});
    EXPECT_TRUE(overload.actions().any());
    overload.update_sockets({most - 1 - overload.connections_to_close(most - 1), most}, {});
    EXPECT_FALSE(overload.actions().any()) << most;
  }
}

TEST(Overload, EachLoopClosesItsShareOfTooManyConnections) {
  Overload overload;
  overload.update_sockets({10, 100}, {1000, 1000});
  EXPECT_EQ(overload.connections_to_close(250), 13u) << "a quarter of 51";
  EXPECT_EQ(overload.connections_to_close(1), 1u);
  EXPECT_EQ(overload.connections_to_close(0), 0u);
  overload.update_sockets({10, 100}, {5, 5});
  EXPECT_EQ(overload.connections_to_close(5), 1u) << "one less is enough in a small house";
}

}  // namespace
}  // namespace gatehouse::proxy
