#include "proxy/connection/health_probe.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

std::string bytes(std::initializer_list<int> from) {
  std::string all;
  for (const int byte : from) all.push_back(static_cast<char>(byte));
  return all;
}

TEST(HealthProbe, AsksForTheWholeServerOrForAService) {
  EXPECT_EQ(grpc_health_request(""), bytes({0, 0, 0, 0, 0}));
  EXPECT_EQ(grpc_health_request("abc"), bytes({0, 0, 0, 0, 5, 0x0a, 3, 'a', 'b', 'c'}));
  const std::string name(300, 'x');
  EXPECT_EQ(grpc_health_request(name), bytes({0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02}) + name);
}

TEST(HealthProbe, OnlyServingIsServing) {
  EXPECT_TRUE(is_serving(bytes({0, 0, 0, 0, 2, 0x08, 1})));
  EXPECT_FALSE(is_serving(bytes({0, 0, 0, 0, 2, 0x08, 2}))) << "NOT_SERVING";
  EXPECT_FALSE(is_serving(bytes({0, 0, 0, 0, 0}))) << "UNKNOWN";
  EXPECT_TRUE(is_serving(bytes({0, 0, 0, 0, 6, 0x12, 1, 'x', 0x08, 1})))
      << "a field of later times";
}

TEST(HealthProbe, WhatIsCutOrGarbageIsNotServing) {
  for (const std::string& message :
       {std::string(), bytes({0}), bytes({1, 0, 0, 0, 2, 0x08, 1}), bytes({0, 0, 0, 0, 1, 0x08}),
        bytes({0, 0, 0, 0, 3, 0x12, 9, 'x'}), bytes({0, 0, 0, 0, 1, 0x0b}),
        bytes({0, 0, 0, 0, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})})
    EXPECT_FALSE(is_serving(message));
}

}  // namespace
}  // namespace gatehouse::proxy
