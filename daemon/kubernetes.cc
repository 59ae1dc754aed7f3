#include "daemon/kubernetes.h"

#include <unistd.h>

#include <utility>

#include "daemon/base/log.h"
#include "daemon/gatehouse.h"

namespace gatehouse::daemon {

namespace asio = boost::asio;

namespace {
std::string host_name() {
  char name[256] = "";
  return ::gethostname(name, sizeof name - 1) == 0 ? std::string(name) : std::string("localhost");
}
}  // namespace

std::set<std::string> mirrored_names(const Config& config) {
  std::set<std::string> names;
  for (const store::MirrorTarget& target : config.kubernetes.mirrors)
    names.insert(target.certificate);
  return names;
}

net::KubeAccess kube_access_of(const Config& config) {
  if (config.kubernetes.access) return *config.kubernetes.access;
  net::KubeAccess nowhere;
  nowhere.server = "https://kubernetes.default.svc";
  nowhere.token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
  return nowhere;
}

Kubernetes::Kubernetes(Parts parts, const net::KubeAccess& access,
                       store::SecretSource::OnFound on_read)
    : parts_(parts),
      access_(access),
      transport_(parts.loop, access),
      client_(parts.loop, transport_),
      gateways_({parts.loop, parts.random, parts.metrics},
                [this](net::ProbeRequest request) {
                  return net::probe_certificate(parts_.loop.context(), parts_.resolver,
                                                std::move(request));
                }),
      mirror_({parts.loop, parts.random, parts.metrics, client_}, host_name(),
              {[this](net::CredentialPtr found, std::string ca) {
                 const WallTime issued = found->facts.not_before;
                 parts_.keeper.offer({std::move(found), std::move(ca), issued});
               },
               [this](const std::string& certificate) { parts_.keeper.let_go(certificate); },
               [this](const net::CredentialPtr& credential, bool is_written) {
                 gateways_.expect(credential, is_written);
               }}),
      source_({parts.loop, parts.random, parts.metrics, client_, parts.certificates, parts.jobs},
              std::move(on_read)),
      tasks_(parts.loop) {
  log(access.skips_verification ? Level::kWarn : Level::kInfo, "kubernetes.apiserver")
      .with("server", access.server)
      .with("is_verified", !access.skips_verification);
}

Kubernetes::~Kubernetes() = default;

void Kubernetes::use(const Config& config, const store::SecretSource::Credentials& read) {
  for (const std::string& name : std::exchange(mirrored_, mirrored_names(config)))
    if (!mirrored_.contains(name)) parts_.keeper.let_go(name);
  mirror_.use(config.kubernetes.mirrors);
  gateways_.use(config.kubernetes.gateways);
  source_.use(config.kubernetes.sources, read);
  std::set<std::string> unread;
  for (const std::string& name : mirrored_)
    if (!mirror_.has_looked(name)) unread.insert(name);
  parts_.keeper.await_restore(unread);
  for (const std::string& name : mirrored_)
    if (const auto kept = parts_.keeper.find(name)) put(kept);
  for (const FileCertificate& file : config.file_certificates) put(file.credential);
  for (const auto& [name, credential] : read) put(credential);
}

void Kubernetes::put(const net::CredentialPtr& credential) {
  if (!mirrored_.contains(credential->name) || tasks_.is_stopped()) return;
  // In a later turn: whoever tells us is in the middle of something.
  tasks_.start("mirror source", put_with_issuer(credential));
}

asio::awaitable<void> Kubernetes::put_with_issuer(net::CredentialPtr credential) {
  store::MirrorSource source;
  source.credential = credential;
  source.ca = parts_.keeper.issuer_of(credential->name);
  // Clients of a private CA look for its root beside the certificate; those of a public one have
  // it.
  acme::InternalCa* internal = source.ca.empty() ? nullptr : parts_.authorities.internal(source.ca);
  if (internal) {
    auto root = co_await internal->root_pem();
    if (root) source.ca_pem = std::move(*root);
  }
  mirror_.put(std::move(source));
}

asio::awaitable<void> Kubernetes::stop() {
  co_await source_.stop();
  co_await mirror_.stop();
  co_await gateways_.stop();
  for (const std::string& name : mirrored_) parts_.keeper.let_go(name);
  tasks_.stop();
  co_await tasks_.join();
}

// ---- of Gatehouse ---------------------------------------------------------------------------

asio::awaitable<void> Gatehouse::use_kubernetes(std::shared_ptr<const Config> config) {
  const bool is_needed = config->kubernetes.has_secrets();
  const net::KubeAccess access = kube_access_of(*config);
  if (kubernetes_ && (!is_needed || !(kubernetes_->access() == access))) {
    co_await kubernetes_->stop();
    kubernetes_.reset();
  }
  if (!is_needed) co_return;
  const bool is_new = !kubernetes_;
  if (is_new)
    kubernetes_ = std::make_unique<Kubernetes>(
        Kubernetes::Parts{loop_, random_, metrics_, resolver_, compute_jobs_, *certificate_store_,
                          *keeper_, *authorities_},
        access, [this](const std::vector<net::CredentialPtr>& read) { on_secrets_read(read); });
  kubernetes_->use(*config, secret_credentials_);
  if (is_new) kubernetes_->start();
}

}  // namespace gatehouse::daemon
