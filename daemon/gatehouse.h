#pragma once
// The daemon: builds the rooms, joins them, gives them the configuration, and takes them down in
// reverse order. Everything runs on one loop, but for the two job threads. Start-up waits for
// nobody: what the store has is served, missing certificates are temporary until they are issued.
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
#include "daemon/config.h"
#include "daemon/file_watch.h"
#include "daemon/net/job_thread.h"
#include "daemon/net/loop.h"
#include "daemon/net/poller.h"
#include "daemon/net/resolver.h"
#include "daemon/systemd_notify.h"
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
  const Config& config() const { return config_; }
  const acme::Keeper& keeper() const { return *keeper_; }
  const proxy::Proxy& proxy() const { return *proxy_; }
  const store::Database& database() const { return *database_; }
  const std::vector<net::CredentialPtr>& file_credentials() const { return file_credentials_; }
  const std::optional<ReloadFacts>& last_reload() const { return last_reload_; }
  WallTime started() const { return started_; }
  WallTime now() const { return clock_.wall_now(); }
  bool is_draining() const { return is_draining_; }

 private:
  explicit Gatehouse(Config config);
  Result<void> build();
  Result<void> open_store();
  void raise_descriptor_limit() const;

  // Certificates.
  void on_certificate(const net::CredentialPtr& credential);
  /// The table for a configuration: what is there, temporaries for the rest.
  Result<std::shared_ptr<const proxy::CertificateTable>> make_table(const Config& config);
  Result<net::CredentialPtr> make_temporary(const std::string& name,
                                            const std::vector<std::string>& hosts);
  boost::asio::awaitable<void> watch_files();

  // Life.
  boost::asio::awaitable<void> handle_signals();
  boost::asio::awaitable<Result<void>> reload();
  Result<void> apply(Config config);
  void begin_drain();
  boost::asio::awaitable<void> shut_down();

  // What the admin server and the control socket ask (gatehouse_admin.cc).
  boost::asio::awaitable<AdminReply> answer(AdminRequest request);
  boost::asio::awaitable<AdminReply> answer_control(AdminRequest request);
  AdminReply readiness() const;
  boost::asio::awaitable<AdminReply> export_root(std::string issuer);

  SystemClock clock_;
  SeededRandom random_;
  Metrics metrics_;
  Config config_;
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
  std::unique_ptr<Authorities> authorities_;
  std::unique_ptr<acme::Keeper> keeper_;
  std::unique_ptr<AdminServer> admin_;
  SystemdNotify systemd_;
  boost::asio::signal_set signals_;
  net::TaskGroup tasks_;

  std::map<std::string, net::CredentialPtr> temporaries_;  // by certificate name
  net::PrivateKey temporary_key_;
  std::vector<net::CredentialPtr> file_credentials_;
  FileWatch file_watch_;  // on the compute thread only
  std::optional<ReloadFacts> last_reload_;
  bool is_reloading_ = false, is_draining_ = false;
};

}  // namespace gatehouse::daemon
