#include "daemon/base/metrics.h"

#include <gtest/gtest.h>

#include <limits>

namespace gatehouse {

TEST(Metrics, PrintsCountersWithHelpAndType) {
  Metrics metrics;
  metrics.counter("gatehouse_requests_total", "Requests served.", {{"code", "200"}}).add(3);
  EXPECT_EQ(metrics.to_text(),
            "# HELP gatehouse_requests_total Requests served.\n"
            "# TYPE gatehouse_requests_total counter\n"
            "gatehouse_requests_total{code=\"200\"} 3\n");
}

TEST(Metrics, TheSameNameAndLabelsAreTheSameSeries) {
  Metrics metrics;
  Counter& first = metrics.counter("a_total", "A.", {{"x", "1"}});
  EXPECT_EQ(&first, &metrics.counter("a_total", "ignored", {{"x", "1"}}));
  EXPECT_NE(&first, &metrics.counter("a_total", "A.", {{"x", "2"}}));
}

TEST(Metrics, SortsByName) {
  Metrics metrics;
  metrics.gauge("b", "B.");
  metrics.gauge("a", "A.");
  EXPECT_LT(metrics.to_text().find("# HELP a "), metrics.to_text().find("# HELP b "));
}

TEST(Metrics, PrintsEveryKindOfNumber) {
  const struct {
    double value;
    const char* printed;
  } cases[] = {{0, "g 0\n"},
               {1.5, "g 1.5\n"},
               {-2, "g -2\n"},
               {1e21, "g 1e+21\n"},
               {std::numeric_limits<double>::infinity(), "g +Inf\n"},
               {-std::numeric_limits<double>::infinity(), "g -Inf\n"},
               {std::numeric_limits<double>::quiet_NaN(), "g NaN\n"}};
  for (const auto& [value, printed] : cases) {
    Metrics metrics;
    metrics.gauge("g", "G.").set(value);
    EXPECT_TRUE(metrics.to_text().ends_with(printed)) << metrics.to_text();
  }
}

TEST(Metrics, EscapesHelpAndLabelValues) {
  Metrics metrics;
  metrics.gauge("g", "a \\ and\na line", {{"v", "quote \" back \\ line \n"}}).set(1);
  EXPECT_EQ(metrics.to_text(),
            "# HELP g a \\\\ and\\na line\n# TYPE g gauge\n"
            "g{v=\"quote \\\" back \\\\ line \\n\"} 1\n");
}

TEST(Metrics, HistogramsAreCumulativeWithInclusiveBounds) {
  Metrics metrics;
  auto& histogram = metrics.histogram("h", "H.", {0.5, 1}, {{"b", "x"}});
  for (const double value : {0.25, 0.5, 0.75, 5.0}) histogram.observe(value);
  EXPECT_EQ(metrics.to_text(),
            "# HELP h H.\n# TYPE h histogram\n"
            "h_bucket{b=\"x\",le=\"0.5\"} 2\n"
            "h_bucket{b=\"x\",le=\"1\"} 3\n"
            "h_bucket{b=\"x\",le=\"+Inf\"} 4\n"
            "h_sum{b=\"x\"} 6.5\nh_count{b=\"x\"} 4\n");
}

TEST(Metrics, ARemovedSeriesIsGoneAndItsFamilyWithTheLast) {
  Metrics metrics;
  metrics.gauge("g", "G.", {{"a", "1"}});
  metrics.gauge("g", "G.", {{"a", "2"}});
  metrics.remove("g", {{"a", "1"}});
  EXPECT_EQ(metrics.to_text(), "# HELP g G.\n# TYPE g gauge\ng{a=\"2\"} 0\n");
  metrics.remove("g", {{"a", "2"}});
  metrics.remove("never", {});
  EXPECT_EQ(metrics.to_text(), "");
}

TEST(Metrics, ASumHasTheSeriesOfAllAndChangesNone) {
  Metrics first, second;
  first.counter("c", "C.", {{"a", "1"}}).add(1);
  second.counter("c", "C.", {{"a", "1"}}).add(2);
  second.counter("c", "C.", {{"a", "2"}}).add(4);
  first.gauge("g", "G.").set(0.5);
  second.gauge("g", "G.").set(2);
  first.histogram("h", "H.", {1}).observe(0.5);
  second.histogram("h", "H.", {1}).observe(3);
  Metrics sum;
  sum.add(first);
  sum.add(second);
  EXPECT_EQ(sum.to_text(),
            "# HELP c C.\n# TYPE c counter\nc{a=\"1\"} 3\nc{a=\"2\"} 4\n"
            "# HELP g G.\n# TYPE g gauge\ng 2.5\n"
            "# HELP h H.\n# TYPE h histogram\n"
            "h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3.5\nh_count 2\n");
  EXPECT_EQ(first.counter("c", "C.", {{"a", "1"}}).value(), 1u);
}

TEST(Metrics, AViewIsNotAddedUp) {
  Metrics first, second;
  for (Metrics* loop : {&first, &second}) {
    Gauge& hosts = loop->gauge("hosts", "Hosts.");
    hosts.mark_as_view();
    hosts.set(loop == &first ? 3 : 4);
  }
  Metrics sum;
  sum.add(first);
  sum.add(second);
  sum.add(first);
  EXPECT_EQ(sum.gauge("hosts", "Hosts.").value(), 4);
}

TEST(Metrics, OneNameWithTwoTypesIsABug) {
  Metrics metrics;
  metrics.gauge("x", "X.");
  EXPECT_DEATH(metrics.counter("x", "X.", {{"a", "b"}}), "two types");
}

}  // namespace gatehouse
