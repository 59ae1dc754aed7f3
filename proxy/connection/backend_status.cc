#include "proxy/connection/backend_status.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace gatehouse::proxy {

namespace {
void add(BackendStatus& sum, BackendStatus more) {
  sum.is_panicking = sum.is_panicking || more.is_panicking;
  for (HostStatus& host : more.hosts) {
    const auto same =
        std::find_if(sum.hosts.begin(), sum.hosts.end(), [&](const HostStatus& known) {
          return known.address == host.address && (known.state == Balancer::State::kLeaving) ==
                                                      (host.state == Balancer::State::kLeaving);
        });
    if (same == sum.hosts.end()) {
      const bool is_usable = host.state == Balancer::State::kHealthy;
      sum.usable += is_usable ? 1 : 0;
      sum.hosts.push_back(std::move(host));
      continue;
    }
    same->requests += host.requests;
    same->connections += host.connections;
  }
}
}  // namespace

std::string_view to_string(Balancer::State state) {
  switch (state) {
    case Balancer::State::kHealthy: return "healthy";
    case Balancer::State::kUnhealthy: return "unhealthy";
    case Balancer::State::kEjected: return "ejected";
    case Balancer::State::kLeaving: return "leaving";
  }
  return "";
}

std::vector<BackendStatus> sum_of(std::vector<std::vector<BackendStatus>> loops) {
  std::vector<BackendStatus> sum;
  std::unordered_map<std::string, std::size_t> places;  // in sum
  for (std::vector<BackendStatus>& loop : loops) {
    for (BackendStatus& backend : loop) {
      const auto [known, is_new] = places.try_emplace(backend.name, sum.size());
      if (is_new)
        sum.push_back(std::move(backend));
      else
        add(sum[known->second], std::move(backend));
    }
  }
  return sum;
}

}  // namespace gatehouse::proxy
