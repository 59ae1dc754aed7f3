#include "proxy/protocol/message.h"

#include <gtest/gtest.h>

#include <string>

namespace gatehouse::proxy {
namespace {

TEST(Name, EveryNameIsFoundByItsText) {
  for (auto name = Name::kAcceptEncoding;; name = static_cast<Name>(static_cast<int>(name) + 1)) {
    EXPECT_EQ(name_of(text_of(name)), name) << text_of(name);
    if (name == Name::kXRequestId) break;
  }
}

TEST(Name, TextOfTheSameLengthIsOther) {
  for (auto name = Name::kAcceptEncoding;; name = static_cast<Name>(static_cast<int>(name) + 1)) {
    std::string almost(text_of(name));
    almost.back() = '_';
    EXPECT_EQ(name_of(almost), Name::kOther) << almost;
    if (name == Name::kXRequestId) break;
  }
  EXPECT_EQ(name_of(""), Name::kOther);
  EXPECT_EQ(name_of(std::string(300, 'x')), Name::kOther);
}

TEST(Fields, KeepsTheOrderOfArrival) {
  Fields fields;
  fields.add("b", "1");
  fields.add("a", "2");
  fields.add(Name::kVia, "3");
  std::string seen;
  for (const auto field : fields) seen.append(field.name).append(field.value).append(" ");
  EXPECT_EQ(seen, "b1 a2 via3 ");
}

TEST(Fields, FindGivesTheFirstOfThatName) {
  Fields fields;
  fields.add("x-a", "1");
  fields.add("x-a", "2");
  EXPECT_EQ(fields.find("x-a"), "1");
  EXPECT_EQ(fields.find("x-b"), std::nullopt);
}

TEST(Fields, KnownNameIsFoundByTextAndById) {
  Fields fields;
  fields.add("user-agent", "curl");
  EXPECT_EQ(fields.find(Name::kUserAgent), "curl");
  EXPECT_EQ(fields.find("user-agent"), "curl");
}

TEST(Fields, SetReplacesAllOfThatName) {
  Fields fields;
  fields.add(Name::kDate, "1");
  fields.add("x", "y");
  fields.add(Name::kDate, "2");
  fields.set(Name::kDate, "3");
  EXPECT_EQ(fields.count(Name::kDate), 1u);
  EXPECT_EQ(fields.find(Name::kDate), "3");
  EXPECT_EQ(fields.size(), 2u);
}

TEST(Fields, SetTakesAValueOutOfTheSameList) {
  Fields fields;
  fields.add("a", std::string(100, 'v'));
  for (int i = 0; i < 20; ++i) fields.set("copy", *fields.find("a"));
  for (int i = 0; i < 20; ++i) fields.add(fields.at(0).name, fields.at(0).value);
  EXPECT_EQ(fields.find("copy"), std::string(100, 'v'));
  EXPECT_EQ(fields.at(fields.size() - 1).name, "a");
}

TEST(Fields, CopiesAndMovesLeaveNothingBehind) {
  Fields fields, other;
  fields.add("a", "1");
  other.add("b", std::string(1000, 'v'));
  other = fields;
  fields.set("a", "2");
  EXPECT_EQ(other.find("a"), "1");
  EXPECT_FALSE(other.find("b"));
  Fields taken = std::move(other);
  EXPECT_EQ(taken.find("a"), "1");
  other = std::move(taken);
  EXPECT_EQ(other.find("a"), "1");
  EXPECT_EQ(taken.list_bytes(), 0u);  // NOLINT: what is moved from is empty.
  taken.add("c", "3");
  EXPECT_EQ(taken.at(0).name, "c");
}

TEST(Fields, RemoveByTextTakesAllOfThatNameOnly) {
  Fields fields;
  fields.add("x-a", "1");
  fields.add("x-b", "2");
  fields.add("x-a", "3");
  fields.remove("x-a");
  ASSERT_EQ(fields.size(), 1u);
  EXPECT_EQ(fields.at(0).value, "2");
}

TEST(Fields, ListBytesCountsAsHttp2Does) {
  Fields fields;
  fields.add("abc", "defg");
  EXPECT_EQ(fields.list_bytes(), 3u + 4u + 32u);
}

TEST(Fields, NameLongerThan64KiBSurvives) {
  Fields fields;
  const std::string name(70000, 'n');
  fields.add(name, "v");
  EXPECT_EQ(fields.at(0).name, name);
  EXPECT_EQ(fields.at(0).value, "v");
}

TEST(RequestHead, GrpcIsKnownByItsMediaType) {
  const auto is_grpc = [](std::string_view type) {
    RequestHead head;
    head.version = HttpVersion::kHttp2;
    head.fields.add(Name::kContentType, type);
    return head.is_grpc();
  };
  EXPECT_TRUE(is_grpc("application/grpc"));
  EXPECT_TRUE(is_grpc("application/grpc+proto"));
  EXPECT_TRUE(is_grpc("application/grpc;charset=x"));
  EXPECT_FALSE(is_grpc("application/grpc-web"));
  EXPECT_FALSE(is_grpc("application/json"));
  EXPECT_FALSE(RequestHead{}.is_grpc());
}

TEST(Message, OnlySomeAnswersNeverHaveABody) {
  EXPECT_TRUE(never_has_body("HEAD", 200));
  EXPECT_TRUE(never_has_body("GET", 204));
  EXPECT_TRUE(never_has_body("GET", 304));
  EXPECT_TRUE(never_has_body("GET", 103));
  EXPECT_FALSE(never_has_body("GET", 205));
}

}  // namespace
}  // namespace gatehouse::proxy
