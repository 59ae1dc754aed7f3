#pragma once
// Keeps each certificate in the Kubernetes Secrets that the configuration names for it: written
// seconds after it is there, looked at again and again, repaired when it was changed or deleted,
// never deleted, and left alone when it is somebody else's (mirror_decision.h has these rules).
// The other direction, too: a certificate that another node has put into a Secret of ours, or we
// ourselves before our disk was lost, is handed to the owner.
//
// Owned by the roof, on the control loop. Writes are server-side applies without force, with the
// version and uid of what was read: what changes in between is read again. The first Secrets are
// watched, so that a change is seen at once; the rest are looked at by the clock.

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/metrics.h"
#include "daemon/base/random.h"
#include "daemon/base/timer_queue.h"
#include "daemon/net/loop.h"
#include "daemon/net/task_group.h"
#include "store/kube_client.h"
#include "store/kube_watch.h"
#include "store/mirror_decision.h"
#include "store/options.h"

namespace gatehouse::store {

struct MirrorStatus {
  enum class State : std::uint8_t {
    kWaiting,      // there is no certificate yet that may be written
    kSynced,       // the Secret has it
    kForeign,      // it is somebody else's, and left alone
    kOverwritten,  // somebody else writes over it; we have stopped
    kDenied,       // our role does not allow it
    kRefused,      // the server does not want what we write
    kFailed,       // the server cannot be reached, or is not well
  };
  SecretName secret;
  std::string certificate;
  State state = State::kWaiting;
  std::string reason, owner;
  std::string serial;                  // of what is there, in kSynced
  std::optional<WallTime> written_at;  // by us, in this process
  std::optional<Duration> lag;         // of that, since the certificate was there
  WallTime next_try{};
};
std::string_view to_string(MirrorStatus::State state);

class SecretMirror {
 public:
  struct Parts {
    net::Loop& loop;
    Random& random;
    Metrics& metrics;
    KubeClient& client;
  };
  struct Handler {
    /// A Secret of ours has a valid certificate that is newer than what put() gave, or nothing was
    /// given yet. `ca`: who issued it, as the Secret says; may be empty.
    std::function<void(net::CredentialPtr, std::string ca)> on_found;
    /// All Secrets of that certificate were read once, or could not be for a minute.
    std::function<void(const std::string& certificate)> on_looked;
    /// The Secret has that certificate: as it was found, or since `is_written` now.
    std::function<void(const net::CredentialPtr&, bool is_written)> on_synced;
  };

  SecretMirror(Parts parts, std::string node, Handler handler);
  ~SecretMirror();

  /// The wanted state, at start and at each reload. Secrets that are gone from it stay as they are.
  void use(std::vector<MirrorTarget> targets);
  /// The certificate of that name from now on, as its credential says.
  void put(MirrorSource source);
  void start();
  /// Nothing runs any more when it returns.
  boost::asio::awaitable<void> stop();

  std::vector<MirrorStatus> status() const;
  /// All Secrets of that certificate were read, or could not be in time.
  bool has_looked(const std::string& certificate) const;

 private:
  struct Entry;
  struct Given {
    MirrorSource source;
    SteadyTime since{};
  };

  void begin(Entry& entry);
  void plan(Entry& entry, Duration after);
  void on_due(SecretName name);
  boost::asio::awaitable<void> reconcile(SecretName name);
  boost::asio::awaitable<KubeResult<void>> look_and_write(SecretName name);
  void take_from(Entry& entry, const std::optional<Secret>& found);
  void settle_unwritten(Entry& entry, const MirrorDecision& decision,
                        const net::CredentialPtr& credential);
  void settle(Entry& entry, MirrorStatus::State state, std::string reason, std::string owner);
  void note_written(Entry& entry, const MirrorDecision& decision,
                    const net::CredentialPtr& credential);
  void note_synced(Entry& entry, const net::CredentialPtr& credential, bool is_written);
  void note_failure(Entry& entry, const KubeError& failed);
  void note_looked(Entry& entry);
  Duration period() const;
  Entry* find(const SecretName& name);

  const Parts parts_;
  const std::string node_;
  const Handler handler_;
  bool is_started_ = false, is_stopped_ = false;
  std::map<SecretName, std::unique_ptr<Entry>> entries_;
  std::list<std::unique_ptr<Entry>> retired_;  // until their watches have ended
  std::map<std::string, Given> given_;         // by certificate name
  Timer patience_;
  net::TaskGroup tasks_;
};

}  // namespace gatehouse::store
