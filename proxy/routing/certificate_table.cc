#include "proxy/routing/certificate_table.h"

#include <utility>

namespace gatehouse::proxy {
namespace {

bool is_valid_at(const net::Credential& credential, WallTime now) {
  return credential.facts.not_before <= now && now < credential.facts.not_after;
}

}  // namespace

std::shared_ptr<const CertificateTable> CertificateTable::build(
    const std::vector<HostCertificate>& hosts, const std::vector<net::CredentialPtr>& credentials) {
  auto names = std::make_shared<Names>();
  names->hosts.reserve(hosts.size());
  for (const auto& entry : hosts) {
    const auto index = static_cast<std::uint32_t>(names->certificates.size());
    const auto it = names->certificates.try_emplace(entry.certificate, index).first;
    names->hosts.add(entry.host, it->second);
  }
  auto table = std::make_shared<CertificateTable>();
  table->served_.resize(names->certificates.size());
  table->names_ = std::move(names);
  for (const auto& credential : credentials) table->put(credential);
  return table;
}

std::shared_ptr<const CertificateTable> CertificateTable::with(
    net::CredentialPtr credential) const {
  auto table = std::make_shared<CertificateTable>(*this);
  table->put(std::move(credential));
  return table;
}

std::shared_ptr<const CertificateTable> CertificateTable::with(
    const std::vector<net::CredentialPtr>& credentials) const {
  auto table = std::make_shared<CertificateTable>(*this);
  for (const auto& credential : credentials) table->put(credential);
  return table;
}

std::shared_ptr<const CertificateTable> CertificateTable::without(
    std::string_view certificate) const {
  auto table = std::make_shared<CertificateTable>(*this);
  const auto it = names_->certificates.find(std::string(certificate));
  if (it != names_->certificates.end()) table->served_[it->second] = {};
  return table;
}

void CertificateTable::put(net::CredentialPtr credential) {
  check(credential != nullptr, "a certificate table takes credentials only");
  const auto it = names_->certificates.find(credential->name);
  if (it == names_->certificates.end()) return;
  Served& served = served_[it->second];
  const bool has_real = served.newest && !served.newest->is_temporary;
  if (credential->is_temporary && has_real) return;
  if (has_real && served.newest->facts.serial_hex != credential->facts.serial_hex)
    served.previous = std::move(served.newest);
  served.newest = std::move(credential);
}

const net::CredentialPtr& CertificateTable::Served::choose(WallTime now) const {
  if (!previous || is_valid_at(*newest, now) || !is_valid_at(*previous, now)) return newest;
  return previous;
}

net::CredentialPtr CertificateTable::find(std::string_view host, WallTime now) const {
  if (const std::uint32_t* index = names_->hosts.find(host)) return served_[*index].choose(now);
  auto fallback = find_fallback(now);
  return fallback && fallback->facts.covers(host) ? fallback : nullptr;
}

net::CredentialPtr CertificateTable::find_fallback(WallTime now) const {
  const std::uint32_t* index = names_->hosts.fallback();
  return index ? served_[*index].choose(now) : nullptr;
}

net::CredentialPtr CertificateTable::find_certificate(std::string_view certificate,
                                                      WallTime now) const {
  const auto it = names_->certificates.find(std::string(certificate));
  return it == names_->certificates.end() ? nullptr : served_[it->second].choose(now);
}

bool covers(const net::Credential& credential, std::string_view server_name,
            std::string_view authority) {
  const std::string_view host = host_of(authority);
  return (!server_name.empty() && host == server_name) || credential.facts.covers(host);
}

CertificateChooser::CertificateChooser(const Clock& clock, const ChallengeTable& challenges,
                                       LocalAddressOf local_address_of)
    : clock_(clock), challenges_(challenges), local_address_of_(std::move(local_address_of)) {}

net::CredentialPtr CertificateChooser::choose(const net::ClientHello& hello) {
  if (hello.offers_acme_tls_alpn) return challenges_.tls_alpn(hello.server_name);
  if (!table_) return nullptr;
  const WallTime now = clock_.wall_now();
  if (!hello.server_name.empty()) return table_->find(hello.server_name, now);
  const std::string local = local_address(hello);
  if (!local.empty())
    if (auto credential = table_->find(local, now)) return credential;
  return table_->find_fallback(now);
}

std::string CertificateChooser::local_address(const net::ClientHello& hello) const {
  return hello.local_address.empty() ? local_address_of_(hello.ssl)
                                     : std::string(hello.local_address);
}

/// By the same rules as the certificate: the name, else the local address, else "*".
net::HandshakeRules CertificateChooser::rules_for(const net::ClientHello& hello) {
  if (!router_ || !router_->has_tls_rules() || hello.offers_acme_tls_alpn) return {};
  const CompiledVhost* vhost = hello.server_name.empty() ? router_->vhost_for(local_address(hello))
                                                         : router_->vhost_for(hello.server_name);
  if (!vhost) return {};
  return {vhost->tls_policy, vhost->allows_early_data};
}

}  // namespace gatehouse::proxy
