#include "daemon/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gatehouse {

using testing::ElementsAre;

boost::json::value parsed(std::string_view text) {
  auto value = parse_json(text);
  EXPECT_TRUE(value) << text;
  return value ? *value : boost::json::value();
}

TEST(ParseJson, PrintsCompactly) {
  EXPECT_EQ(to_text(parsed("{ \"a\" : [ 1 , true , null , \"x\" ] }")),
            R"({"a":[1,true,null,"x"]})");
}

TEST(ParseJson, RefusesWhatTheStandardDoesNotAllow) {
  for (const std::string_view bad : {"", "{", "{\"a\":1,}", "[1,]", "{a:1}", "// c\n1", "NaN", "01",
                                     "\"\xff\"", "\"\n\"", "1 2", "'x'", "\"\\ud800\""}) {
    const auto value = parse_json(bad);
    ASSERT_FALSE(value) << bad;
    EXPECT_EQ(value.error().fault, Fault::kInvalid);
    EXPECT_TRUE(value.error().message.starts_with("not valid JSON: "));
  }
}

TEST(ParseJson, RefusesMoreBytesThanAgreed) {
  EXPECT_TRUE(parse_json("\"12345\"", {.bytes = 7}));
  const auto value = parse_json("\"12345\"", {.bytes = 6});
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().fault, Fault::kTooLarge);
}

TEST(ParseJson, RefusesToGoTooDeep) {
  const std::string deep = std::string(33, '[') + std::string(33, ']');
  EXPECT_TRUE(parse_json(deep.substr(1, 64)));
  const auto value = parse_json(deep);
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().fault, Fault::kTooLarge);
}

TEST(JsonReader, ReadsTypedFields) {
  const auto value = parsed(R"({"s":"text","i":-5,"b":true,"l":["a","b"],"o":{"x":"deep"}})");
  JsonReader reader(value, "root");
  EXPECT_EQ(reader.string("s"), "text");
  EXPECT_EQ(reader.integer("i"), -5);
  EXPECT_TRUE(reader.boolean("b"));
  EXPECT_THAT(reader.strings("l"), ElementsAre("a", "b"));
  EXPECT_EQ(reader.object("o").string("x"), "deep");
  EXPECT_TRUE(reader.has("s"));
  EXPECT_FALSE(reader.has("nothing"));
  EXPECT_EQ(reader.error(), std::nullopt);
}

TEST(JsonReader, FallsBackWhenAFieldIsAbsentOrNull) {
  const auto value = parsed(R"({"null":null})");
  JsonReader reader(value, "root");
  EXPECT_EQ(reader.string_or("null", "x"), "x");
  EXPECT_EQ(reader.integer_or("no", 7), 7);
  EXPECT_TRUE(reader.boolean_or("no", true));
  EXPECT_TRUE(reader.strings_or_none("no").empty());
  int visited = 0;
  reader.each("no", [&](JsonReader&) { ++visited; });
  reader.each_string("no", [&](std::string_view, std::string_view) { ++visited; });
  EXPECT_EQ(visited, 0);
  EXPECT_EQ(reader.error(), std::nullopt);
}

TEST(JsonReader, NamesThePathOfWhatIsWrong) {
  const auto value = parsed(
      R"({"n":5,"s":"x","f":1.5,"big":18446744073709551615,"l":["a",1],"o":{"s":1},"ol":[{"s":1}]})");
  const struct {
    void (*read)(JsonReader&);
    std::string_view message;
  } cases[] = {
      {[](JsonReader& r) { r.string("n"); }, "order.n: expected a string"},
      {[](JsonReader& r) { r.string("no"); }, "order.no: missing"},
      {[](JsonReader& r) { r.string_or("n", ""); }, "order.n: expected a string"},
      {[](JsonReader& r) { r.integer("s"); }, "order.s: expected an integer"},
      {[](JsonReader& r) { r.integer("f"); }, "order.f: expected an integer"},
      {[](JsonReader& r) { r.integer("big"); }, "order.big: integer out of range"},
      {[](JsonReader& r) { r.boolean("s"); }, "order.s: expected true or false"},
      {[](JsonReader& r) { r.strings("s"); }, "order.s: expected a list of strings"},
      {[](JsonReader& r) { r.strings("l"); }, "order.l[1]: expected a string"},
      {[](JsonReader& r) { r.object("s"); }, "order.s: expected an object"},
      {[](JsonReader& r) { r.object("no"); }, "order.no: missing"},
      {[](JsonReader& r) { r.object("o").string("s"); }, "order.o.s: expected a string"},
      {[](JsonReader& r) { r.each("s", [](JsonReader&) {}); }, "order.s: expected a list"},
      {[](JsonReader& r) { r.each("ol", [](JsonReader& item) { item.string("s"); }); },
       "order.ol[0].s: expected a string"},
      {[](JsonReader& r) { r.each("l", [](JsonReader& item) { item.string("s"); }); },
       "order.l[0]: expected an object"},
      {[](JsonReader& r) { r.each_string("o", [](std::string_view, std::string_view) {}); },
       "order.o.s: expected a string"},
      {[](JsonReader& r) { r.each_string("n", [](std::string_view, std::string_view) {}); },
       "order.n: expected an object"},
      {[](JsonReader& r) { r.fail("n", "is too large"); }, "order.n: is too large"},
  };
  for (const auto& [read, message] : cases) {
    JsonReader reader(value, "order");
    read(reader);
    ASSERT_TRUE(reader.error()) << message;
    EXPECT_EQ(reader.error()->message, message);
    EXPECT_EQ(reader.error()->fault, Fault::kInvalid);
  }
}

TEST(JsonReader, KeepsTheFirstErrorAndGoesOn) {
  const auto value = parsed(R"({"a":1,"b":2,"c":"fine"})");
  JsonReader reader(value, "");
  EXPECT_EQ(reader.string("a"), "");
  EXPECT_EQ(reader.string("b"), "");
  EXPECT_EQ(reader.string("c"), "fine");
  EXPECT_EQ(reader.error()->message, "a: expected a string");
}

TEST(JsonReader, TheRootHasToBeAnObject) {
  const auto value = parsed("[1]");
  JsonReader reader(value, "order");
  EXPECT_EQ(reader.string("a"), "");
  EXPECT_EQ(reader.error()->message, "order: expected an object");
}

TEST(JsonReader, AMissingObjectSaysSoOnce) {
  const auto value = parsed("{}");
  JsonReader reader(value, "order");
  EXPECT_EQ(reader.object("meta").object("deeper").string("x"), "");
  EXPECT_EQ(reader.error()->message, "order.meta: missing");
}

TEST(JsonReader, VisitsEachFieldOfAnObject) {
  const auto value = parsed(R"({"labels":{"a":"1","b":"2"}})");
  JsonReader reader(value, "");
  std::vector<std::string> seen;
  reader.each_string("labels", [&](std::string_view name, std::string_view text) {
    seen.push_back(std::string(name) + "=" + std::string(text));
  });
  EXPECT_THAT(seen, ElementsAre("a=1", "b=2"));
}

}  // namespace gatehouse
