#pragma once
// How many client connections are open, over all loops: the one thing that data planes share beside
// immutable snapshots, because limits.connections and connections_per_source are promises of the
// process. Counted when a connection comes or goes, never for a request. Safe from any thread.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace gatehouse::proxy {

class ConnectionCensus {
 public:
  static constexpr std::size_t kLoopsMax = 64;

  /// `wake` is called, on any thread, for each loop that was refused a place when there is one
  /// again.
  ConnectionCensus(std::size_t loops, std::function<void(std::size_t loop)> wake);

  /// A place for one more connection, before it is accepted. False: `most` are open (0: no bound),
  /// and the loop is woken later.
  bool reserve(std::size_t loop, std::size_t most);
  /// Nothing was accepted after all.
  void release();
  /// Which loop a connection with a place is to live on: the one that accepted it, unless another
  /// one has fewer. Counts it there.
  std::size_t settle(std::size_t accepted_by);
  /// A connection of the loop is gone, and its place free.
  void leave(std::size_t loop);

  /// Counts a connection by its client's address. False: it has `most` already (0: no bound).
  bool enter_source(const std::string& address, std::size_t most);
  void leave_source(const std::string& address);

  /// All that are open.
  std::size_t connections() const { return places_.load(std::memory_order_relaxed); }
  std::size_t connections(std::size_t loop) const {
    return open_[loop].count.load(std::memory_order_relaxed);
  }
  std::size_t loops() const { return loops_; }

 private:
  struct alignas(64) Count {  // A cache line each.
    std::atomic<std::size_t> count{0};
  };

  const std::size_t loops_;
  const std::function<void(std::size_t)> wake_;
  std::unique_ptr<Count[]> open_;          // by loop
  std::atomic<std::size_t> places_{0};     // taken
  std::atomic<std::uint64_t> refused_{0};  // one bit for each loop that waits for a place
  std::mutex guard_;
  std::unordered_map<std::string, std::size_t> sources_;  // guarded
};

}  // namespace gatehouse::proxy
