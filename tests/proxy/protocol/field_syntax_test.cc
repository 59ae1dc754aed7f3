#include "proxy/protocol/field_syntax.h"

#include <gtest/gtest.h>

#include <string>

namespace gatehouse::proxy {
namespace {

TEST(FieldSyntax, TokensAreTheTcharsOfRfc9110) {
  const std::string_view others = "!#$%&'*+-.^_`|~";
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool is_tchar = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                          (c >= 'A' && c <= 'Z') ||
                          (c != 0 && others.find(c) != std::string_view::npos);
    EXPECT_EQ(is_token(std::string(1, c)), is_tchar) << byte;
  }
  EXPECT_FALSE(is_token(""));
}

TEST(FieldSyntax, Http2NamesHaveNoUpperCase) {
  EXPECT_TRUE(is_lower_case_name("x-a"));
  EXPECT_FALSE(is_lower_case_name("X-a"));
  EXPECT_FALSE(is_lower_case_name(""));
  EXPECT_FALSE(is_lower_case_name("a b"));
}

TEST(FieldSyntax, ControlBytesSpoilAValueWhereverTheyAre) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_fine = (byte >= 0x20 && byte != 0x7f) || byte == '\t';
    for (std::size_t size = 1; size < 20; ++size) {
      for (std::size_t at = 0; at < size; ++at) {
        std::string value(size, 'v');
        value[at] = static_cast<char>(byte);
        ASSERT_EQ(is_field_value(value), is_fine) << byte << " at " << at << " of " << size;
      }
    }
  }
  EXPECT_TRUE(is_field_value(""));
  EXPECT_TRUE(is_field_value("\xff\xfe\x80\x81 \xc3\xa4\xff\xff\xff"));
}

TEST(FieldSyntax, ContentLengthIsDigitsThatFit63Bits) {
  EXPECT_EQ(parse_content_length("0"), 0u);
  EXPECT_EQ(parse_content_length("9223372036854775807"), 9223372036854775807u);
  for (const std::string_view text :
       {"", "9223372036854775808", "1 ", " 1", "-1", "+1", "1,1", "a"})
    EXPECT_EQ(parse_content_length(text), std::nullopt) << text;
}

TEST(FieldSyntax, AuthoritiesAreHostAndPort) {
  for (const std::string_view text : {"a", "a.example:443", "A_b-c~.example.", "192.0.2.1:80",
                                      "[::1]", "[2001:db8::1]:8443", "a:65535"})
    EXPECT_TRUE(is_valid_authority(text)) << text;
  for (const std::string_view text :
       {"",    ":80",    "a:",     "a:0",   "a:65536",        "a:000080", "a:8a",
        "u@a", "a/b",    "a b",    "a,b",   "a%20b",          "::1",      "[::1",
        "[]",  "[::1]:", "[::1]a", "[::g]", "[fe80::1%eth0]", "a\tb",     "*",
        "a?b", "a#b",    "a\\b",   "[v1.x]"})
    EXPECT_FALSE(is_valid_authority(text)) << text;
  EXPECT_TRUE(is_valid_authority(std::string(255, 'a')));
  EXPECT_FALSE(is_valid_authority(std::string(256, 'a')));
}

TEST(FieldSyntax, PathsBeginWithASlashAndAreVisibleAscii) {
  for (const std::string_view text : {"/", "//", "/a?b=c", "/%2F", "/\\", "/\"<>"})
    EXPECT_TRUE(is_valid_path(text)) << text;
  for (const std::string_view text :
       {"", "*", "a", "?", "/ ", "/a b", "/#", "/\x7f", "/\x80", "/\n"})
    EXPECT_FALSE(is_valid_path(text)) << text;
  EXPECT_FALSE(is_valid_path(std::string_view("/\0", 2)));
}

}  // namespace
}  // namespace gatehouse::proxy
