#include "daemon/gatehouse.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <csignal>
#include <set>

#include "daemon/base/log.h"
#include "daemon/base/text.h"
#include "daemon/certificate_files.h"
#include "daemon/config_reader.h"

namespace gatehouse::daemon {

namespace asio = boost::asio;

namespace {
constexpr Duration kLookAtFiles = std::chrono::seconds(10);
constexpr rlim_t kDescriptorsBeside = 1024;  // for the store, the CA, logs and listeners
constexpr auto kTemporaryLife = std::chrono::hours(24 * 90);
}  // namespace

Gatehouse::Gatehouse(Config config)
    : config_(std::move(config)),
      started_(clock_.wall_now()),
      loop_(clock_),
      store_jobs_(loop_, "gatehouse-store"),
      compute_jobs_(loop_, "gatehouse-work"),
      poller_(loop_),
      resolver_(loop_, poller_),
      systemd_(loop_.timers()),
      signals_(loop_.context()),
      tasks_(loop_) {}

Gatehouse::~Gatehouse() = default;

Result<std::unique_ptr<Gatehouse>> Gatehouse::open(Config config) {
  std::unique_ptr<Gatehouse> gatehouse(new Gatehouse(std::move(config)));
  auto built = gatehouse->build();
  if (!built) return built.error();
  return gatehouse;
}

Result<void> Gatehouse::open_store() {
  auto database = store::Database::open(config_.store, clock_);
  if (!database) return database.error();
  database_ = std::move(*database);
  certificate_store_ = std::make_unique<store::CertificateStore>(*database_, store_jobs_);
  account_store_ = std::make_unique<store::AccountStore>(*database_, store_jobs_);
  return {};
}

/// Connections of both sides and what else is open; a hard limit below that is said.
void Gatehouse::raise_descriptor_limit() const {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = 2 * config_.proxy.limits.connections + kDescriptorsBeside;
  if (limit.rlim_cur >= wanted) return;
  if (limit.rlim_max < wanted && ::geteuid() == 0) limit.rlim_max = wanted;
  limit.rlim_cur = std::min(limit.rlim_max, wanted);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
    (void)::getrlimit(RLIMIT_NOFILE, &limit);
    log(Level::kWarn, "limits.descriptors_low")
        .with("wanted", std::uint64_t{wanted})
        .with("limit", std::uint64_t{limit.rlim_cur})
        .with("hint", "raise LimitNOFILE, or lower limits.connections");
  }
}

Result<void> Gatehouse::build() {
  set_log_level(config_.log_level);
  raise_descriptor_limit();
  if (auto stored = open_store(); !stored) return stored;
  if (auto polling = poller_.start(); !polling) return polling;
  if (auto resolving = resolver_.start(); !resolving) return resolving;
  proxy_ = std::make_unique<proxy::Proxy>(
      proxy::DataPlaneTools{loop_, poller_, resolver_, random_, metrics_});
  challenges_ = std::make_unique<ChallengeBridge>(proxy_->challenges());
  authorities_ = std::make_unique<Authorities>(
      Authorities::Parts{loop_, compute_jobs_, *certificate_store_, *account_store_, *challenges_});
  keeper_ = std::make_unique<acme::Keeper>(
      acme::Keeper::Parts{loop_, random_, metrics_, *certificate_store_, *account_store_},
      [this](net::CredentialPtr credential) { on_certificate(credential); });
  if (auto loaded = keeper_->load(); !loaded) {
    log(Level::kError, "store.load_failed").with("reason", loaded.error().message);
  }
  keeper_->set_certificates(config_.acme.certificates, authorities_->use(config_.acme.cas));
  for (const FileCertificate& file : config_.file_certificates)
    file_credentials_.push_back(file.credential);
  auto table = make_table(config_);
  if (!table) return table.error();
  proxy_->use(std::move(*table));

  std::vector<net::ListenAddress> addresses = config_.proxy.https;
  addresses.insert(addresses.end(), config_.proxy.http.begin(), config_.proxy.http.end());
  auto started =
      proxy_->start(std::make_shared<proxy::Options>(config_.proxy), inherited_sockets(addresses));
  if (!started) return started;
  admin_ = std::make_unique<AdminServer>(
      loop_, [this](AdminRequest request) { return answer(std::move(request)); });
  if (auto listening = admin_->listen(config_.admin.listen); !listening) return listening;
  return admin_->listen_control(config_.admin.socket);
}

// ---- certificates ---------------------------------------------------------------------------

void Gatehouse::on_certificate(const net::CredentialPtr& credential) {
  temporaries_.erase(credential->name);
  if (proxy_->certificates()) proxy_->use(proxy_->certificates()->with(credential));
}

Result<net::CredentialPtr> Gatehouse::make_temporary(const std::string& name,
                                                     const std::vector<std::string>& hosts) {
  if (!temporary_key_) {  // One for all of them: nobody is to trust them.
    auto key = net::PrivateKey::generate(net::KeyKind::kEcdsaP256);
    if (!key) return key.error();
    temporary_key_ = *key;
  }
  net::IssueRequest request;
  request.names = hosts;
  request.common_name = "Gatehouse temporary certificate";
  request.not_before = clock_.wall_now() - std::chrono::hours(1);
  request.not_after = clock_.wall_now() + kTemporaryLife;
  auto chain = net::issue_certificate(request, temporary_key_, {}, temporary_key_);
  if (!chain) return chain.error();
  auto credential = net::make_credential(name, std::move(*chain), temporary_key_);
  if (!credential) return credential;
  auto marked = std::make_shared<net::Credential>(**credential);
  marked->is_temporary = true;
  return net::CredentialPtr(std::move(marked));
}

Result<std::shared_ptr<const proxy::CertificateTable>> Gatehouse::make_table(const Config& config) {
  std::vector<net::CredentialPtr> credentials;
  for (const FileCertificate& file : config.file_certificates)
    credentials.push_back(file.credential);
  std::map<std::string, net::CredentialPtr> temporaries;
  for (const acme::ManagedCertificate& managed : config.acme.certificates) {
    if (auto kept = keeper_->find(managed.name)) {
      credentials.push_back(std::move(kept));
      continue;
    }
    const auto known = temporaries_.find(managed.name);
    net::CredentialPtr temporary;
    if (known != temporaries_.end()) {
      temporary = known->second;
    } else {
      auto made = make_temporary(managed.name, managed.names);
      if (!made) return std::move(made).error().in("temporary certificate for " + managed.name);
      temporary = std::move(*made);
      log(Level::kInfo, "certificate.temporary")
          .with("name", managed.name)
          .with("until", "the first one is issued");
    }
    credentials.push_back(temporary);
    temporaries[managed.name] = std::move(temporary);
  }
  temporaries_ = std::move(temporaries);
  return proxy::CertificateTable::build(config.host_certificates, credentials);
}

asio::awaitable<void> Gatehouse::watch_files() {
  for (;;) {
    std::function<std::vector<FileCertificate>()> look = [this, files = config_.file_certificates] {
      return file_watch_.changed(files);
    };
    const std::vector<FileCertificate> changed = co_await compute_jobs_.run(std::move(look));
    for (const FileCertificate& file : changed) {
      auto credential =
          CertificateFiles().credential(file.name, file.certificate_file, file.key_file);
      if (!credential) {
        log(Level::kError, "certificate.file_unusable")
            .with("name", file.name)
            .with("reason", credential.error().message)
            .with("serving", "the one before");
        continue;
      }
      log(Level::kInfo, "certificate.file_reloaded")
          .with("name", file.name)
          .with("not_after", format_rfc3339((*credential)->facts.not_after));
      for (auto& known : file_credentials_)
        if (known->name == file.name) known = *credential;
      on_certificate(*credential);
    }
    const bool goes_on = co_await net::sleep_for(loop_, kLookAtFiles);
    if (!goes_on) co_return;
  }
}

// ---- life -----------------------------------------------------------------------------------

int Gatehouse::run() {
#ifndef __SANITIZE_ADDRESS__    // LeakSanitizer traces the process that it is in.
  ::prctl(PR_SET_DUMPABLE, 0);  // Keys must not end in a core file.
#endif
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  // Before anybody hears that we are ready: from here on no signal ends us by its default.
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    boost::system::error_code error;
    signals_.add(signal, error);
    check(!error, "a signal can be handled");
  }
  tasks_.start("signals", handle_signals());
  if (!config_.file_certificates.empty()) tasks_.start("certificate files", watch_files());
  keeper_->start();
  for (const auto& [address, is_tls] : proxy_->listening())
    log(Level::kInfo, "proxy.listening")
        .with("address", address)
        .with("protocol", is_tls ? "https" : "http");
  log(Level::kInfo, "gatehouse.started")
      .with("version", GATEHOUSE_VERSION)
      .with("config", config_.file)
      .with("vhosts", config_.proxy.vhosts.size())
      .with("admin", admin_->bound().to_string());
  systemd_.ready("serving " + std::to_string(config_.proxy.vhosts.size()) + " vhosts");
  loop_.run();
  log(Level::kInfo, "gatehouse.ended");
  return 0;
}

asio::awaitable<void> Gatehouse::handle_signals() {
  for (;;) {
    boost::system::error_code error;
    const int signal =
        co_await signals_.async_wait(asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    switch (signal) {
      case SIGHUP: (void)co_await reload(); break;
      case SIGUSR1:
        if (auto reopened = proxy_->reopen_log(); !reopened)
          log(Level::kError, "log.reopen_failed").with("reason", reopened.error().message);
        break;
      default:
        if (is_draining_) {
          log(Level::kWarn, "gatehouse.ended_at_once");
          ::_exit(0);
        }
        begin_drain();
    }
  }
}

asio::awaitable<Result<void>> Gatehouse::reload() {
  if (std::exchange(is_reloading_, true))
    co_return Error{Fault::kConflict, "a reload is under way"};
  systemd_.reloading();
  // Parsing a large file takes a while: not on the loop.
  std::function<ConfigReading()> read = [path = config_.file] { return read_config(path); };
  ConfigReading reading = co_await compute_jobs_.run(std::move(read));
  Result<void> result;
  if (!reading.config) {
    result = Error{Fault::kInvalid, format(reading.report)};
  } else {
    result = apply(std::move(*reading.config));
  }
  is_reloading_ = false;
  last_reload_ = ReloadFacts{clock_.wall_now(), result ? std::string() : result.error().message};
  if (result) {
    log(Level::kInfo, "config.reloaded").with("vhosts", config_.proxy.vhosts.size());
    systemd_.reloaded("serving " + std::to_string(config_.proxy.vhosts.size()) + " vhosts");
  } else {
    log(Level::kError, "config.refused")
        .with("reason", result.error().message)
        .with("serving", "the configuration before");
    systemd_.reloaded("the last reload was refused; serving the configuration before");
  }
  co_return result;
}

Result<void> Gatehouse::apply(Config config) {
  if (config.store.state_directory != config_.store.state_directory)
    return Error{Fault::kUnsupported, "state: a running daemon cannot move; restart it"};
  if (config.admin.socket != config_.admin.socket)
    return Error{Fault::kUnsupported, "admin.socket: a running daemon cannot move; restart it"};
  const auto table_before = proxy_->certificates();
  const Config before = config_;
  keeper_->set_certificates(config.acme.certificates, authorities_->use(config.acme.cas));
  auto table = make_table(config);
  Result<void> used = table ? Result<void>() : Result<void>(table.error());
  if (used) {
    proxy_->use(std::move(*table));
    used = proxy_->use(std::make_shared<proxy::Options>(config.proxy));
  }
  if (!used) {  // An address that is taken, a regex too large: all stays as it was.
    keeper_->set_certificates(before.acme.certificates, authorities_->use(before.acme.cas));
    proxy_->use(table_before);
    return used;
  }
  set_log_level(config.log_level);
  if (!(config.admin.listen.address == config_.admin.listen.address)) {
    admin_->close_listener();
    if (auto listening = admin_->listen(config.admin.listen); !listening)
      log(Level::kError, "admin.listen_failed").with("reason", listening.error().message);
  }
  const bool had_files = !config_.file_certificates.empty();
  file_credentials_.clear();
  for (const FileCertificate& file : config.file_certificates)
    file_credentials_.push_back(file.credential);
  config_ = std::move(config);
  if (!had_files && !config_.file_certificates.empty())
    tasks_.start("certificate files", watch_files());
  return {};
}

void Gatehouse::begin_drain() {
  is_draining_ = true;
  systemd_.stopping();
  log(Level::kInfo, "gatehouse.draining").with("connections", proxy_->connections());
  proxy_->drain([this] { asio::co_spawn(loop_.context(), shut_down(), asio::detached); });
}

asio::awaitable<void> Gatehouse::shut_down() {
  co_await keeper_->stop();
  admin_->stop();
  co_await admin_->join();
  tasks_.stop();
  co_await tasks_.join();
  resolver_.stop();
  poller_.stop();
  store_jobs_.stop();
  compute_jobs_.stop();
  loop_.stop();
}

}  // namespace gatehouse::daemon
