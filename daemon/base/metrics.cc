#include "daemon/base/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include "daemon/base/error.h"

namespace gatehouse {

namespace {

std::string escaped(std::string_view text, bool with_quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && with_quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
  return out;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

/// `{a="x",b="y"}`; one more pair may be added behind (the bucket's bound). Empty without any.
std::string braces(const Labels& labels, std::string_view more = {}) {
  std::string out;
  for (const auto& [name, value] : labels)
    out += fmt::format("{}{}=\"{}\"", out.empty() ? "" : ",", name, escaped(value, true));
  if (!more.empty()) out.append(out.empty() ? "" : ",").append(more);
  return out.empty() ? out : "{" + out + "}";
}

Counter zero_like(const Counter&) { return {}; }
Gauge zero_like(const Gauge&) { return {}; }
Histogram zero_like(const Histogram& histogram) { return Histogram(histogram.bounds()); }

void add_to(Counter& sum, const Counter& counter) { sum.add(counter.value()); }
void add_to(Gauge& sum, const Gauge& gauge) {
  if (!gauge.is_view())
    sum.add(gauge.value());
  else if (!sum.is_view() || sum.value() < gauge.value())
    sum = gauge;
}
void add_to(Histogram& sum, const Histogram& more) { sum.add(more); }

using Series = std::variant<Counter, Gauge, Histogram>;
constexpr const char* kTypes[] = {"counter", "gauge", "histogram"};  // By the variant's index.

void print(std::string& out, const std::string& name, const Labels& labels,
           const Counter& counter) {
  out += fmt::format("{}{} {}\n", name, braces(labels), counter.value());
}

void print(std::string& out, const std::string& name, const Labels& labels, const Gauge& gauge) {
  out += fmt::format("{}{} {}\n", name, braces(labels), number(gauge.value()));
}

void print(std::string& out, const std::string& name, const Labels& labels,
           const Histogram& histogram) {
  std::uint64_t so_far = 0;
  for (std::size_t i = 0; i < histogram.counts().size(); ++i) {
    so_far += histogram.counts()[i];
    const std::string bound =
        i < histogram.bounds().size() ? number(histogram.bounds()[i]) : std::string("+Inf");
    out += fmt::format("{}_bucket{} {}\n", name, braces(labels, "le=\"" + bound + "\""), so_far);
  }
  out += fmt::format("{}_sum{} {}\n", name, braces(labels), number(histogram.sum()));
  out += fmt::format("{}_count{} {}\n", name, braces(labels), so_far);
}

}  // namespace

struct Metrics::Family {
  std::string help;
  std::size_t type = 0;  // index into kTypes
  std::map<Labels, std::unique_ptr<Series>> series;

  /// The series with these labels; made when missing.
  template <class Metric>
  static Metric& get(decltype(Metrics::families_)& families, std::string_view name,
                     std::string_view help, const Labels& labels, Metric fresh) {
    auto found = families.find(name);
    if (found == families.end()) {
      found = families.emplace(std::string(name), std::make_unique<Family>()).first;
      found->second->help = help;
      found->second->type = Series(fresh).index();
    }
    auto& series = found->second->series[labels];
    if (!series) series = std::make_unique<Series>(std::move(fresh));
    auto* metric = std::get_if<Metric>(series.get());
    check(metric && found->second->type == series->index(), "one metric name with two types");
    return *metric;
  }
};

Metrics::Metrics() = default;
Metrics::~Metrics() = default;
Metrics::Metrics(Metrics&&) noexcept = default;
Metrics& Metrics::operator=(Metrics&&) noexcept = default;

void Histogram::observe(double value) {
  // The first bound that is not below the value: bounds are inclusive.
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  ++counts_[static_cast<std::size_t>(bucket - bounds_.begin())];
  sum_ += value;
}

void Histogram::add(const Histogram& other) {
  check(bounds_ == other.bounds_, "histograms with different bounds are not added");
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  sum_ += other.sum_;
}

Counter& Metrics::counter(std::string_view name, std::string_view help, const Labels& labels) {
  return Family::get(families_, name, help, labels, Counter());
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, const Labels& labels) {
  return Family::get(families_, name, help, labels, Gauge());
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help,
                              std::vector<double> bounds, const Labels& labels) {
  check(std::is_sorted(bounds.begin(), bounds.end()), "histogram bounds are not sorted");
  return Family::get(families_, name, help, labels, Histogram(std::move(bounds)));
}

void Metrics::remove(std::string_view name, const Labels& labels) {
  const auto found = families_.find(name);
  if (found == families_.end()) return;
  found->second->series.erase(labels);
  if (found->second->series.empty()) families_.erase(found);
}

void Metrics::add(const Metrics& other) {
  for (const auto& family : other.families_) {  // clang 14 captures no structured binding.
    const std::string& name = family.first;
    const std::string& help = family.second->help;
    for (const auto& series : family.second->series) {
      const auto take = [&]<class Metric>(const Metric& more) {
        add_to(Family::get(families_, name, help, series.first, zero_like(more)), more);
      };
      std::visit(take, *series.second);
    }
  }
}

std::string Metrics::to_text() const {
  std::string out;
  for (const auto& family : families_) {
    const std::string& name = family.first;
    out += fmt::format("# HELP {} {}\n", name, escaped(family.second->help, false));
    out += fmt::format("# TYPE {} {}\n", name, kTypes[family.second->type]);
    for (const auto& series : family.second->series)
      std::visit([&](const auto& metric) { print(out, name, series.first, metric); },
                 *series.second);
  }
  return out;
}

}  // namespace gatehouse
