#include "proxy/protocol/request_id.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace gatehouse::proxy {
namespace {

class FixedRandom final : public Random {
 public:
  explicit FixedRandom(std::uint64_t value) : value_(value) {}
  std::uint64_t next() override { return value_; }

 private:
  std::uint64_t value_;
};

TEST(RequestId, IsAUuidOfVersionFour) {
  FixedRandom ones(~std::uint64_t{0}), zeros(0), mixed(0x0123456789abcdef);
  EXPECT_EQ(make_request_id(ones).view(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
  EXPECT_EQ(make_request_id(zeros).view(), "00000000-0000-4000-8000-000000000000");
  EXPECT_EQ(make_request_id(mixed).view(), "01234567-89ab-4def-8123-456789abcdef");
}

TEST(RequestId, DoesNotRepeat) {
  SeededRandom random(1);
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) seen.emplace(make_request_id(random).view());
  EXPECT_EQ(seen.size(), 1000u);
}

}  // namespace
}  // namespace gatehouse::proxy
