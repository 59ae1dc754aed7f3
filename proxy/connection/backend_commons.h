#pragma once
// What the clusters of one backend, one on each loop, have in common: its caps are promises of the
// process, and what one loop finds out about a host holds for all. Beside the census of connections
// the only thing that loops share and change. Safe from any thread: atomics for what waits, a lock
// where a connection is opened or closed or a host is judged, nothing for a request that finds its
// connection. It posts nothing by itself: its callers do (ClusterNews).

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "proxy/options.h"
#include "proxy/protocol/exchange.h"
#include "proxy/routing/outlier.h"
#include "proxy/routing/retry_policy.h"

namespace gatehouse::proxy {

/// What a cluster tells that of the same backend on another loop.
struct ClusterNews {
  enum class Kind : std::uint8_t {
    kHost,   // `host` was judged: see facts()
    kPlace,  // a place for a connection, for the receiver to use or to give back
    kNeed    // a loop waits for a place: idle connections may close
  } kind;
  std::uint64_t host = 0;  // its id
};

class BackendCommons {
 public:
  /// `home` is the loop whose cluster checks the hosts.
  BackendCommons(const Backend::Caps& caps, std::size_t loops, std::size_t home);

  // ---- who takes part

  /// Both on that loop alone.
  void join(std::size_t loop, ClusterId cluster) { clusters_[loop] = cluster; }
  ClusterId cluster_on(std::size_t loop) const { return clusters_[loop]; }
  std::size_t loops() const { return clusters_.size(); }
  std::size_t home() const { return home_; }

  // ---- requests

  /// Only where limits.requests is set. False: there are as many open.
  bool enter_request() { return enter(requests_, caps_.requests); }
  void leave_request() { --requests_; }
  /// False: as many wait as may (limits.pending).
  bool enter_queue() { return enter(waiting_, caps_.pending); }
  void leave_queue(std::size_t count = 1) { waiting_ -= count; }
  std::size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
  RetryReserve& retries() { return retries_; }

  // ---- connections: a place for each

  /// What a place is wanted for.
  enum class Claim : std::uint8_t {
    kMore,   // another one: within limits.connections only
    kFirst,  // the loop has none to that host: beyond the cap, too, when no loop has one
    kAlone   // the same, where streams share it and it may stay for days: in any case
  };
  enum class Answer : std::uint8_t {
    kTaken,
    kRefused,      // the loop gets one when it is its turn (ClusterNews::kPlace)
    kRefusedAnew,  // likewise, and nobody knows that it waits: others may have idle ones
  };
  Answer take_place(std::size_t loop, std::uint64_t host, Claim claim);
  /// A connection is over. The loop that its place goes to, which has to be told; none: it is free.
  std::optional<std::size_t> close(std::uint64_t host);
  /// A place that was passed on is used for that host; or nobody needs it any more: as close().
  void use_place(std::uint64_t host);
  std::optional<std::size_t> return_place();

  /// Some loop waits for a place.
  bool is_needed() const { return hungry_.load(std::memory_order_relaxed) != 0; }
  bool is_waiting(std::size_t loop) const {
    return (hungry_.load(std::memory_order_relaxed) & bit(loop)) != 0;
  }
  /// Another loop waits that has no connection to a host at all.
  bool is_starving_elsewhere(std::size_t loop) const {
    return (starving_.load(std::memory_order_relaxed) & ~bit(loop)) != 0;
  }
  /// The loop needs no place after all.
  void stop_waiting(std::size_t loop);
  std::size_t connections() const { return connections_.load(std::memory_order_relaxed); }

  // ---- hosts

  struct HostFacts {
    bool is_healthy = true;   // by active checks
    std::string reason{};     // of the last one that failed
    Outlier::Term ejected{};  // the last time
  };
  /// Nothing: nobody has judged it yet.
  std::optional<HostFacts> facts(std::uint64_t host) const;
  void set_health(std::uint64_t host, bool is_healthy, const std::string& reason);
  /// False: it is ejected already, or as many as may.
  bool eject(std::uint64_t host, const Outlier::Term& term, std::size_t most, SteadyTime now);
  /// A loop has that host no more: what is outdated is forgotten.
  void forget(std::uint64_t host, std::size_t loop, SteadyTime now);

 private:
  struct Entry {
    std::uint64_t id = 0;
    std::size_t connections = 0;
    bool is_judged = false;
    HostFacts facts;
  };

  static std::uint64_t bit(std::size_t loop) { return std::uint64_t{1} << loop; }
  static bool enter(std::atomic<std::size_t>& count, std::size_t most);
  Entry* find(std::uint64_t host);
  Entry& entry(std::uint64_t host);
  void drop_if_empty(std::uint64_t host);
  std::optional<std::size_t> pass_place();

  const Backend::Caps caps_;
  const std::size_t home_;
  std::vector<ClusterId> clusters_;  // by loop
  std::atomic<std::size_t> requests_{0}, waiting_{0};
  RetryReserve retries_;
  // Read by all, changed under the lock.
  std::atomic<std::size_t> connections_{0};             // places that are taken
  std::atomic<std::uint64_t> hungry_{0}, starving_{0};  // a bit for each loop; the second of the
                                                        // first
  mutable std::mutex guard_;
  std::size_t passed_ = 0;    // places on their way, which no host's connection has
  std::size_t last_ = 0;      // the loop that was passed a place
  std::vector<Entry> hosts_;  // with connections, or judged
};

/// The commons of a snapshot's new backends, each made for the first loop that asks for it.
class SnapshotCommons {
 public:
  SnapshotCommons(std::size_t backends, std::size_t loops) : loops_(loops), made_(backends) {}
  std::shared_ptr<BackendCommons> of(std::size_t index, const Backend& backend);

 private:
  const std::size_t loops_;
  std::mutex guard_;
  std::vector<std::shared_ptr<BackendCommons>> made_;  // by the backend's index
};

}  // namespace gatehouse::proxy
