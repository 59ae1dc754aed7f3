#include "daemon/yaml.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace gatehouse::daemon {
namespace {

struct Parsed {
  std::vector<YamlProblem> problems;
  std::optional<YamlDocument> document;
};

Parsed parse(std::string_view text, const YamlLimits& limits = {}) {
  Parsed parsed;
  parsed.document = YamlDocument::parse(text, parsed.problems, limits);
  return parsed;
}

std::string first_problem(std::string_view text, const YamlLimits& limits = {}) {
  const Parsed parsed = parse(text, limits);
  if (parsed.problems.empty()) return "none";
  const YamlProblem& problem = parsed.problems.front();
  return std::to_string(problem.mark.line) + ":" + std::to_string(problem.mark.column) + " " +
         problem.message;
}

TEST(Yaml, KnowsLineAndColumnOfKeysAndValues) {
  const Parsed parsed = parse("a: 1\nb:\n  - x\n  - {c: d}\n");
  ASSERT_TRUE(parsed.document);
  const YamlNode root = parsed.document->root();
  EXPECT_EQ(root.key(1).mark(), (Mark{2, 1}));
  EXPECT_EQ(root.value(0).mark(), (Mark{1, 4}));
  EXPECT_EQ(root.value(1).item(0).mark(), (Mark{3, 5}));
  EXPECT_EQ(root.value(1).item(1).key(0).mark(), (Mark{4, 6}));
  EXPECT_EQ(root.value(1).item(1).value(0).mark(), (Mark{4, 9}));
}

TEST(Yaml, CountsColumnsInCharacters) {
  const Parsed parsed = parse("{ü: ä, b: c}");
  ASSERT_TRUE(parsed.document);
  EXPECT_EQ(parsed.document->root().key(1).mark(), (Mark{1, 8}));
}

TEST(Yaml, TellsQuotedFromPlainScalars) {
  const Parsed parsed = parse("[plain, 'single', \"double\"]");
  ASSERT_TRUE(parsed.document);
  const YamlNode root = parsed.document->root();
  EXPECT_TRUE(root.item(0).is_plain());
  EXPECT_FALSE(root.item(1).is_plain());
  EXPECT_FALSE(root.item(2).is_plain());
}

TEST(Yaml, TakesOnlyPlainNothingForNull) {
  const Parsed parsed = parse("[~, null, '', 'null', x]");
  ASSERT_TRUE(parsed.document);
  const YamlNode root = parsed.document->root();
  std::string nulls;
  for (std::size_t i = 0; i < root.size(); ++i) nulls += root.item(i).is_null() ? '1' : '0';
  EXPECT_EQ(nulls, "11000");
}

TEST(Yaml, KeepsScalarsAsText) {
  const Parsed parsed = parse("[yes, 010, 1.0, 12:30:45, off]");
  ASSERT_TRUE(parsed.document);
  std::string all;
  for (std::size_t i = 0; i < 5; ++i)
    all.append(parsed.document->root().item(i).text()).append(" ");
  EXPECT_EQ(all, "yes 010 1.0 12:30:45 off ");
}

TEST(Yaml, ReadsJson) {
  const Parsed parsed = parse(R"({"a": ["b", 1, true], "c": {"d": "\u00fc\n"}})");
  ASSERT_TRUE(parsed.document);
  EXPECT_EQ(parsed.document->root().value(1).value(0).text(), "ü\n");
}

TEST(Yaml, ReadsUrlsInFlowSequencesWithoutQuotes) {
  const Parsed parsed = parse("a: [http://helloworld-v1:8080]");
  ASSERT_TRUE(parsed.document);
  EXPECT_EQ(parsed.document->root().value(0).item(0).text(), "http://helloworld-v1:8080");
}

TEST(Yaml, SharesTheNodesOfAnAnchor) {
  const Parsed parsed = parse("a: &x {b: c}\nd: *x\n");
  ASSERT_TRUE(parsed.document);
  const YamlNode alias = parsed.document->root().value(1);
  EXPECT_EQ(alias.value(0).text(), "c");
  EXPECT_EQ(alias.mark(), (Mark{1, 4}));
}

TEST(Yaml, SkipsAByteOrderMark) {
  const Parsed parsed = parse(
      "\xef\xbb\xbf"
      "a: b");
  ASSERT_TRUE(parsed.document);
  EXPECT_EQ(parsed.document->root().key(0).text(), "a");
}

TEST(Yaml, HasNoRootWithoutText) {
  const Parsed parsed = parse("# only a comment\n");
  ASSERT_TRUE(parsed.document);
  EXPECT_FALSE(parsed.document->root());
}

TEST(Yaml, OutlivesAMove) {
  Parsed parsed = parse("a: b");
  ASSERT_TRUE(parsed.document);
  const YamlNode root = parsed.document->root();
  const YamlDocument moved = std::move(*parsed.document);
  EXPECT_EQ(root.value(0).text(), "b");
}

struct Refused {
  const char* name;
  std::string text;
  std::string problem;
};

class YamlRefuses : public testing::TestWithParam<Refused> {};

TEST_P(YamlRefuses, NamingThePlace) {
  EXPECT_EQ(first_problem(GetParam().text), GetParam().problem);
}

INSTANTIATE_TEST_SUITE_P(
    Texts, YamlRefuses,
    testing::Values(Refused{"InvalidUtf8", "a: b\nc: \xc3(\n", "2:4 byte \\xc3 is not valid UTF-8"},
                    Refused{"Utf16",
                            std::string("\xff\xfe"
                                        "a\0",
                                        4),
                            "1:1 byte \\xff is not valid UTF-8"},
                    Refused{"OverlongUtf8", "a: \xc0\xaf", "1:4 byte \\xc0 is not valid UTF-8"},
                    Refused{"ZeroByte", std::string("a: \0b", 5), "1:4 control character \\x00"},
                    Refused{"Tab", "a:\n\tb: c\n", "2:1 a tab cannot indent"},
                    Refused{"SecondDocument", "a: b\n---\nc: d\n", "2:1 a second document"},
                    Refused{"UnknownAlias", "a: *b\n", "1:4 no anchor &b stands before this alias"},
                    Refused{"AliasInItself", "a: &b [*b]\n",
                            "1:8 the alias *b is inside of what it stands for"},
                    Refused{"KeyThatIsAMapping", "{{a: b}: c}", "1:2 a key must be text"},
                    Refused{"DuplicateKey", "a: 1\nb: 2\na: 3\n",
                            "3:1 key \"a\" is here twice, first on line 1"},
                    Refused{"DuplicateQuotedKey", "{a: 1, 'a': 2}",
                            "1:8 key \"a\" is here twice, first on line 1"},
                    Refused{"MergeKey", "a: &x {b: c}\nd:\n  <<: *x\n",
                            "3:3 merge keys (<<) are not supported"},
                    Refused{"Tag", "a: !!int 1\n",
                            "1:4 the tag tag:yaml.org,2002:int is not supported"}),
    [](const auto& text) { return std::string(text.param.name); });

TEST(Yaml, AllowsAQuotedMergeKeyAsAnOrdinaryOne) { EXPECT_EQ(first_problem("{'<<': a}"), "none"); }

TEST(Yaml, TellsAllDuplicatesAtOnceAndStillGivesADocument) {
  const Parsed parsed = parse("a: 1\na: 2\nb: {c: 1, c: 2}\n");
  EXPECT_TRUE(parsed.document);
  EXPECT_EQ(parsed.problems.size(), 2u);
}

TEST(Yaml, FindsADuplicateAmongManyKeys) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "k" + std::to_string(i) + ": v\n";
  text += "k500: v\n";
  EXPECT_EQ(first_problem(text), "1001:1 key \"k500\" is here twice, first on line 501");
}

TEST(Yaml, BoundsBytes) {
  YamlLimits limits;
  limits.bytes = 4;
  EXPECT_EQ(first_problem("a: bc", limits), "0:0 the file has 5 bytes; at most 4 are read");
}

TEST(Yaml, BoundsDepth) {
  YamlLimits limits;
  limits.depth = 3;
  EXPECT_EQ(first_problem("[[[a]]]", limits), "none");
  EXPECT_EQ(first_problem("[[[[a]]]]", limits), "1:4 nested deeper than 3 levels");
}

TEST(Yaml, BoundsDepthThroughAliases) {
  YamlLimits limits;
  limits.depth = 4;
  EXPECT_EQ(first_problem("- &a [[x]]\n- [*a]\n", limits), "none");
  EXPECT_EQ(first_problem("- &a [[x]]\n- [[*a]]\n", limits), "2:5 nested deeper than 4 levels");
}

TEST(Yaml, BoundsNodes) {
  YamlLimits limits;
  limits.nodes = 4;
  EXPECT_EQ(first_problem("[a, b, c]", limits), "none");
  EXPECT_EQ(first_problem("[a, b, c, d]", limits),
            "1:11 more than 4 values, with aliases written out");
}

TEST(Yaml, CountsWhatAliasesStandFor) {
  YamlLimits limits;
  limits.nodes = 10;  // The root, [x, x] and its alias are 7.
  EXPECT_EQ(first_problem("[&a [x, x], *a]", limits), "none");
  EXPECT_EQ(first_problem("[&a [x, x], *a, *a, *a]", limits),
            "1:21 more than 10 values, with aliases written out");
}

TEST(Yaml, SurvivesADeepFileOfBrackets) {
  EXPECT_EQ(first_problem(std::string(10'000, '[')), "1:65 nested deeper than 64 levels");
}

TEST(Yaml, SurvivesADeepFileOfIndents) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_EQ(first_problem(text), "65:65 nested deeper than 64 levels");
}

TEST(Yaml, TakesAllDocumentsOfAStreamWhenAskedFor) {
  std::vector<YamlProblem> problems;
  const auto all = YamlDocument::parse_all("a: 1\n---\n# none\n---\n- b\n", problems);
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 3u);
  EXPECT_EQ((*all)[0].root().value(0).text(), "1");
  EXPECT_TRUE((*all)[1].root().is_null());
  EXPECT_EQ((*all)[2].root().item(0).mark(), (Mark{5, 3}));
  EXPECT_EQ(YamlDocument::parse_all("", problems)->size(), 0u);
  EXPECT_TRUE(problems.empty());
}

TEST(Yaml, CountsTheNodesOfAllDocumentsTogether) {
  std::vector<YamlProblem> problems;
  YamlLimits limits;
  limits.nodes = 6;
  EXPECT_TRUE(YamlDocument::parse_all("[a]\n---\n[b]\n", problems, limits));
  EXPECT_FALSE(YamlDocument::parse_all("[a, b]\n---\n[c, d, e]\n", problems, limits));
  EXPECT_EQ(problems.size(), 1u);
}

}  // namespace
}  // namespace gatehouse::daemon
