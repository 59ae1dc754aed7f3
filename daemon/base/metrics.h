#pragma once
// Counters, gauges and histograms, printed in Prometheus' text format. A metric is registered once,
// by its owner at start; on the hot path it is a plain increment (one loop owns one Metrics).

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gatehouse {

class Counter {
 public:
  void add(std::uint64_t by = 1) { value_ += by; }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0;
};

class Gauge {
 public:
  void set(double value) { value_ = value; }
  void add(double by) { value_ += by; }
  double value() const { return value_; }
  /// Says what every loop sees for itself, such as the hosts of a backend: not to be added up.
  void mark_as_view() { is_view_ = true; }
  bool is_view() const { return is_view_; }

 private:
  double value_ = 0;
  bool is_view_ = false;
};

/// Fixed upper bounds, cumulative when printed.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void observe(double value);
  const std::vector<double>& bounds() const { return bounds_; }
  const std::vector<std::uint64_t>& counts() const { return counts_; }
  double sum() const { return sum_; }
  /// Those of a histogram with the same bounds.
  void add(const Histogram& other);

 private:
  std::vector<double> bounds_;
  std::vector<std::uint64_t> counts_;
  double sum_ = 0;
};

/// Label pairs in printing order, for example {{"backend", "hello-v1"}, {"code", "200"}}.
using Labels = std::vector<std::pair<std::string, std::string>>;

class Metrics {
 public:
  /// The same name and labels give the same object; it lives as long as the Metrics (or until
  /// remove()). `help` of the first registration counts.
  Counter& counter(std::string_view name, std::string_view help, const Labels& labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, const Labels& labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, std::vector<double> bounds,
                       const Labels& labels = {});
  /// Forgets one series: a renewed certificate must not leave its old one behind.
  void remove(std::string_view name, const Labels& labels);

  /// Adds what another loop has counted, series by series. Gauges add up too, but for views: there
  /// the largest counts, for a loop may not have looked yet.
  void add(const Metrics& other);

  /// Prometheus text exposition format 0.0.4, sorted by name.
  std::string to_text() const;

 private:
  struct Family;
  std::map<std::string, std::unique_ptr<Family>, std::less<>> families_;

 public:
  Metrics();
  ~Metrics();
  Metrics(Metrics&&) noexcept;
  Metrics& operator=(Metrics&&) noexcept;
};

}  // namespace gatehouse
