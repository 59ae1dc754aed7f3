#pragma once
// A table from hashes to hosts after Google's Maglev (Eisenbud et al., 2016, section 3.4): lookup
// is one load, each host has its share of the entries, and when a host comes or goes nearly all
// other entries stay as they were. Every node that knows the same hosts builds the same table. Pure
// and immutable: a new one is built aside.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace gatehouse::proxy {

/// The same on every machine and in every version: tables and cookies of several nodes agree.
std::uint64_t stable_hash(std::string_view text, std::uint64_t seed = 0);

class MaglevTable {
 public:
  struct Host {
    std::uint64_t id = 0;  // stable, such as the hash of its address
    std::uint32_t weight = 1;
  };
  /// Prime, and a hundred times the hosts that we expect: shares are then equal within percents.
  static constexpr std::size_t kEntries = 16381;

  /// Entries are indexes into `hosts`; of more than 65535 hosts the rest gets none.
  explicit MaglevTable(std::span<const Host> hosts);
  MaglevTable() = default;

  bool empty() const { return entries_.empty(); }
  /// The n-th choice for a hash: the first is its host, the others what is tried when it will not
  /// do. Neighbours in the table are as good as drawn by lot.
  std::size_t at(std::uint64_t hash, std::size_t nth = 0) const {
    return entries_[(hash % kEntries + nth) % kEntries];
  }

 private:
  std::vector<std::uint16_t> entries_;
};

}  // namespace gatehouse::proxy
