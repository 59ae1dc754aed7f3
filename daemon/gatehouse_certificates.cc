// What Gatehouse serves when: the table of certificates for a configuration, what fills its gaps,
// and what takes the place of what.

#include "daemon/base/log.h"
#include "daemon/gatehouse.h"

namespace gatehouse::daemon {

namespace {
constexpr auto kTemporaryLife = std::chrono::hours(24 * 90);
}

void Gatehouse::serve(const std::vector<net::CredentialPtr>& credentials) {
  for (const net::CredentialPtr& credential : credentials) {
    temporaries_.erase(credential->name);
    if (kubernetes_) kubernetes_->put(credential);
  }
  if (proxy_->certificates()) proxy_->use(proxy_->certificates()->with(credentials));
  if (cluster_) cluster_->on_certificate();
}

void Gatehouse::on_secrets_read(const std::vector<net::CredentialPtr>& read) {
  for (const net::CredentialPtr& credential : read) {
    secret_credentials_[credential->name] = credential;
    keeper_->remember(credential);
  }
  serve(read);
}

void Gatehouse::find_secret_credentials(const Config& config) {
  std::map<std::string, net::CredentialPtr> found;
  for (const store::SourceTarget& source : config.kubernetes.sources) {
    const auto known = secret_credentials_.find(source.certificate);
    net::CredentialPtr credential = known == secret_credentials_.end() ? nullptr : known->second;
    // The name may have been another kind of certificate until now.
    if (!credential && proxy_->certificates())
      credential = proxy_->certificates()->find_certificate(source.certificate, now());
    if (!credential || credential->is_temporary) credential = keeper_->loaded(source.certificate);
    if (credential) found.emplace(source.certificate, std::move(credential));
  }
  secret_credentials_ = std::move(found);
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

Result<net::CredentialPtr> Gatehouse::temporary_for(const std::string& name,
                                                    const std::vector<std::string>& hosts,
                                                    std::string_view until) {
  const auto known = temporaries_.find(name);
  if (known != temporaries_.end()) return known->second;
  auto made = make_temporary(name, hosts);
  if (!made) return std::move(made).error().in("temporary certificate for " + name);
  log(Level::kInfo, "certificate.temporary").with("name", name).with("until", until);
  return made;
}

Result<std::shared_ptr<const proxy::CertificateTable>> Gatehouse::make_table(const Config& config) {
  std::vector<net::CredentialPtr> credentials;
  std::map<std::string, net::CredentialPtr> temporaries;
  const auto add = [&](const std::string& name, const std::vector<std::string>& hosts,
                       net::CredentialPtr credential, std::string_view until) -> Result<void> {
    if (!credential) {
      auto temporary = temporary_for(name, hosts, until);
      if (!temporary) return std::move(temporary).error();
      credential = temporaries[name] = std::move(*temporary);
    }
    credentials.push_back(std::move(credential));
    return {};
  };
  for (const FileCertificate& file : config.file_certificates)
    credentials.push_back(file.credential);
  for (const acme::ManagedCertificate& managed : config.acme.certificates) {
    auto added =
        add(managed.name, managed.names, keeper_->find(managed.name), "the first one is issued");
    if (!added) return std::move(added).error();
  }
  for (const store::SourceTarget& source : config.kubernetes.sources) {
    const auto read = secret_credentials_.find(source.certificate);
    const bool is_read = read != secret_credentials_.end();
    if (!is_read && source.names.empty()) continue;  // Host "*" alone, or none.
    auto added = add(source.certificate, source.names, is_read ? read->second : nullptr,
                     "its Secret has one");
    if (!added) return std::move(added).error();
  }
  temporaries_ = std::move(temporaries);
  return proxy::CertificateTable::build(config.host_certificates, credentials);
}

}  // namespace gatehouse::daemon
