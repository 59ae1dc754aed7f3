#pragma once
// The CAs of the configuration as objects: made when first named, kept while the process lives
// (orders may be in flight), and reused by a reload that does not change them. Owned by the roof.

#include <memory>
#include <string>
#include <vector>

#include "acme/authority.h"
#include "acme/internal_ca.h"
#include "acme/issuer.h"
#include "acme/options.h"

namespace gatehouse::daemon {

class Authorities {
 public:
  /// What authorities work with; all of it outlives them.
  struct Parts {
    net::Loop& loop;
    net::JobThread& compute;
    store::CertificateStore& certificates;
    store::AccountStore& accounts;
    acme::ChallengeSink& challenges;
    acme::Fleet* fleet = nullptr;  // null: this node is alone
  };
  explicit Authorities(Parts parts) : parts_(parts) {}

  /// Those of the configuration. One that cannot be made (an unreadable ca_file) is logged and left
  /// out: the keeper holds its certificates back and says so.
  std::vector<acme::CertificateAuthority*> use(const std::vector<acme::Ca>& cas);
  /// The built-in CA of that name, or the only one when the name is empty; null: none.
  acme::InternalCa* internal(const std::string& name) const;

 private:
  struct Made {
    acme::Ca ca;
    std::unique_ptr<acme::Transport> transport;  // outlives the authority
    std::unique_ptr<acme::CertificateAuthority> authority;
    acme::InternalCa* internal = nullptr;
    bool is_current = false;
  };
  Result<Made> make(const acme::Ca& ca, const std::vector<acme::Ca>& all);

  const Parts parts_;
  std::vector<Made> made_;
};

}  // namespace gatehouse::daemon
