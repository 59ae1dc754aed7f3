#pragma once
// For people: what is known of the hosts of a backend, by one loop or by all.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/routing/balancer.h"

namespace gatehouse::proxy {

struct HostStatus {
  std::string address;
  Balancer::State state = Balancer::State::kHealthy;
  std::string reason;  // why it is unhealthy
  std::size_t requests = 0;
  std::size_t connections = 0;
};
struct BackendStatus {
  std::string name;
  std::vector<HostStatus> hosts;
  std::size_t usable = 0;
  bool is_panicking = false;
};
std::string_view to_string(Balancer::State state);

/// Of what each loop says: requests and connections add up; the hosts are those of the first loop
/// that knows the backend, and what only later ones know.
std::vector<BackendStatus> sum_of(std::vector<std::vector<BackendStatus>> loops);

}  // namespace gatehouse::proxy
