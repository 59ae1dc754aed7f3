#include "store/source_decision.h"

#include "daemon/base/text.h"
#include "store/mirror_decision.h"

namespace gatehouse::store {

Result<net::CredentialPtr> usable_credential(const Secret& secret, const std::string& certificate) {
  if (secret.type != kTlsSecretType)
    return Error{Fault::kInvalid, "Secret " + secret.at.to_string() + " has the type " +
                                      secret.type + ", not " + std::string(kTlsSecretType)};
  return credential_in(secret, certificate);
}

std::string why_not(const SourceTarget& target, const net::Credential& fresh,
                    const net::Credential* served, WallTime now) {
  if (!served) return "";
  if (fresh.facts.not_after <= now && served->facts.not_after > now)
    return "the certificate expired at " + format_rfc3339(fresh.facts.not_after) +
           ", the one before has not";
  for (const std::string& name : target.names)
    if (served->facts.covers(name) && !fresh.facts.covers(name))
      return "the certificate does not cover " + name + ", as the one before does";
  return "";
}

}  // namespace gatehouse::store
