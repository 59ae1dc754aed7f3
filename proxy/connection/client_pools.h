#pragma once
// The pools of a backend whose connections say who the client is (PROXY protocol): one for each
// client connection and host. A request of one client never goes over a connection that names
// another, so what cannot be told apart there is never shared here; they end with the client's own
// connection. Part of a cluster; the pools are owned by the data plane's table.

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "proxy/connection/backend_pool.h"
#include "proxy/connection/connection_host.h"

namespace gatehouse::proxy {

class ClientPools {
 public:
  explicit ClientPools(ConnectionHost& host) : host_(host) {}

  /// Null: that client has none to that host (a slot of the cluster) yet.
  BackendPool* find(FrontendId client, std::uint32_t slot) const;
  void add(FrontendId client, std::uint32_t slot, PoolId pool);

  /// What is idle closes, the rest ends when it is done.
  void retire_client(FrontendId client);
  /// Those that were retired.
  std::vector<PoolId> retire_host(std::uint32_t slot);
  void retire_all();
  /// Closes an idle connection, whoever's it is. False: there is none.
  bool close_idle();
  /// One that waits for a connection; null: none does.
  BackendPool* needy() const;

  std::size_t connections(std::uint32_t slot) const;

 private:
  struct Entry {
    std::uint32_t slot;
    PoolId pool;
  };
  template <class Visit>
  void for_each(Visit visit) const;

  ConnectionHost& host_;
  std::unordered_map<std::uint64_t, std::vector<Entry>> clients_;  // by FrontendId
};

}  // namespace gatehouse::proxy
