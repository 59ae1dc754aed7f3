#pragma once
// Looks after the hosts of a backend by active checks: one at a time for each host, each on a
// connection of its own (health_probe), the next one an interval after the end of the last. The
// first checks come soon, and jitter keeps them apart. What a verdict means is decided in
// routing/host_health. Part of a cluster.

#include <memory>
#include <string>
#include <vector>

#include "proxy/connection/health_probe.h"

namespace gatehouse::proxy {

class HealthChecker {
 public:
  HealthChecker(ConnectionHost& host, ClusterId cluster, const HealthCheck& check);

  /// `settings` says how to connect; the connection's own time limit is the check's.
  void add(std::uint32_t slot, const net::SocketAddress& address,
           BackendConnection::Settings settings, std::string authority);
  void remove(std::uint32_t slot);
  /// No further checks, and those on their way end.
  void stop();
  /// False: a late answer, which says nothing any more.
  bool take_verdict(std::uint32_t slot, std::uint64_t round);

 private:
  struct Watch {
    net::SocketAddress address;
    BackendConnection::Settings settings;
    std::string authority;
    BackendId probe;
    std::uint64_t round = 0;
    bool is_running = false;
    std::unique_ptr<Timer> timer;
  };

  void on_timer(std::uint32_t slot);
  void begin(std::uint32_t slot);
  void end(Watch& watch);
  void fail(std::uint32_t slot, const std::string& reason);

  ConnectionHost& host_;
  const ClusterId cluster_;
  const HealthCheck check_;
  std::vector<std::unique_ptr<Watch>> watches_;  // by slot; null: none
  std::uint64_t rounds_ = 0;
};

}  // namespace gatehouse::proxy
