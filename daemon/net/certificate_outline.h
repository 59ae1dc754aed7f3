#pragma once
// Certificates read without OpenSSL's decoders, which take 0.2 ms for each: with thousands of
// vhosts that is what a start or a reload would mostly do. The DER is walked strictly, and what is
// told is only what there is no doubt about: whoever meets something unusual decodes it in full
// instead. Pure.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/net/certificate.h"

namespace gatehouse::net {

/// What stands in a certificate. Views are into its DER.
struct CertificateOutline {
  std::string_view serial;           // the INTEGER's value
  std::string_view signed_with;      // the AlgorithmIdentifier
  std::string_view issuer, subject;  // Names
  WallTime not_before{}, not_after{};
  std::string_view public_key;  // the SubjectPublicKeyInfo, whole
  std::vector<std::string_view> dns_names;
  std::vector<std::string_view> ip_addresses;  // 4 or 16 bytes
  std::string_view authority_key_id;           // empty: none
};

/// Nothing: it is not a version 3 certificate in strict DER, or has something that we do not know
/// how to judge.
std::optional<CertificateOutline> outline_of(std::string_view der);

/// Whether TLS takes such a signature and such a key: ECDSA or RSA with SHA-2, P-256, P-384, P-521
/// or at least 2048 bits. False also for what is merely unusual.
bool is_usual_for_tls(const CertificateOutline& outline);

/// The DER of each certificate of a PEM file. Nothing: damaged, or it has other blocks, too.
std::optional<std::vector<std::string>> certificates_in_pem(std::string_view pem);

/// What certificates are compared with: the SubjectPublicKeyInfo of a key that OpenSSL has decoded,
/// so that an equal one in a certificate is known to be good.
struct PublicKey {
  std::string info;
  std::string kind;  // as in CertificateFacts
};
std::optional<PublicKey> public_key_of(const PrivateKey& key);

/// As make_credential(), and only what is without doubt; else null. The chain is decoded when a
/// handshake first needs it.
CredentialPtr make_credential_by_outline(std::string name, std::string_view chain_pem,
                                         const PrivateKey& key, const PublicKey& public_key);

}  // namespace gatehouse::net
