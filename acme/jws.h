#pragma once
// The account key of one CA and what ACME signs with it: flattened JWS bodies (RFC 7515, RFC 8555
// section 6.2), the JWK, its thumbprint (RFC 7638) and key authorizations (RFC 8555 section 8.1).
// Keys made here are P-256 (ES256); imported ones may also be RSA (RS256). No I/O. Private keys
// never appear in an error. What is absent on purpose: verifying, and any other algorithm.

#include <string>
#include <string_view>

#include "acme/options.h"
#include "daemon/base/error.h"
#include "daemon/net/certificate.h"

namespace gatehouse::acme {

/// An account key with its public half in the forms that ACME wants. A value; copies share the key.
class AccountKey {
 public:
  AccountKey() = default;
  static Result<AccountKey> generate();  // P-256
  static Result<AccountKey> from_pem(std::string_view pem);
  static Result<AccountKey> from_key(net::PrivateKey key);

  Result<std::string> to_pem() const { return key_.to_pem(); }
  explicit operator bool() const { return static_cast<bool>(key_); }
  std::string_view algorithm() const { return is_ecdsa_ ? "ES256" : "RS256"; }
  /// The public key as JSON with the members in the order of RFC 7638 and no white space.
  const std::string& jwk() const { return jwk_; }
  const std::string& thumbprint() const { return thumbprint_; }

  /// The signature as JOSE has it: r||s for ES256 (RFC 7518 section 3.4), PKCS#1 v1.5 for RS256.
  Result<std::string> sign(std::string_view message) const;

 private:
  net::PrivateKey key_;
  bool is_ecdsa_ = true;
  std::string jwk_, thumbprint_;
};

/// base64url(SHA-256(canonical JWK)).
std::string jwk_thumbprint(std::string_view canonical_jwk);
/// What proves to the CA that the answer of a challenge is ours: token "." thumbprint.
std::string key_authorization(std::string_view token, const AccountKey& key);
/// SHA-256, 32 raw bytes; TLS-ALPN-01 puts that of the key authorization into its certificate.
std::string sha256(std::string_view data);

/// The protected header besides `alg`.
struct JwsHeader {
  std::string account_url;  // `kid`; empty: the JWK is embedded (newAccount only)
  std::string nonce;
  std::string url;
};

/// The request body of a signed POST; an empty payload makes it a POST-as-GET.
Result<std::string> sign_jws(const AccountKey& key, const JwsHeader& header,
                             std::string_view payload);

/// The object that goes into newAccount as `externalAccountBinding` (RFC 8555 section 7.3.4): the
/// key's JWK, signed by HMAC-SHA256 with what the CA has given to the operator. `url` is that of
/// newAccount.
std::string sign_external_account(const ExternalAccount& account, const AccountKey& key,
                                  std::string_view url);

}  // namespace gatehouse::acme
