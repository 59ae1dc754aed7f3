#include "proxy/protocol/response_flags.h"

#include <gtest/gtest.h>

#include <string>

namespace gatehouse::proxy {
namespace {

std::string text(ResponseFlags flags) {
  std::string out;
  flags.append_to(out);
  return out;
}

TEST(ResponseFlags, PrintsADashForNone) {
  ResponseFlags flags;
  flags.add(ResponseFlag::kNone);
  EXPECT_FALSE(flags.any());
  EXPECT_EQ(text(flags), "-");
}

TEST(ResponseFlags, JoinsSeveralWithCommasInEnvoysOrder) {
  ResponseFlags flags;
  flags.add(ResponseFlag::kUrx);
  flags.add(ResponseFlag::kUf);
  flags.add(ResponseFlag::kUf);
  EXPECT_EQ(text(flags), "UF,URX");
  EXPECT_TRUE(flags.has(ResponseFlag::kUf));
  EXPECT_FALSE(flags.has(ResponseFlag::kUh));
}

TEST(ResponseFlags, HasTheTextOfEachFlag) {
  const struct {
    ResponseFlag flag;
    std::string_view text;
  } cases[] = {
      {ResponseFlag::kUh, "UH"}, {ResponseFlag::kUt, "UT"},   {ResponseFlag::kLr, "LR"},
      {ResponseFlag::kUr, "UR"}, {ResponseFlag::kUf, "UF"},   {ResponseFlag::kUc, "UC"},
      {ResponseFlag::kUo, "UO"}, {ResponseFlag::kNr, "NR"},   {ResponseFlag::kRl, "RL"},
      {ResponseFlag::kDc, "DC"}, {ResponseFlag::kUrx, "URX"}, {ResponseFlag::kSi, "SI"},
      {ResponseFlag::kIh, "IH"}, {ResponseFlag::kDpe, "DPE"}, {ResponseFlag::kUmsdr, "UMSDR"},
      {ResponseFlag::kDt, "DT"}, {ResponseFlag::kUpe, "UPE"}, {ResponseFlag::kNc, "NC"},
      {ResponseFlag::kOm, "OM"}, {ResponseFlag::kDf, "DF"},   {ResponseFlag::kDr, "DR"},
  };
  for (const auto& [flag, expected] : cases) {
    ResponseFlags flags;
    flags.add(flag);
    EXPECT_EQ(text(flags), expected);
  }
}

}  // namespace
}  // namespace gatehouse::proxy
