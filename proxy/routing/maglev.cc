#include "proxy/routing/maglev.h"

#include <algorithm>

namespace gatehouse::proxy {

/// FNV-1a, finished as MurmurHash3 does, so that similar texts land far apart.
std::uint64_t stable_hash(std::string_view text, std::uint64_t seed) {
  std::uint64_t hash = 0xcbf29ce484222325u ^ seed;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3u;
  }
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdu;
  hash ^= hash >> 33;
  hash *= 0xc4ceb9fe1a85ec53u;
  return hash ^ hash >> 33;
}

MaglevTable::MaglevTable(std::span<const Host> hosts) {
  constexpr std::uint16_t kFree = 0xffff;
  hosts = hosts.first(std::min<std::size_t>(hosts.size(), kFree));
  if (hosts.empty()) return;
  struct Walk {
    std::size_t index;  // into hosts
    std::uint64_t id;
    std::size_t at, step;
    std::uint64_t credit = 0, weight;
  };
  std::vector<Walk> walks;
  std::uint64_t heaviest = 1;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    const std::uint64_t first = stable_hash({}, hosts[i].id);
    const std::uint64_t second = stable_hash("step", hosts[i].id);
    walks.push_back({i, hosts[i].id, first % kEntries, second % (kEntries - 1) + 1, 0,
                     std::max(hosts[i].weight, 1u)});
    heaviest = std::max(heaviest, walks.back().weight);
  }
  // The turns are taken in an order that all nodes agree on, whatever order they learned hosts in.
  std::sort(walks.begin(), walks.end(), [](const Walk& a, const Walk& b) { return a.id < b.id; });
  entries_.assign(kEntries, kFree);
  for (std::size_t taken = 0; taken < kEntries;) {
    for (Walk& walk : walks) {
      walk.credit += walk.weight;
      if (walk.credit < heaviest) continue;
      walk.credit -= heaviest;
      while (entries_[walk.at] != kFree) walk.at = (walk.at + walk.step) % kEntries;
      entries_[walk.at] = static_cast<std::uint16_t>(walk.index);
      if (++taken == kEntries) break;
    }
  }
}

}  // namespace gatehouse::proxy
