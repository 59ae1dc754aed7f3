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
#include "daemon/base/process_memory.h"
#include "daemon/base/text.h"
#include "daemon/certificate_files.h"
#include "daemon/config_reader.h"
#include "daemon/net/answer_of.h"

namespace gatehouse::daemon {

namespace asio = boost::asio;

namespace {
constexpr Duration kLookAtFiles = std::chrono::seconds(10);

/// The router keeps the whole configuration that its options are a part of.
std::shared_ptr<const proxy::Options> proxy_options(const std::shared_ptr<const Config>& config) {
  return {config, &config->proxy};
}
}  // namespace

Gatehouse::Gatehouse(Config config)
    : config_(std::make_shared<const Config>(std::move(config))),
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
  auto database = store::Database::open(config_->store, clock_);
  if (!database) return database.error();
  database_ = std::move(*database);
  certificate_store_ = std::make_unique<store::CertificateStore>(*database_, store_jobs_);
  account_store_ = std::make_unique<store::AccountStore>(*database_, store_jobs_);
  return {};
}

Result<void> Gatehouse::build() {
  set_log_level(config_->log_level);
  raise_descriptor_limit();
  if (auto stored = open_store(); !stored) return stored;
  if (auto polling = poller_.start(); !polling) return polling;
  if (auto resolving = resolver_.start(); !resolving) return resolving;
  proxy_ = std::make_unique<proxy::Proxy>(
      proxy::Proxy::Parts{loop_, poller_, resolver_, random_, metrics_}, loops_of(*config_));
  challenges_ = std::make_unique<ChallengeBridge>(loop_, *proxy_);
  if (auto joined = join_cluster(); !joined) return joined;
  authorities_ = std::make_unique<Authorities>(Authorities::Parts{
      loop_, compute_jobs_, *certificate_store_, *account_store_, *challenges_, cluster_.get()});
  keeper_ = std::make_unique<acme::Keeper>(
      acme::Keeper::Parts{loop_, random_, metrics_, *certificate_store_, *account_store_,
                          cluster_.get()},
      [this](net::CredentialPtr credential) { on_certificate(credential); });
  if (auto loaded = keeper_->load(); !loaded) {
    log(Level::kError, "store.load_failed").with("reason", loaded.error().message);
  }
  keeper_->set_certificates(config_->acme.certificates, authorities_->use(config_->acme.cas));
  for (const FileCertificate& file : config_->file_certificates)
    file_credentials_.push_back(file.credential);
  find_secret_credentials(*config_);
  auto table = make_table(*config_);
  if (!table) return table.error();
  proxy_->use(std::move(*table));

  std::vector<net::ListenAddress> addresses = config_->proxy.https;
  addresses.insert(addresses.end(), config_->proxy.http.begin(), config_->proxy.http.end());
  auto started = proxy_->start(proxy_options(config_), inherited_sockets(addresses));
  if (!started) return started;
  admin_ = std::make_unique<AdminServer>(
      loop_, [this](AdminRequest request) { return answer(std::move(request)); });
  if (auto listening = admin_->listen(config_->admin.listen); !listening) return listening;
  return admin_->listen_control(config_->admin.socket);
}

// ---- certificates ---------------------------------------------------------------------------

asio::awaitable<void> Gatehouse::watch_files() {
  for (;;) {
    std::function<std::vector<FileCertificate>()> look = [this, config = config_] {
      return file_watch_.changed(config->file_certificates);
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
          .with("not_after", format_rfc3339(credential->credential->facts.not_after));
      for (auto& known : file_credentials_)
        if (known->name == file.name) known = credential->credential;
      on_certificate(credential->credential);
    }
    co_await take_changed_tls_files();
    const bool goes_on = co_await net::sleep_for(loop_, kLookAtFiles);
    if (!goes_on) co_return;
  }
}

/// What visitors and backends are judged by, and what we show to backends.
asio::awaitable<void> Gatehouse::take_changed_tls_files() {
  if (is_reloading_ || is_draining_) co_return;  // A reload reads them itself.
  is_taking_files_ = true;
  std::function<std::shared_ptr<const Config>()> look = [this, config = config_] {
    return with_changed_tls_files(tls_file_watch_, *config);
  };
  const std::shared_ptr<const Config> fresh = co_await compute_jobs_.run(std::move(look));
  if (fresh) {
    std::function<void(std::function<void(Result<void>)>)> prepare =
        [this, options = proxy_options(fresh)](auto answer) {
          proxy_->prepare(options, std::move(answer));
        };
    const Result<void> prepared = co_await net::answer_of<Result<void>>(loop_, std::move(prepare));
    if (!prepared) {
      log(Level::kError, "tls.file_unusable").with("reason", prepared.error().message);
    } else if (is_draining_) {  // Its listeners would be opened again.
      proxy_->abandon();
    } else {
      proxy_->commit();
      config_ = fresh;
      log(Level::kInfo, "tls.files_reloaded");
    }
  }
  is_taking_files_ = false;
}

bool Gatehouse::has_files_to_watch() const {
  return !config_->file_certificates.empty() || !config_->tls_files.empty();
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
  if (has_files_to_watch()) tasks_.start("certificate files", watch_files());
  if (config_->volume_version) tasks_.start("configuration volume", watch_volume());
  keeper_->await_restore(mirrored_names(*config_));
  keeper_->start();
  if (cluster_) cluster_->start({*keeper_, *proxy_}, config_);
  tasks_.start("kubernetes", use_kubernetes(config_));
  for (const auto& [address, is_tls] : proxy_->listening())
    log(Level::kInfo, "proxy.listening")
        .with("address", address)
        .with("protocol", is_tls ? "https" : "http");
  log(Level::kInfo, "gatehouse.started")
      .with("version", GATEHOUSE_VERSION)
      .with("config", config_->file)
      .with("vhosts", config_->proxy.vhosts.size())
      .with("workers", proxy_->loops())
      .with("admin", admin_->bound().to_string());
  systemd_.pet_only_while([this] { return has_pulse(); });
  systemd_.ready("serving " + std::to_string(config_->proxy.vhosts.size()) + " vhosts");
  loop_.run();
  // The handlers go with signals_: a further SIGTERM must not make a good end look like a crash.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
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
      case SIGUSR1: proxy_->reopen_log(); break;
      default:
        if (is_draining_) {
          log(Level::kWarn, "gatehouse.ended_at_once");
          ::_exit(0);
        }
        begin_drain();
    }
  }
}

asio::awaitable<void> Gatehouse::watch_volume() {
  std::optional<std::string> known = config_->volume_version;
  for (;;) {
    const bool goes_on = co_await net::sleep_for(loop_, kLookAtFiles);
    if (!goes_on) co_return;
    std::function<std::optional<std::string>()> look = [file = config_->file] {
      return volume_version(file);
    };
    const auto now = co_await compute_jobs_.run(std::move(look));
    if (now == config_->volume_version) known = now;  // Somebody asked for the reload, too.
    if (!now || now == known || is_draining_) continue;
    log(Level::kInfo, "config.volume_changed").with("config", config_->file);
    const auto reloaded = co_await reload();
    const bool was_busy = !reloaded && reloaded.error().fault == Fault::kConflict;
    if (!was_busy) known = now;  // Refused or not: the next change is another one.
  }
}

asio::awaitable<Result<void>> Gatehouse::reload() {
  if (std::exchange(is_reloading_, true))
    co_return Error{Fault::kConflict, "a reload is under way"};
  while (is_taking_files_) co_await net::sleep_for(loop_, std::chrono::milliseconds(10));
  systemd_.reloading();
  // Parsing a large file takes a while: not on the loop.
  std::function<ConfigReading()> read = [this, before = config_] {
    return read_config(before->file, clock_.wall_now(), before.get());
  };
  ConfigReading reading = co_await compute_jobs_.run(std::move(read));
  Result<void> result;
  if (!reading.config) {
    result = Error{Fault::kInvalid, format(reading.report)};
  } else {
    result = co_await apply(std::make_shared<const Config>(std::move(*reading.config)));
  }
  // What the old configuration took is back by now, scattered: the system gets it, not we later.
  reading.config.reset();
  give_back_memory();
  is_reloading_ = false;
  last_reload_ = ReloadFacts{clock_.wall_now(), result ? std::string() : result.error().message};
  if (result) {
    log(Level::kInfo, "config.reloaded").with("vhosts", config_->proxy.vhosts.size());
    systemd_.reloaded("serving " + std::to_string(config_->proxy.vhosts.size()) + " vhosts");
  } else {
    log(Level::kError, "config.refused")
        .with("reason", result.error().message)
        .with("serving", "the configuration before");
    systemd_.reloaded("the last reload was refused; serving the configuration before");
  }
  co_return result;
}

asio::awaitable<Result<void>> Gatehouse::apply(std::shared_ptr<const Config> with) {
  const Config& config = *with;
  if (config.store.state_directory != config_->store.state_directory)
    co_return Error{Fault::kUnsupported, "state: a running daemon cannot move; restart it"};
  if (config.admin.socket != config_->admin.socket)
    co_return Error{Fault::kUnsupported, "admin.socket: a running daemon cannot move; restart it"};
  if (config.proxy.workers != config_->proxy.workers)
    co_return Error{Fault::kUnsupported,
                    "workers: a running daemon cannot change them; restart it"};
  if (!(config.kubernetes.cluster == config_->kubernetes.cluster) ||
      (cluster_ && !(config.kubernetes.access == config_->kubernetes.access)))
    co_return Error{Fault::kUnsupported,
                    "kubernetes.cluster: a running daemon cannot change it; restart it"};
  // An address that is taken, a regex too large: all stays as it was.
  auto options = proxy_options(with);
  std::function<void(std::function<void(Result<void>)>)> prepare = [this, options](auto answer) {
    proxy_->prepare(options, std::move(answer));
  };
  Result<void> prepared = co_await net::answer_of<Result<void>>(loop_, std::move(prepare));
  if (!prepared) co_return prepared;
  if (is_draining_) {  // Its listeners would be opened again.
    proxy_->abandon();
    co_return Error{Fault::kConflict, "the daemon is ending"};
  }
  keeper_->set_certificates(config.acme.certificates, authorities_->use(config.acme.cas));
  find_secret_credentials(config);
  auto table = make_table(config);
  if (!table) {
    proxy_->abandon();
    keeper_->set_certificates(config_->acme.certificates, authorities_->use(config_->acme.cas));
    find_secret_credentials(*config_);
    co_return table.error();
  }
  proxy_->use(std::move(*table));
  proxy_->commit();
  set_log_level(config.log_level);
  if (!(config.admin.listen.address == config_->admin.listen.address)) {
    admin_->close_listener();
    if (auto listening = admin_->listen(config.admin.listen); !listening)
      log(Level::kError, "admin.listen_failed").with("reason", listening.error().message);
  }
  const bool had_files = has_files_to_watch();
  file_credentials_.clear();
  for (const FileCertificate& file : config.file_certificates)
    file_credentials_.push_back(file.credential);
  config_ = std::move(with);
  if (cluster_) cluster_->use(config_);
  co_await use_kubernetes(config_);
  if (!had_files && has_files_to_watch()) tasks_.start("certificate files", watch_files());
  co_return Result<void>();
}

void Gatehouse::begin_drain() {
  is_draining_ = true;
  systemd_.stopping();
  log(Level::kInfo, "gatehouse.draining").with("connections", proxy_->connections());
  proxy_->drain([this] { asio::co_spawn(loop_.context(), shut_down(), asio::detached); });
}

asio::awaitable<void> Gatehouse::shut_down() {
  co_await keeper_->stop();
  if (kubernetes_) co_await kubernetes_->stop();
  if (cluster_) co_await cluster_->stop();
  admin_->stop();
  co_await admin_->join();
  tasks_.stop();
  co_await tasks_.join();
  proxy_->stop();
  resolver_.stop();
  poller_.stop();
  store_jobs_.stop();
  compute_jobs_.stop();
  loop_.stop();
}

}  // namespace gatehouse::daemon
