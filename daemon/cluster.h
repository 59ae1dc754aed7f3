#pragma once
// This node in a cluster, joined by the roof: the Lease says who issues (store/lease), Secrets
// carry what is shared (store/cluster_state); the keeper, the challenge tables and the ticket keys
// are told. Every node serves without any of it: an apiserver that is away only means that nothing
// is issued and nothing new is heard of.
//
// Of a new holder the keeper may issue only when what was shared before has been read and is in
// this node's store: accounts, orders in flight, certificates. Owned by Gatehouse.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "acme/fleet.h"
#include "acme/keeper.h"
#include "daemon/base/metrics.h"
#include "daemon/base/random.h"
#include "daemon/config.h"
#include "daemon/net/job_thread.h"
#include "daemon/net/kubeconfig.h"
#include "daemon/net/loop.h"
#include "daemon/net/task_group.h"
#include "proxy/proxy.h"
#include "store/account_store.h"
#include "store/cluster_state.h"
#include "store/kube_client.h"
#include "store/kube_transport.h"
#include "store/lease.h"

namespace gatehouse::daemon {

class Cluster final : public acme::Fleet {
 public:
  struct Parts {
    net::Loop& loop;
    Random& random;
    Metrics& metrics;
    store::AccountStore& accounts;
  };
  /// Whom it tells; they outlive what start() begins.
  struct Seams {
    acme::Keeper& keeper;
    proxy::Proxy& proxy;
  };
  Cluster(Parts parts, net::KubeAccess access, store::ClusterNames names);
  ~Cluster() override;

  /// Before the loop runs: what the store knows is enough to answer challenges.
  void start(Seams seams, std::shared_ptr<const Config> config);
  /// After a reload: other hosts, other issuers.
  void use(std::shared_ptr<const Config> config);
  /// A certificate is served that may have to be shared.
  void on_certificate();
  /// Gives the Lease back; the keeper has stopped by then.
  boost::asio::awaitable<void> stop();

  // acme::Fleet
  bool may_issue() const override;
  std::string reason() const override;
  std::string account_key() const override;
  boost::asio::awaitable<Result<void>> share_account(store::Account account) override;
  boost::asio::awaitable<Result<void>> share_order(store::Order order) override;
  boost::asio::awaitable<Result<void>> end_order(std::string certificate) override;

  /// For status.
  struct View {
    std::string node, holder, since, sync, error;
    bool is_holder = false, may_issue = false;
    std::optional<Duration> seen_ago;
    std::size_t certificates = 0, unshared = 0;
  };
  View view() const;

 private:
  void on_lease();
  void on_state();
  boost::asio::awaitable<void> take_over(std::uint64_t term);
  boost::asio::awaitable<Result<std::vector<std::string>>> take_what_is_shared();
  boost::asio::awaitable<Result<void>> keep_accounts(std::vector<store::Account> accounts);
  boost::asio::awaitable<void> keep_shared_accounts();
  void use_thumbprints();
  void use_tickets();
  void show();

  // cluster_upkeep.cc
  boost::asio::awaitable<void> publish();
  boost::asio::awaitable<void> look_after();
  boost::asio::awaitable<Result<void>> end_shared_orders();
  boost::asio::awaitable<Result<void>> rotate_tickets();
  bool has_ended(const store::Order& order) const;
  bool is_shared(const store::LoadedCertificate& certificate) const;

  const Parts parts_;
  const store::ClusterNames names_;
  const std::string node_;
  store::HttpsKubeTransport transport_, lease_transport_;
  store::KubeClient kube_, lease_kube_;
  store::ClusterState state_;
  store::Lease lease_;
  net::TaskGroup tasks_;
  std::optional<Seams> seams_;
  std::shared_ptr<const Config> config_;
  std::map<std::pair<std::string, std::string>, std::string> known_keys_;  // of accounts: PEM
  std::map<std::string, std::string> thumbprints_;                         // by host: as in use
  std::uint64_t ready_term_ = 0;  // in which everything shared was read
  bool is_publishing_ = false, wants_publishing_ = false, is_keeping_ = false;
  std::string error_;  // of the last write that failed
};

}  // namespace gatehouse::daemon
