#include "proxy/routing/header_edits.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

using Use = Template::Use;

struct World {
  World() {
    request.fields.add("x-a", "1");
    request.fields.add("x-b", "2");
    request.fields.add("x-a", "3");
    source.target = "/x";
  }
  RequestHead request;
  VariableSource source{.request = request};
};

std::string text_of(const Fields& fields) {
  std::string text;
  for (const auto field : fields) {
    if (!text.empty()) text.append(" | ");
    text.append(field.name).append(": ").append(field.value);
  }
  return text;
}

/// The fields of the world's request after the edits.
std::string edited(const HeaderEdits& edits, World world = {}) {
  const auto editor = HeaderEditor::compile(edits, Use::kRequestHeader);
  EXPECT_TRUE(editor) << (editor ? "" : editor.error().message);
  if (editor) editor->apply(world.request.fields, {.request = world.request, .target = "/x"});
  return text_of(world.request.fields);
}

TEST(HeaderEdits, RemoveAllOfAName) { EXPECT_EQ(edited({.remove = {"x-a"}}), "x-b: 2"); }

TEST(HeaderEdits, SetReplacesAllOfAName) {
  EXPECT_EQ(edited({.set = {{"x-a", "new"}}}), "x-b: 2 | x-a: new");
  EXPECT_EQ(edited({.set = {{"x-c", "new"}}}), "x-a: 1 | x-b: 2 | x-a: 3 | x-c: new");
}

TEST(HeaderEdits, AddLeavesTheOthers) {
  EXPECT_EQ(edited({.add = {{"x-b", "more"}}}), "x-a: 1 | x-b: 2 | x-a: 3 | x-b: more");
}

TEST(HeaderEdits, AreAppliedInTheirOrder) {
  EXPECT_EQ(
      edited(
          {.remove = {"x-a", "x-b"}, .set = {{"x-b", "s"}}, .add = {{"x-a", "a"}, {"x-b", "t"}}}),
      "x-b: s | x-a: a | x-b: t");
}

TEST(HeaderEdits, ValuesAreOfTheTimeBeforeAnyEdit) {
  EXPECT_EQ(
      edited({.remove = {"x-b"}, .set = {{"x-a", "%REQ(x-b)%"}}, .add = {{"x-c", "%REQ(x-a)%"}}}),
      "x-a: 2 | x-c: 1");
}

TEST(HeaderEdits, AnEmptyValueIsNotAddedAndWhatItWouldReplaceIsGone) {
  EXPECT_EQ(edited({.set = {{"x-a", "%REQ(x-none)%"}}, .add = {{"x-c", "%REQ(x-none)%"}}}),
            "x-b: 2");
  EXPECT_EQ(edited({.set = {{"x-a", " %REQ(x-none)% "}}}), "x-b: 2");
}

TEST(HeaderEdits, AValueThatNoHeaderCanHaveIsNotAdded) {
  World world;
  const auto editor = *HeaderEditor::compile(
      {.set = {{"x-sni", "%REQUESTED_SERVER_NAME%"}, {"x-c", "c"}}}, Use::kRequestHeader);
  for (const std::string_view bad : {std::string_view("a\r\nx-evil: 1"), std::string_view("a\nb"),
                                     std::string_view("a\0b", 3), std::string_view("a\x7f")}) {
    Fields fields;
    world.source.server_name = bad;
    editor.apply(fields, world.source);
    EXPECT_EQ(text_of(fields), "x-c: c");
  }
}

TEST(HeaderEdits, SurroundingWhiteSpaceIsTrimmed) {
  EXPECT_EQ(edited({.remove = {"x-a", "x-b"}, .set = {{"x-c", "%REQ(x-none)% c %REQ(x-none)%"}}}),
            "x-c: c");
}

TEST(HeaderEdits, FramingConnectionAndPseudoFieldsAreNotTheirs) {
  for (const std::string name :
       {"host", "connection", "keep-alive", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "content-length", "expect", "http2-settings", ":authority",
        ":path", "a b", "", "X-Upper"}) {
    EXPECT_NE(HeaderEditor::refusal(name), "") << name;
    EXPECT_FALSE(HeaderEditor::compile({.remove = {name}}, Use::kRequestHeader)) << name;
    EXPECT_FALSE(HeaderEditor::compile({.set = {{name, "x"}}}, Use::kRequestHeader)) << name;
    EXPECT_FALSE(HeaderEditor::compile({.add = {{name, "x"}}}, Use::kResponseHeader)) << name;
  }
  for (const std::string name : {"x-a", "cookie", "set-cookie", "server", "x-forwarded-prefix",
                                 "content-type", "authorization"})
    EXPECT_EQ(HeaderEditor::refusal(name), "") << name;
}

TEST(HeaderEdits, ConstantsNeedNoVariables) {
  EXPECT_FALSE(
      HeaderEditor::compile({.set = {{"a", "b%%"}}}, Use::kRequestHeader)->has_variables());
  EXPECT_TRUE(
      HeaderEditor::compile({.add = {{"a", "%PATH%"}}}, Use::kRequestHeader)->has_variables());
  EXPECT_FALSE(HeaderEditor::compile({.add = {{"a", "%NONE%"}}}, Use::kRequestHeader));
  EXPECT_TRUE(HeaderEditor::compile({}, Use::kRequestHeader)->empty());
}

}  // namespace
}  // namespace gatehouse::proxy
