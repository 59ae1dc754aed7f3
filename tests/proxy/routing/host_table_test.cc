#include "proxy/routing/host_table.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace gatehouse::proxy {
namespace {

int value_of(const HostTable<int>& table, std::string_view host) {
  const int* value = table.find(host);
  return value ? *value : 0;
}

TEST(HostTable, TakesTheHostOutOfAnAuthority) {
  struct Case {
    std::string_view authority, host, bracketed;
  };
  for (const auto& [authority, host, bracketed] : std::vector<Case>{
           {"www.example", "www.example", "www.example"},
           {"www.example:8443", "www.example", "www.example"},
           {"www.example:", "www.example", "www.example"},
           {"www.example.", "www.example", "www.example."},
           {"www.example.:443", "www.example", "www.example."},
           {"192.0.2.1:443", "192.0.2.1", "192.0.2.1"},
           {"[::1]:443", "::1", "[::1]"},
           {"[::1]", "::1", "[::1]"},
           {"::1", "::1", "::1"},
           {"[::1", "[::1", "[::1"},
           {"", "", ""},
           {".", ".", "."},
           {":443", "", ""},
       }) {
    EXPECT_EQ(host_of(authority), host) << authority;
    EXPECT_EQ(bracketed_host_of(authority), bracketed) << authority;
  }
}

TEST(HostTable, PrefersTheExactHostToTheWildcard) {
  HostTable<int> table;
  table.add("*.shop.example", 1);
  table.add("a.shop.example", 2);
  EXPECT_EQ(value_of(table, "a.shop.example"), 2);
  EXPECT_EQ(value_of(table, "b.shop.example"), 1);
}

TEST(HostTable, AWildcardTakesExactlyOneLabel) {
  HostTable<int> table;
  table.add("*.shop.example", 1);
  EXPECT_EQ(value_of(table, "a.b.shop.example"), 0);
  EXPECT_EQ(value_of(table, "shop.example"), 0);
  EXPECT_EQ(value_of(table, ".shop.example"), 0);
  EXPECT_EQ(value_of(table, "ashop.example"), 0);
}

TEST(HostTable, KeepsTheAsteriskApart) {
  HostTable<int> table;
  EXPECT_EQ(table.fallback(), nullptr);
  EXPECT_TRUE(table.add("*", 7));
  EXPECT_EQ(value_of(table, "anything"), 0);
  ASSERT_NE(table.fallback(), nullptr);
  EXPECT_EQ(*table.fallback(), 7);
}

TEST(HostTable, TheFirstValueOfAPatternStays) {
  HostTable<int> table;
  for (const std::string_view pattern : {"a.example", "*.example", "*"}) {
    EXPECT_TRUE(table.add(pattern, 1));
    EXPECT_FALSE(table.add(pattern, 2));
  }
  EXPECT_EQ(value_of(table, "a.example"), 1);
  EXPECT_EQ(value_of(table, "b.example"), 1);
}

TEST(HostTable, ComparesAddressesOfVersionSixByValue) {
  HostTable<int> table;
  table.add("[2001:db8::1]", 1);
  table.add("2001:db8:0::2", 2);
  EXPECT_EQ(value_of(table, "2001:db8:0:0:0:0:0:1"), 1);
  EXPECT_EQ(value_of(table, "2001:DB8::2"), 2);
  EXPECT_EQ(value_of(table, "2001:db8::3"), 0);
}

}  // namespace
}  // namespace gatehouse::proxy
