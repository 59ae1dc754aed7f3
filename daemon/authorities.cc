#include "daemon/authorities.h"

#include <unistd.h>

#include <algorithm>

#include "daemon/base/log.h"

namespace gatehouse::daemon {

namespace {
std::string host_name() {
  char name[256] = "";
  return ::gethostname(name, sizeof name - 1) == 0 ? std::string(name) : std::string("localhost");
}
}  // namespace

std::vector<acme::CertificateAuthority*> Authorities::use(const std::vector<acme::Ca>& cas) {
  std::vector<acme::CertificateAuthority*> current;
  for (Made& made : made_) made.is_current = false;
  for (const acme::Ca& ca : cas) {
    auto known =
        std::find_if(made_.begin(), made_.end(), [&](const Made& made) { return made.ca == ca; });
    if (known == made_.end()) {
      auto made = make(ca, cas);
      if (!made) {
        log(Level::kError, "issuer.unusable")
            .with("issuer", ca.name)
            .with("reason", made.error().message);
        continue;
      }
      made_.push_back(std::move(*made));
      known = std::prev(made_.end());
    }
    known->is_current = true;
    current.push_back(known->authority.get());
  }
  return current;
}

Result<Authorities::Made> Authorities::make(const acme::Ca& ca, const std::vector<acme::Ca>& all) {
  Made made;
  made.ca = ca;
  if (ca.is_internal) {
    auto internal = std::make_unique<acme::InternalCa>(
        acme::InternalCa::Parts{parts_.loop.clock(), parts_.compute, parts_.certificates}, ca.name,
        host_name());
    made.internal = internal.get();
    made.authority = std::move(internal);
    return made;
  }
  auto transport = acme::HttpsTransport::create(parts_.loop, ca);
  if (!transport) return transport.error();
  made.transport = std::move(*transport);
  acme::Issuer::Past past;
  // Before the loop runs, or on a reload that brings a new CA: a few rows.
  if (auto accounts = parts_.accounts.load_accounts()) {
    for (store::Account& account : *accounts) {
      const bool is_named = std::any_of(all.begin(), all.end(), [&](const acme::Ca& other) {
        return other.directory == account.directory && other.email == account.email;
      });
      if (account.directory == ca.directory && !is_named)
        past.former_accounts.push_back(std::move(account));
    }
  }
  if (auto renewal = parts_.certificates.load_renewal()) past.renewal = std::move(*renewal);
  made.authority = std::make_unique<acme::Issuer>(
      acme::Issuer::Parts{parts_.loop, parts_.compute, parts_.accounts, parts_.challenges,
                          *made.transport, parts_.fleet},
      ca, std::move(past));
  return made;
}

acme::InternalCa* Authorities::internal(const std::string& name) const {
  for (const Made& made : made_)
    if (made.is_current && made.internal && (name.empty() || made.ca.name == name))
      return made.internal;
  return nullptr;
}

}  // namespace gatehouse::daemon
