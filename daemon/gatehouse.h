#pragma once
// The daemon: builds the rooms, joins them, gives them the configuration, and takes them down in
// reverse order. Everything runs on one loop, but for the two job threads, and the data planes of
// further workers, which Proxy keeps. Start-up waits for nobody: what the store has is served,
// missing certificates are temporary until they are issued.
//
// Life: open() checks and builds, run() serves until SIGTERM and drained. SIGHUP reloads, SIGUSR1
// reopens logs, a second SIGTERM ends at once.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/signal_set.hpp>
#include <memory>
#include <optional>
#include <string>

#include "acme/keeper.h"
#include "daemon/admin.h"
#include "daemon/authorities.h"
#include "daemon/base/metrics.h"
#include "daemon/base/random.h"
#include "daemon/bridges.h"
#include "daemon/cluster.h"
#include "daemon/config.h"
#include "daemon/file_watch.h"
#include "daemon/kubernetes.h"
#include "daemon/net/job_thread.h"
#include "daemon/net/loop.h"
#include "daemon/net/poller.h"
#include "daemon/net/resolver.h"
#include "daemon/systemd_notify.h"
#include "daemon/tls_files.h"
#include "proxy/proxy.h"
#include "store/account_store.h"
#include "store/certificate_store.h"
#include "store/database.h"

namespace gatehouse::daemon {

/// How the last reload went, for status.
struct ReloadFacts {
  WallTime at{};
  std::string error;  // empty: it was taken
};

class Gatehouse {
 public:
  /// Opens the store, binds the listeners and the control socket. Errors are for the operator.
  static Result<std::unique_ptr<Gatehouse>> open(Config config);
  ~Gatehouse();

  /// Serves until told to end. The process's exit status.
  int run();

  // For status (status.cc).
  const Config& config() const { return *config_; }
  const acme::Keeper& keeper() const { return *keeper_; }
  const proxy::Proxy& proxy() const { return *proxy_; }
  /// Null: this node is alone.
  const Cluster* cluster() const { return cluster_.get(); }
  const store::Database& database() const { return *database_; }
  const std::vector<net::CredentialPtr>& file_credentials() const { return file_credentials_; }
  /// From Secrets, by certificate name; nothing was there yet for those that are absent.
  const std::map<std::string, net::CredentialPtr>& secret_credentials() const {
    return secret_credentials_;
  }
  /// Null: nothing here has to do with Kubernetes.
  const Kubernetes* kubernetes() const { return kubernetes_.get(); }
  const std::optional<ReloadFacts>& last_reload() const { return last_reload_; }
  WallTime started() const { return started_; }
  WallTime now() const { return clock_.wall_now(); }
  bool is_draining() const { return is_draining_; }

 private:
  explicit Gatehouse(Config config);
  Result<void> build();
  Result<void> open_store();
  Result<void> join_cluster();
  void raise_descriptor_limit() const;

  // Certificates.
  void on_certificate(const net::CredentialPtr& credential) { serve({credential}); }
  void on_secrets_read(const std::vector<net::CredentialPtr>& read);
  void serve(const std::vector<net::CredentialPtr>& credentials);
  /// What there is by now of the certificates from Secrets: served, or in the store.
  void find_secret_credentials(const Config& config);
  /// The table for a configuration: what is there, temporaries for the rest.
  Result<std::shared_ptr<const proxy::CertificateTable>> make_table(const Config& config);
  Result<net::CredentialPtr> make_temporary(const std::string& name,
                                            const std::vector<std::string>& hosts);
  /// Made once for each certificate, and kept until there is a real one.
  Result<net::CredentialPtr> temporary_for(const std::string& name,
                                           const std::vector<std::string>& hosts,
                                           std::string_view until);
  boost::asio::awaitable<void> watch_files();
  /// Makes, keeps, changes or ends what the configuration needs of Kubernetes.
  boost::asio::awaitable<void> use_kubernetes(std::shared_ptr<const Config> config);
  boost::asio::awaitable<void> take_changed_tls_files();
  bool has_files_to_watch() const;

  // Life.
  boost::asio::awaitable<void> handle_signals();
  boost::asio::awaitable<Result<void>> reload();
  /// A configuration in a ConfigMap changes without anybody who could ask for a reload.
  boost::asio::awaitable<void> watch_volume();
  boost::asio::awaitable<Result<void>> apply(std::shared_ptr<const Config> with);
  void begin_drain();
  boost::asio::awaitable<void> shut_down();

  // What the admin server and the control socket ask (gatehouse_admin.cc).
  boost::asio::awaitable<AdminReply> answer(AdminRequest request);
  boost::asio::awaitable<AdminReply> answer_control(AdminRequest request);
  AdminReply readiness() const;
  boost::asio::awaitable<AdminReply> liveness();
  /// For the watchdog: every loop has turned since it was last asked.
  bool has_pulse();
  boost::asio::awaitable<AdminReply> export_root(std::string issuer);

  SystemClock clock_;
  SeededRandom random_;
  Metrics metrics_;
  std::shared_ptr<const Config> config_;  // its proxy options are the router's, too
  WallTime started_;
  net::Loop loop_;
  net::JobThread store_jobs_, compute_jobs_;
  net::Poller poller_;
  net::Resolver resolver_;
  std::unique_ptr<store::Database> database_;
  std::unique_ptr<store::CertificateStore> certificate_store_;
  std::unique_ptr<store::AccountStore> account_store_;
  std::unique_ptr<proxy::Proxy> proxy_;
  std::unique_ptr<ChallengeBridge> challenges_;
  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<Authorities> authorities_;
  std::unique_ptr<acme::Keeper> keeper_;
  std::unique_ptr<Kubernetes> kubernetes_;  // null: not needed
  std::unique_ptr<AdminServer> admin_;
  SystemdNotify systemd_;
  boost::asio::signal_set signals_;
  net::TaskGroup tasks_;

  std::map<std::string, net::CredentialPtr> temporaries_;  // by certificate name
  net::PrivateKey temporary_key_;
  std::vector<net::CredentialPtr> file_credentials_;
  std::map<std::string, net::CredentialPtr> secret_credentials_;  // by certificate name
  FileWatch file_watch_, tls_file_watch_;                         // on the compute thread only
  std::optional<ReloadFacts> last_reload_;
  bool is_reloading_ = false, is_taking_files_ = false, is_draining_ = false;
  std::uint64_t watchdog_pulse_ = 0;
};

/// Event loops of a process with this configuration.
std::size_t loops_of(const Config& config);

}  // namespace gatehouse::daemon
