#include "proxy/connection/client_pools.h"

#include <algorithm>
#include <utility>

namespace gatehouse::proxy {

BackendPool* ClientPools::find(FrontendId client, std::uint32_t slot) const {
  const auto known = clients_.find(client.packed());
  if (known == clients_.end()) return nullptr;
  for (const Entry& entry : known->second)
    if (entry.slot == slot) return host_.find_pool(entry.pool);
  return nullptr;
}

void ClientPools::add(FrontendId client, std::uint32_t slot, PoolId pool) {
  std::vector<Entry>& entries = clients_[client.packed()];
  std::erase_if(entries, [slot](const Entry& entry) { return entry.slot == slot; });
  entries.push_back({slot, pool});
}

void ClientPools::retire_client(FrontendId client) {
  const auto known = clients_.find(client.packed());
  if (known == clients_.end()) return;
  const std::vector<Entry> entries = std::move(known->second);
  clients_.erase(known);
  for (const Entry& entry : entries) host_.retire_pool(entry.pool);
}

std::vector<PoolId> ClientPools::retire_host(std::uint32_t slot) {
  std::vector<PoolId> retired;
  for (auto& [client, entries] : clients_)
    std::erase_if(entries, [&](const Entry& entry) {
      if (entry.slot == slot) retired.push_back(entry.pool);
      return entry.slot == slot;
    });
  for (const PoolId id : retired) host_.retire_pool(id);
  return retired;
}

void ClientPools::retire_all() {
  const auto clients = std::exchange(clients_, {});
  for (const auto& [client, entries] : clients)
    for (const Entry& entry : entries) host_.retire_pool(entry.pool);
}

/// Visits pools until `visit` says true.
template <class Visit>
void ClientPools::for_each(Visit visit) const {
  for (const auto& [client, entries] : clients_)
    for (const Entry& entry : entries)
      if (BackendPool* pool = host_.find_pool(entry.pool); pool && visit(entry, *pool)) return;
}

bool ClientPools::close_idle() {
  bool is_done = false;
  for_each([&](const Entry&, BackendPool& pool) { return is_done = pool.close_idle(); });
  return is_done;
}

BackendPool* ClientPools::needy() const {
  BackendPool* found = nullptr;
  for_each([&](const Entry&, BackendPool& pool) {
    if (pool.needs_connection()) found = &pool;
    return found != nullptr;
  });
  return found;
}

std::size_t ClientPools::connections(std::uint32_t slot) const {
  std::size_t sum = 0;
  for_each([&](const Entry& entry, const BackendPool& pool) {
    if (entry.slot == slot) sum += pool.connections();
    return false;
  });
  return sum;
}

}  // namespace gatehouse::proxy
