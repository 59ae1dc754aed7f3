#pragma once
// What the acme room is told: the CAs, and which certificates must exist. Filled by the roof.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace gatehouse::acme {

enum class ChallengeType : std::uint8_t { kTlsAlpn01, kHttp01 };
enum class KeyType : std::uint8_t { kEcdsaP256, kEcdsaP384, kRsa2048, kRsa3072, kRsa4096 };

/// What ties an account at a CA to the one that its operator has there already (RFC 8555
/// section 7.3.4).
struct ExternalAccount {
  std::string key_id;
  std::string hmac_key;  // raw octets; a secret
  friend bool operator==(const ExternalAccount&, const ExternalAccount&) = default;
};

struct Ca {
  std::string name;          // the key under `issuers:`
  bool is_internal = false;  // the built-in CA; then nothing else is set
  std::string directory;     // URL
  std::string email;         // contact; may be empty
  std::vector<ChallengeType> challenges{ChallengeType::kTlsAlpn01, ChallengeType::kHttp01};
  std::string ca_file;  // trust for the CA's own API; empty: the system's roots
  std::string profile;  // ACME profile; empty: the CA's default
  std::optional<ExternalAccount> external_account;
  friend bool operator==(const Ca&, const Ca&) = default;
};

/// A certificate that must exist. `name` is its key in the store and in commands.
struct ManagedCertificate {
  std::string name;
  std::vector<std::string> names;    // DNS names (A-labels) and IP addresses, the first one leads
  std::vector<std::string> issuers;  // in order of preference; the next when one keeps failing
  KeyType key = KeyType::kEcdsaP256;
};

struct Options {
  std::vector<Ca> cas;
  std::vector<ManagedCertificate> certificates;
};

}  // namespace gatehouse::acme
