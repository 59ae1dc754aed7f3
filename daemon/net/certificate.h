#pragma once
// Certificates, keys and requests as values around OpenSSL. PEM and DER in, facts out. Private keys
// never appear in an error or a log.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/net/openssl.h"

namespace gatehouse::net {

enum class KeyKind : std::uint8_t { kEcdsaP256, kEcdsaP384, kRsa2048, kRsa3072, kRsa4096 };

/// A private key. Copies share it; it is immutable.
class PrivateKey {
 public:
  PrivateKey() = default;
  static Result<PrivateKey> generate(KeyKind kind);  // slow for RSA: compute thread
  static Result<PrivateKey> from_pem(std::string_view pem);
  static Result<PrivateKey> from_der(std::string_view pkcs8);
  Result<std::string> to_pem() const;  // PKCS#8
  Result<std::string> to_der() const;  // PKCS#8
  EVP_PKEY* native() const { return key_.get(); }
  explicit operator bool() const { return key_ != nullptr; }

 private:
  std::shared_ptr<EVP_PKEY> key_;
};

/// What one wants to know of a certificate.
struct CertificateFacts {
  std::vector<std::string> dns_names;     // lower case, as in the SAN
  std::vector<std::string> ip_addresses;  // RFC 5952 text
  WallTime not_before{}, not_after{};
  std::string serial_hex;  // lower case
  std::string issuer;      // one line, RFC 2253
  std::string fingerprint_sha256_hex;
  std::string key_kind;  // "ecdsa-p256", "rsa-2048", ...
  /// RFC 9773 section 4.1: base64url(AKI) "." base64url(serial); empty without AKI.
  std::string ari_id;
  /// RFC 9525: exact, or a one-label wildcard; addresses by value.
  bool covers(std::string_view name_or_address) const;
};

/// A chain, leaf first. Copies share it; it is immutable.
class CertificateChain {
 public:
  CertificateChain() = default;
  static Result<CertificateChain> from_pem(std::string_view pem);
  /// Decoded when first asked for, by whichever thread; for certificates whose outline is known to
  /// be good (certificate_outline.h).
  static CertificateChain from_der(std::vector<std::string> certificates);
  std::string to_pem() const;
  bool empty() const { return size() == 0; }
  std::size_t size() const;
  /// Null: there is none, or (after from_der() only) it could not be decoded.
  X509* leaf() const;
  X509* at(std::size_t index) const;
  X509StackPtr issuers() const;  // all but the leaf, as OpenSSL wants them; null: out of memory
  Result<CertificateFacts> facts() const;  // of the leaf
  bool matches(const PrivateKey& key) const;

 private:
  struct Links;
  std::shared_ptr<const Links> links_;
};

/// "ecdsa-p256", "rsa-2048", ...; for CertificateFacts.
std::string key_kind_of(EVP_PKEY* key);
/// A Name's DER in one line, RFC 2253; empty: it is none.
std::string name_text(std::string_view der);

/// What a TLS server needs to speak for some names. Immutable, shared by snapshots.
struct Credential {
  std::string name;  // of the certificate, as in the store
  CertificateChain chain;
  PrivateKey key;
  CertificateFacts facts;
  bool is_temporary = false;  // self-signed until the first issue
};
using CredentialPtr = std::shared_ptr<const Credential>;

/// Checks that chain and key belong together and collects the facts.
Result<CredentialPtr> make_credential(std::string name, CertificateChain chain, PrivateKey key);

/// Gives a handshake its chain and key: only references are taken, about 3 us. False: see
/// openssl_error().
bool use_certificate(SSL* ssl, const CertificateChain& chain, const PrivateKey& key);

/// A PKCS#10 request for these names, DER. SAN only, no subject, no EKU (CAs differ about it).
Result<std::string> make_csr(const PrivateKey& key, const std::vector<std::string>& names);

struct IssueRequest {
  std::vector<std::string> names;  // DNS names and IP addresses
  std::string common_name;         // may be empty
  WallTime not_before{}, not_after{};
  bool is_ca = false;
  /// RFC 8737: when not empty, adds the critical id-pe-acmeIdentifier with this SHA-256 digest.
  std::string acme_identifier_digest;
};
/// Signs a certificate for `subject_key`, with a random serial number. Self-signed when issuer is
/// empty. The chain holds the new certificate and its issuers, except a self-signed root: clients
/// that trust it have it.
Result<CertificateChain> issue_certificate(const IssueRequest& request,
                                           const PrivateKey& subject_key,
                                           const CertificateChain& issuer,
                                           const PrivateKey& issuer_key);

}  // namespace gatehouse::net
