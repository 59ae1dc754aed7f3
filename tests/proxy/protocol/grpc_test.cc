#include "proxy/protocol/grpc.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

using namespace std::chrono_literals;

TEST(GrpcTimeout, KnowsEveryUnit) {
  EXPECT_EQ(parse_grpc_timeout("1H"), 1h);
  EXPECT_EQ(parse_grpc_timeout("2M"), 2min);
  EXPECT_EQ(parse_grpc_timeout("30S"), 30s);
  EXPECT_EQ(parse_grpc_timeout("250m"), 250ms);
  EXPECT_EQ(parse_grpc_timeout("9u"), 9us);
  EXPECT_EQ(parse_grpc_timeout("00000007n"), 7ns);
  EXPECT_EQ(parse_grpc_timeout("0n"), 0ns);
}

TEST(GrpcTimeout, IsAtMostTenYears) {
  EXPECT_EQ(parse_grpc_timeout("99999999H"), 24h * 3650);
  EXPECT_EQ(parse_grpc_timeout("99999999S"), 99'999'999s);
}

TEST(GrpcTimeout, RefusesEverythingElse) {
  for (const char* text : {"", "S", "1", "1s", "1h", "123456789S", "-1S", "+1S", " 1S", "1 S",
                           "1.5S", "1SS", "0x1S", "1S "})
    EXPECT_EQ(parse_grpc_timeout(text), std::nullopt) << text;
}

TEST(GrpcTimeout, IsWrittenInTheFinestUnitThatHasRoom) {
  EXPECT_EQ(format_grpc_timeout(-1s), "0n");
  EXPECT_EQ(format_grpc_timeout(1ms), "1000000n");
  EXPECT_EQ(format_grpc_timeout(250ms), "250000u");
  EXPECT_EQ(format_grpc_timeout(99'999'999us + 1ns), "100000m");
  EXPECT_EQ(format_grpc_timeout(100'000s), "100000S") << "in milliseconds it has nine digits";
  EXPECT_EQ(format_grpc_timeout(24h * 3650), "5256000M");
}

TEST(GrpcStatus, IsReadStrictly) {
  EXPECT_EQ(parse_grpc_status("0"), 0);
  EXPECT_EQ(parse_grpc_status("14"), 14);
  for (const char* text : {"", "x", "-1", "1x", " 1"}) EXPECT_EQ(parse_grpc_status(text), -1);
}

TEST(GrpcStatus, OfAResetIsWhatAClientWouldMakeOfIt) {
  EXPECT_EQ(grpc_status_of(Reset::kCancel), GrpcStatus::kCancelled);
  EXPECT_EQ(grpc_status_of(Reset::kRefused), GrpcStatus::kUnavailable);
  EXPECT_EQ(grpc_status_of(Reset::kCalm), GrpcStatus::kResourceExhausted);
  EXPECT_EQ(grpc_status_of(Reset::kInternal), GrpcStatus::kInternal);
  EXPECT_EQ(grpc_status_of(Reset::kConnectionLost), GrpcStatus::kUnavailable);
}

}  // namespace
}  // namespace gatehouse::proxy
