#pragma once
// Holds the Lease of a cluster, or waits until it may: the requests around LeaseElection. Owned by
// the roof, used on the control loop only. What leading is good for is not known here.

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <optional>
#include <string>

#include "daemon/base/random.h"
#include "daemon/base/timer_queue.h"
#include "daemon/net/loop.h"
#include "daemon/net/task_group.h"
#include "store/lease_election.h"

namespace gatehouse::store {

class KubeClient;
struct KubeError;

class Lease {
 public:
  /// The client's deadline for one answer is well below LeaseTiming::deadline.
  struct Parts {
    net::Loop& loop;
    Random& random;
    KubeClient& kube;
  };
  struct Options {
    std::string name_space, name, identity;
    LeaseTiming timing = {};
  };
  /// `on_change`: is_held() or the term changed. Called on the loop.
  Lease(Parts parts, Options options, std::function<void()> on_change);
  ~Lease();

  void start();
  /// Gives it back, so that the next node need not wait; for when the work under it has ended.
  boost::asio::awaitable<void> stop();

  /// By the steady clock, at this moment: to be asked before each step that only the holder takes.
  bool is_held() const { return election_.is_leading(); }
  std::uint64_t term() const { return election_.term(); }

  struct View {
    std::string holder;  // as last seen; empty: nobody, or nothing was seen yet
    std::string acquire_time;
    std::optional<Duration> seen_ago;  // when we saw it change last; nothing: never
    std::string error;                 // of the last try; empty: it was answered
  };
  View view() const;

 private:
  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> try_once();
  boost::asio::awaitable<Result<LeaseObject>> read();
  boost::asio::awaitable<Result<LeaseObject>> write(LeaseAction action);
  Result<LeaseObject> take(const std::string& json);
  /// Says and tells what changed.
  void look();

  const Parts parts_;
  const Options options_;
  const std::function<void()> on_change_;
  LeaseElection election_;
  net::TaskGroup tasks_;
  Timer deadline_;
  std::string metadata_;  // of the object as last seen, JSON: not ours to change
  std::string error_, holder_;
  bool was_held_ = false;
  std::uint64_t last_term_ = 0;
};

/// The object and its metadata as JSON; without metadata that of a new object.
std::string lease_json(const LeaseAction& action, const std::string& name_space,
                       const std::string& name, const std::string& metadata);
Result<LeaseObject> parse_lease(std::string_view json, std::string& metadata);

}  // namespace gatehouse::store
