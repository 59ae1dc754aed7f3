#pragma once
// Which host of a backend gets the next request. Hosts have slots: indexes that stay theirs until
// they have left and their last request is over. One per backend and loop. Pure: it knows numbers,
// outcomes and times; what a host is, where it is connected to and who checks it are the
// business of its owner (connection/cluster). A choice takes constant time and allocates nothing;
// what it reads is prepared when hosts or their health change.
//
// The usable hosts are those that are healthy and not ejected, of the first SRV priority that has
// enough of them (`panic`); when none has, all are used, for guessing is better than refusing.
// Without a panic threshold one usable host is enough, and without one there is no choice (UH).

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/random.h"
#include "proxy/options.h"
#include "proxy/routing/host_health.h"
#include "proxy/routing/maglev.h"
#include "proxy/routing/outlier.h"

namespace gatehouse::proxy {

/// How an attempt at a host went, as far as it says something of the host.
enum class HostOutcome : std::uint8_t { kNothing, kGood, kBad, kNoConnection };

class Balancer {
 public:
  /// A host that did not accept a connection is tried last for a time: this long, doubled each
  /// further time up to kAvoidanceMax. When all are avoided they are still tried: UF says more than
  /// UH.
  static constexpr Duration kAvoidance = std::chrono::seconds(1);
  static constexpr Duration kAvoidanceMax = std::chrono::seconds(8);
  /// With a hash no host has more open requests than this times the average (Mirrokni et al., 2016:
  /// bounded loads), and none is passed over with fewer than kLoadFree of them.
  static constexpr double kLoadFactor = 1.25;
  static constexpr std::size_t kLoadFree = 8;
  /// Slow start begins with this share of a full one's requests.
  static constexpr double kSlowest = 0.1;

  struct Rules {
    Balance::Policy policy = Balance::Policy::kRoundRobin;
    std::optional<HealthCheck> health{};
    std::optional<Ejection> eject{};
    unsigned panic_percent = 0;
    Duration slow_start{};
  };
  static Rules rules_of(const Backend& backend) {
    return {backend.balance.policy, backend.health, backend.eject, backend.panic_percent,
            backend.slow_start};
  }

  struct Host {
    std::uint64_t id = 0;  // stable over restarts and nodes; unique in the backend
    std::uint32_t weight = 1;
    std::uint16_t priority = 0;  // the smaller first
  };

  /// What a request brings.
  struct Wish {
    std::optional<std::uint64_t> hash;       // of the key, with Policy::kHash
    std::uint64_t sticky = 0;                // the id of the host that it was with; 0: none
    std::span<const std::uint32_t> tried{};  // slots that failed it already
  };

  enum class State : std::uint8_t { kHealthy, kUnhealthy, kEjected, kLeaving };

  Balancer(const Rules& rules, Random& random);

  // ---- hosts

  /// Adds a host; its slot. `warms_up`: it joins others that are at work (slow start).
  std::uint32_t add(const Host& host, SteadyTime now, bool warms_up);
  void set_weight(std::uint32_t slot, std::uint32_t weight, std::uint16_t priority);
  /// It is gone: no new requests. The slot is free when its open ones are over.
  void remove(std::uint32_t slot);

  // ---- choices

  /// Nothing when no host may be used (UH).
  std::optional<std::uint32_t> choose(const Wish& wish, SteadyTime now);
  /// A request goes there; one end() for each.
  void begin(std::uint32_t slot) {
    ++hosts_[slot].active;
    ++active_;
  }
  /// True: the host has failed so often in a row that it is to be ejected, and as far as this
  /// balancer knows it may be. It is not yet.
  bool end(std::uint32_t slot, HostOutcome outcome, SteadyTime now);

  // ---- health

  /// The outcome of an active check. True: the host's health changed.
  bool on_check(std::uint32_t slot, bool passed, SteadyTime now);
  /// The same, decided elsewhere.
  bool set_health(std::uint32_t slot, bool is_healthy, SteadyTime now);
  /// What its ejection from now on would be, with `eject`.
  Outlier::Term next_term(std::uint32_t slot, SteadyTime now) const {
    return hosts_[slot].outlier.next_term(*rules_.eject, now);
  }
  /// False: it is ejected already, or leaving.
  bool eject(std::uint32_t slot, const Outlier::Term& term);
  /// A host whose ejection is over, which it is brought back from; call until there is none.
  std::optional<std::uint32_t> next_return(SteadyTime now);
  /// When the next ejection is over.
  std::optional<SteadyTime> next_return_time() const;

  // ---- facts

  State state(std::uint32_t slot) const;
  std::uint64_t id(std::uint32_t slot) const { return hosts_[slot].host.id; }
  std::uint32_t active(std::uint32_t slot) const { return hosts_[slot].active; }
  bool is_used(std::uint32_t slot) const { return hosts_[slot].is_used; }
  /// The slot of a host that did not leave.
  std::optional<std::uint32_t> find(std::uint64_t id) const {
    const auto it = slots_.find(id);
    return it == slots_.end() ? std::nullopt : std::optional(it->second);
  }
  std::size_t active() const { return active_; }
  /// Hosts that did not leave, and how many of them are healthy and not ejected.
  std::size_t size() const { return present_; }
  std::size_t usable() const { return usable_; }
  /// Whether choices ignore health, because too few are healthy.
  bool is_panicking() {
    if (is_stale_) rebuild();
    return is_panicking_;
  }
  bool is_avoided(std::uint32_t slot, SteadyTime now) const {
    return now < hosts_[slot].avoided_until;
  }

 private:
  struct Entry {
    Host host;
    std::uint32_t active = 0;
    std::uint32_t failed_connects = 0;  // in a row
    SteadyTime avoided_until{};
    SteadyTime warm_at{};  // the end of its slow start
    HostHealth health;
    Outlier outlier;
    bool is_used = false;  // the slot is taken
    bool is_leaving = false;
    bool is_candidate = false;  // in schedule_
    bool is_usable() const { return health.is_healthy() && !outlier.is_ejected(); }
  };

  void free_if_over(std::uint32_t slot);
  void warm_up(Entry& entry, SteadyTime now);
  void on_health_changed(Entry& entry, bool was_usable, SteadyTime now);
  void rebuild();
  void choose_candidates(std::vector<std::uint32_t>& into);
  void make_schedule(std::span<const std::uint32_t> candidates);
  void make_table();
  bool is_cold(const Entry& entry, SteadyTime now);
  bool is_fine(std::uint32_t slot, const Wish& wish, SteadyTime now) const;
  std::uint32_t better(std::uint32_t a, std::uint32_t b, const Wish& wish) const;
  std::uint32_t in_turn(const Wish& wish, SteadyTime now);
  std::uint32_t of_two(const Wish& wish, SteadyTime now);
  std::uint32_t by_hash(std::uint64_t hash, const Wish& wish, SteadyTime now);

  const Rules rules_;
  Random& random_;
  std::vector<Entry> hosts_;                                // by slot
  std::unordered_map<std::uint64_t, std::uint32_t> slots_;  // by id, of those that did not leave
  std::size_t present_ = 0, usable_ = 0, ejected_ = 0, candidates_ = 0, active_ = 0;
  // Prepared by rebuild().
  std::vector<std::uint32_t> schedule_;  // slots, each as often as its weight says, well mixed
  MaglevTable table_;                    // with Policy::kHash, of all hosts that did not leave
  std::vector<std::uint32_t> table_slots_;
  static constexpr std::size_t kNowhere = ~std::size_t{0};
  std::size_t next_ = kNowhere;  // in schedule_
  bool is_stale_ = false, is_table_stale_ = false, is_panicking_ = false;
};

}  // namespace gatehouse::proxy
