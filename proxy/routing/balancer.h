#pragma once
// Which endpoint of a backend gets the next connection or request: each in turn. One per backend
// and loop, owned by the data plane; it knows indexes only. Health checks and ejection are not
// here: the one rule is that an endpoint which did not accept a connection is tried last for a
// second, so that a dead one costs one attempt a second, and all dead ones are still tried (UF says
// more than UH).

#include <cstddef>
#include <optional>
#include <vector>

#include "daemon/base/clock.h"

namespace gatehouse::proxy {

class Balancer {
 public:
  static constexpr Duration kAvoidance = std::chrono::seconds(1);

  explicit Balancer(std::size_t endpoints) : avoided_until_(endpoints) {}

  /// Nothing only when there are no endpoints at all (UH). When all are avoided: the one that
  /// failed longest ago.
  std::optional<std::size_t> choose(SteadyTime now);

  void on_connect_failed(std::size_t endpoint, SteadyTime now);
  void on_connected(std::size_t endpoint);
  /// The endpoints changed (names resolved anew): what was known of them is forgotten.
  void reset(std::size_t endpoints);

  std::size_t size() const { return avoided_until_.size(); }
  bool is_avoided(std::size_t endpoint, SteadyTime now) const;

 private:
  std::vector<SteadyTime> avoided_until_;  // per endpoint; the epoch: not avoided
  std::size_t next_ = 0;
};

}  // namespace gatehouse::proxy
