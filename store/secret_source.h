#pragma once
// Certificates that others keep in Kubernetes Secrets (cert-manager, Helm, a person): read,
// followed by watch, handed to the owner when they change, and kept in the database, so that a node
// starts and serves without the apiserver. Nothing is ever written there. What is not usable, or
// gone, never takes the place of what is served (source_decision.h has the rules): it is told,
// once, and in the status until it is better.
//
// Owned by the roof, on the control loop; parsing is done on a job thread. Few Secrets of a
// namespace are watched each by its name, which a role by resourceNames allows; more than
// kWatchesMax with one watch for the namespace, since each has a connection.

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/base/metrics.h"
#include "daemon/base/random.h"
#include "daemon/base/timer_queue.h"
#include "daemon/net/job_thread.h"
#include "daemon/net/loop.h"
#include "daemon/net/task_group.h"
#include "store/certificate_store.h"
#include "store/kube_client.h"
#include "store/kube_watch.h"
#include "store/options.h"

namespace gatehouse::store {

struct SourceStatus {
  enum class State : std::uint8_t {
    kWaiting,   // it was not read yet
    kSynced,    // what is served is what the Secret has
    kMissing,   // there is no such Secret
    kUnusable,  // what it has cannot be served
    kStale,     // the server cannot be asked now
    kDenied,    // our role does not allow it
  };
  SecretName secret;
  std::string certificate;
  State state = State::kWaiting;
  std::string reason;               // for people; in kSynced what is worth a look
  std::optional<WallTime> read_at;  // what is served, by this process
};
std::string_view to_string(SourceStatus::State state);

class SecretSource {
 public:
  static constexpr std::size_t kWatchesMax = 32;  // by name, in one namespace

  struct Parts {
    net::Loop& loop;
    Random& random;
    Metrics& metrics;
    KubeClient& client;
    CertificateStore& certificates;
    net::JobThread& jobs;
  };
  /// By certificate name.
  using Credentials = std::map<std::string, net::CredentialPtr>;
  /// To be served from now on, each under the name of its certificate.
  using OnFound = std::function<void(const std::vector<net::CredentialPtr>&)>;

  SecretSource(Parts parts, OnFound on_found);
  ~SecretSource();

  /// The wanted state, at start and at each reload. `served`: what there is for them until then; at
  /// start, it is from the database.
  void use(std::vector<SourceTarget> targets, const Credentials& served);
  void start();
  /// Nothing runs any more when it returns.
  boost::asio::awaitable<void> stop();

  std::vector<SourceStatus> status() const;

 private:
  struct Entry;
  struct Follower;
  struct News {
    std::string certificate;
    Secret secret;
  };

  void follow();
  std::unique_ptr<Follower> make_follower(const SecretName& key, std::set<SecretName> members);
  void drop(const Entry& entry);
  void on_list(const SecretName& followed, std::vector<Secret> all);
  void on_secret(Secret secret);
  void on_missing(Entry& entry);
  boost::asio::awaitable<void> digest();
  std::vector<News> take_news();
  /// The credential to serve from now on, or null.
  net::CredentialPtr judge(Entry& entry, Result<net::CredentialPtr> found);
  void settle(Entry& entry, SourceStatus::State state, std::string reason);
  void keep(const Entry& entry);
  boost::asio::awaitable<void> save();
  void show(const Entry& entry);
  void look();
  SourceStatus status_of(const Entry& entry) const;

  const Parts parts_;
  const OnFound on_found_;
  bool is_started_ = false, is_stopped_ = false;
  std::map<SecretName, std::unique_ptr<Entry>> entries_;
  /// By the Secret; by its namespace, with an empty name, where one watch is for all.
  std::map<SecretName, std::unique_ptr<Follower>> followers_;
  std::list<std::unique_ptr<Follower>> retired_;  // until their watches have ended
  std::set<SecretName> changed_;                  // with news that nobody has read yet
  std::map<std::string, CertificateRecord> unsaved_;
  bool is_digesting_ = false, is_saving_ = false;
  Timer look_;
  net::TaskGroup tasks_;
};

}  // namespace gatehouse::store
