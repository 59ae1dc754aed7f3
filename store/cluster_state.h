#pragma once
// What the nodes of a cluster share, kept in Secrets (shared_state.h): followed by a watch, on
// every node, and written by the one that may. Owned by the roof, used on the control loop only.
// Who may write is the roof's word, asked at the last moment before each write; besides, each write
// names the version and uid that it replaces, so that a late one changes nothing.

#include <boost/asio/awaitable.hpp>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/random.h"
#include "daemon/net/loop.h"
#include "daemon/net/task_group.h"
#include "store/kube_client.h"
#include "store/kube_watch.h"
#include "store/shared_state.h"

namespace gatehouse::store {

class ClusterState {
 public:
  struct Parts {
    net::Loop& loop;
    Random& random;
    KubeClient& kube;
  };
  /// Called on the loop.
  struct Handler {
    std::function<bool()> may_write;
    std::function<void(LoadedCertificate)> on_certificate;  // of each that was seen
    std::function<void()> on_state;                         // state() may be another
  };
  ClusterState(Parts parts, ClusterNames names, std::string node, Handler handler);

  void start();
  boost::asio::awaitable<void> stop();

  /// Everything as the server has it at this moment, whatever the watch has told so far.
  boost::asio::awaitable<Result<void>> read_all();
  /// Edits the state and writes it; the edit may be made again on what somebody else wrote.
  boost::asio::awaitable<Result<void>> change(std::function<void(SharedState&)> edit);
  /// Shares a certificate, unless a newer one is shared by then.
  boost::asio::awaitable<Result<void>> publish(LoadedCertificate certificate);

  const SharedState& state() const { return state_; }
  /// False: the Secret of the state is not there, or was not seen yet.
  bool is_stored() const { return !state_version_.empty(); }
  /// The SHA-256 of the leaf that is shared for this certificate; empty: none that is usable.
  std::string fingerprint(std::string_view certificate) const;
  std::size_t certificates() const { return known_.size(); }
  SecretWatch::State sync() const { return watch_.state(); }
  const Error& sync_error() const { return watch_.last_error(); }

 private:
  struct Known {
    std::string fingerprint, version, uid;
    WallTime not_before{};
  };
  struct Edit {
    std::function<void(SharedState&)> edit;
    std::function<void(Result<void>)> answer;
  };
  void take(const Secret& secret);
  void take_state(const Secret& secret);
  void take_certificate(const Secret& secret);
  void take_list(const std::vector<Secret>& secrets);
  void forget(const SecretName& name);
  boost::asio::awaitable<void> write_edits();
  boost::asio::awaitable<Result<void>> write_state(std::deque<Edit> edits);
  /// What is there now, taken; false: there is nothing.
  boost::asio::awaitable<Result<bool>> look_again(SecretName at);

  const Parts parts_;
  const ClusterNames names_;
  const std::string node_;
  const Handler handler_;
  SecretWatch watch_;
  net::TaskGroup tasks_;
  SharedState state_;
  std::string state_version_, state_uid_;
  bool is_state_unreadable_ = false;
  std::map<std::string, Known> known_;  // by name of the Secret
  std::deque<Edit> edits_;
  bool is_writing_ = false;
};

}  // namespace gatehouse::store
