#include "proxy/routing/balancer.h"

#include "daemon/base/error.h"

namespace gatehouse::proxy {

std::optional<std::size_t> Balancer::choose(SteadyTime now) {
  const std::size_t count = avoided_until_.size();
  if (count == 0) return std::nullopt;
  std::size_t chosen = count, longest_ago = next_;
  for (std::size_t i = 0, at = next_; i < count && chosen == count; ++i) {
    if (!is_avoided(at, now)) chosen = at;
    if (avoided_until_[at] < avoided_until_[longest_ago]) longest_ago = at;
    at = at + 1 == count ? 0 : at + 1;
  }
  if (chosen == count) chosen = longest_ago;
  next_ = chosen + 1 == count ? 0 : chosen + 1;
  return chosen;
}

void Balancer::on_connect_failed(std::size_t endpoint, SteadyTime now) {
  check(endpoint < avoided_until_.size(), "an endpoint that the balancer gave");
  avoided_until_[endpoint] = now + kAvoidance;
}

void Balancer::on_connected(std::size_t endpoint) {
  check(endpoint < avoided_until_.size(), "an endpoint that the balancer gave");
  avoided_until_[endpoint] = {};
}

void Balancer::reset(std::size_t endpoints) {
  avoided_until_.assign(endpoints, {});
  next_ = 0;
}

bool Balancer::is_avoided(std::size_t endpoint, SteadyTime now) const {
  return now < avoided_until_[endpoint];
}

}  // namespace gatehouse::proxy
