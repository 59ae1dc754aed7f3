#pragma once
// Name to certificate. CertificateTable is the second immutable snapshot beside Router: which host
// is served with which certificate, and what that certificate is right now. A renewal derives a new
// table from the old one. CertificateChooser is the loop's own: it holds the current table and
// decides for each ClientHello.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/net/certificate.h"
#include "daemon/net/tls_context.h"
#include "proxy/routing/challenge_table.h"
#include "proxy/routing/host_table.h"
#include "proxy/routing/router.h"

namespace gatehouse::proxy {

/// One host of a vhost and the name of the certificate that serves it.
struct HostCertificate {
  std::string host;  // exact name, "*.name", address, or "*"
  std::string certificate;
};

class CertificateTable {
 public:
  /// The first entry of a host counts. A certificate without a credential yet serves nobody; a
  /// credential that no host uses is left out.
  static std::shared_ptr<const CertificateTable> build(
      const std::vector<HostCertificate>& hosts,
      const std::vector<net::CredentialPtr>& credentials = {});

  /// A table in which credential->name is served with this credential. The one before is kept
  /// beside it, unless temporary, for as long as the new one is not valid yet by our clock. Shares
  /// everything else; copies one pointer pair for each certificate.
  std::shared_ptr<const CertificateTable> with(net::CredentialPtr credential) const;
  /// The same for many at once.
  std::shared_ptr<const CertificateTable> with(
      const std::vector<net::CredentialPtr>& credentials) const;
  /// A table without any credential of that name.
  std::shared_ptr<const CertificateTable> without(std::string_view certificate) const;

  /// For a host that a vhost names: exact, then wildcard. A host that only "*" takes in is served
  /// with the certificate of "*" when that covers it. Null: an unknown name, or nothing to serve
  /// yet.
  net::CredentialPtr find(std::string_view host, WallTime now) const;
  /// Host "*"; null when there is none.
  net::CredentialPtr find_fallback(WallTime now) const;
  /// By the certificate's own name.
  net::CredentialPtr find_certificate(std::string_view certificate, WallTime now) const;

 private:
  struct Names {                     // shared by all tables that derive from one build()
    HostTable<std::uint32_t> hosts;  // index into served_
    std::unordered_map<std::string, std::uint32_t> certificates;
  };
  struct Served {
    net::CredentialPtr newest, previous;
    const net::CredentialPtr& choose(WallTime now) const;
  };
  void put(net::CredentialPtr credential);

  std::shared_ptr<const Names> names_;
  std::vector<Served> served_;
};

/// True when a request for `authority` may use a connection with that credential (DESIGN.md: else
/// 421): the certificate covers its host, or it is the very name that the client asked for in SNI
/// (a certificate from a file may lack the name; that only warns).
bool covers(const net::Credential& credential, std::string_view server_name,
            std::string_view authority);

/// The loop's CredentialSource (DESIGN.md "Before the first issue"). An acme-tls/1 handshake gets a
/// challenge's certificate or nothing, and nobody else gets one (RFC 8737 section 3). Without SNI:
/// the host that is the connection's local address, else "*".
class CertificateChooser final : public net::CredentialSource {
 public:
  /// Gives the address on which a connection came in, as text without port; empty: none (a unix
  /// socket).
  using LocalAddressOf = std::function<std::string(const SSL*)>;

  /// All references outlive the chooser. Until the first use() there is no certificate at all.
  CertificateChooser(const Clock& clock, const ChallengeTable& challenges,
                     LocalAddressOf local_address_of);

  /// Effective with the next handshake.
  void use(std::shared_ptr<const CertificateTable> table) { table_ = std::move(table); }
  const std::shared_ptr<const CertificateTable>& table() const { return table_; }

  void use(std::shared_ptr<const Router> router) { router_ = std::move(router); }

  net::CredentialPtr choose(const net::ClientHello& hello) override;
  net::HandshakeRules rules_for(const net::ClientHello& hello) override;

 private:
  std::string local_address(const net::ClientHello& hello) const;

  const Clock& clock_;
  const ChallengeTable& challenges_;
  LocalAddressOf local_address_of_;
  std::shared_ptr<const CertificateTable> table_;
  std::shared_ptr<const Router> router_;
};

}  // namespace gatehouse::proxy
