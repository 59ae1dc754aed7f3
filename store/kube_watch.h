#pragma once
// Follows Secrets of one namespace: lists them, then watches from there, for as long as it is left
// running. What the owner sees is a list (at the start, and whenever what happened in between is
// not known) and changes after it. As client-go's reflector does it: bookmarks move the version; an
// end without error goes on from the last one; 410, as a status or as an event, lists again;
// failures wait 0.8 s, doubled up to 30 s, with jitter; what a person must set right (403) waits
// minutes. While the apiserver is away nothing is told but status(): what was known stays true.

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/random.h"
#include "daemon/net/loop.h"
#include "store/kube_client.h"

namespace gatehouse::store {

class SecretWatch {
 public:
  struct Parts {
    net::Loop& loop;
    Random& random;
    KubeClient& client;
  };
  /// Called on the loop. They may start tasks, but not destroy the watch.
  struct Handler {
    std::function<void(std::vector<Secret>)> on_list;  // all there are
    std::function<void(Secret)> on_change;             // added or modified
    std::function<void(SecretName)> on_delete;
  };
  enum class State : std::uint8_t {
    kStarting,  // no list yet
    kSynced,    // what was told is what the server has
    kStale,     // the server cannot be asked now
    kDenied,    // and will not let us: a role is missing
  };

  SecretWatch(Parts parts, SecretQuery query, Handler handler);

  /// Until it is cancelled: start it in a TaskGroup, which is joined before this goes.
  boost::asio::awaitable<void> run();

  State state() const;
  const Error& last_error() const { return last_error_; }  // of kStale and kDenied
  const SecretQuery& query() const { return query_; }

 private:
  boost::asio::awaitable<KubeResult<void>> list();
  boost::asio::awaitable<KubeResult<void>> watch();
  bool take(WatchEvent event);
  void note(const KubeError& failed);
  Duration pause_after(const KubeError& failed);

  const Parts parts_;
  const SecretQuery query_;
  const Handler handler_;
  State state_ = State::kStarting;
  Error last_error_;
  std::string version_;  // empty: list first
  std::optional<SteadyTime> watching_since_;
  std::uint64_t failures_ = 0;
  std::uint64_t denials_ = 0;  // in a row
  std::uint64_t events_ = 0;   // bookmarks, too
};
std::string_view to_string(SecretWatch::State state);

}  // namespace gatehouse::store
