#pragma once
// The built-in CA, for names that no public CA signs (localhost, addresses, private names). Its
// root is made on first use and kept in the store; clients import it once. Owned by the roof, one
// per `internal: true` issuer. No revocation, no challenges: who may ask is decided by the config.

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>

#include "acme/authority.h"
#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/net/certificate.h"
#include "store/certificate_store.h"

namespace gatehouse::net {
class JobThread;
}

namespace gatehouse::acme {

class InternalCa final : public CertificateAuthority {
 public:
  struct Parts {
    const Clock& clock;
    net::JobThread& compute;  // keys and signatures are made there
    store::CertificateStore& certificates;
  };
  /// `host` goes into the root's common name, so that people tell two roots apart.
  InternalCa(Parts parts, std::string name, std::string host)
      : parts_(parts), name_(std::move(name)), host_(std::move(host)) {}

  const std::string& name() const override { return name_; }
  bool is_local() const override { return true; }
  boost::asio::awaitable<AttemptResult> issue(IssueTask task) override;
  /// kUnsupported: half of the lifetime is the rule here.
  boost::asio::awaitable<Result<AriAnswer>> renewal_info(std::string ari_id) override;

  /// The root's certificate, made when there is none yet. Never its key.
  boost::asio::awaitable<Result<std::string>> root_pem();

 private:
  struct Signer {
    net::CertificateChain chain;
    net::PrivateKey key;
    WallTime not_after{};
  };
  boost::asio::awaitable<Result<Signer>> signer();
  boost::asio::awaitable<Result<net::CredentialPtr>> sign(ManagedCertificate wanted, Signer with);
  Result<store::Root> make_root(WallTime now) const;
  static Result<Signer> read_root(const store::Root& root);

  const Parts parts_;
  const std::string name_, host_;
  std::optional<Signer> signer_;
};

}  // namespace gatehouse::acme
