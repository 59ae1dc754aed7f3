// Making certificates and requests: CSRs for a CA, temporary and internal certificates of our own.

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "daemon/base/text.h"
#include "daemon/net/address.h"
#include "daemon/net/certificate.h"

namespace gatehouse::net {

namespace {

using GeneralNamesPtr = std::unique_ptr<GENERAL_NAMES, OpensslFree<GENERAL_NAMES_free>>;
using GeneralNamePtr = std::unique_ptr<GENERAL_NAME, OpensslFree<GENERAL_NAME_free>>;
using OctetStringPtr = std::unique_ptr<ASN1_OCTET_STRING, OpensslFree<ASN1_OCTET_STRING_free>>;
using BignumPtr = std::unique_ptr<BIGNUM, OpensslFree<BN_free>>;
using ObjectPtr = std::unique_ptr<ASN1_OBJECT, OpensslFree<ASN1_OBJECT_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, OpensslFree<X509_EXTENSION_free>>;
using AuthorityKeyIdPtr = std::unique_ptr<AUTHORITY_KEYID, OpensslFree<AUTHORITY_KEYID_free>>;

void free_extensions(X509_EXTENSIONS* extensions) {
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}
using ExtensionsPtr = std::unique_ptr<X509_EXTENSIONS, OpensslFree<free_extensions>>;

constexpr std::size_t kDnsNameBytesMax = 253;
constexpr std::size_t kCommonNameBytesMax = 64;  // RFC 5280 appendix A.1, ub-common-name
constexpr std::size_t kSha256Bytes = 32;
constexpr char kAcmeIdentifierOid[] = "1.3.6.1.5.5.7.1.31";  // RFC 8737 section 6.1

/// The digest that fits the key's strength; null for keys that hash by themselves (Ed25519).
const EVP_MD* digest_for(EVP_PKEY* key) {
  if (EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448")) return nullptr;
  if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) > 256) return EVP_sha384();
  return EVP_sha256();
}

bool is_dns_name(std::string_view name) {
  const auto is_allowed = [](char c) {
    return is_alpha(c) || is_digit(c) || c == '-' || c == '_' || c == '.';
  };
  if (name.size() > kDnsNameBytesMax) return false;
  if (name.starts_with("*.")) name.remove_prefix(2);
  return !name.empty() && name.front() != '.' && name.back() != '.' &&
         name.find("..") == name.npos && std::all_of(name.begin(), name.end(), is_allowed);
}

GeneralNamePtr general_name(int type, std::string_view bytes) {
  GeneralNamePtr name(GENERAL_NAME_new());
  ASN1_STRING* value = type == GEN_DNS ? ASN1_IA5STRING_new() : ASN1_OCTET_STRING_new();
  if (!name || !value ||
      ASN1_STRING_set(value, bytes.data(), static_cast<int>(bytes.size())) != 1) {
    ASN1_STRING_free(value);
    return nullptr;
  }
  GENERAL_NAME_set0_value(name.get(), type, value);
  return name;
}

Result<GeneralNamesPtr> general_names(const std::vector<std::string>& names) {
  GeneralNamesPtr all(GENERAL_NAMES_new());
  if (!all) return openssl_error("naming a certificate");
  for (const std::string& text : names) {
    GeneralNamePtr name;
    if (const auto ip = IpAddress::parse(text))
      name = general_name(GEN_IPADD, ip->bytes());
    else if (is_dns_name(text))
      name = general_name(GEN_DNS, to_lower(text));
    else
      return Error{Fault::kInvalid, "\"" + text + "\" is neither a DNS name nor an IP address"};
    if (!name || sk_GENERAL_NAME_push(all.get(), name.get()) == 0)
      return openssl_error("naming a certificate");
    (void)name.release();
  }
  return all;
}

bool set_random_serial(X509* certificate) {
  BignumPtr number(BN_new());
  if (!number) return false;
  do {
    if (BN_rand(number.get(), 128, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) != 1) return false;
  } while (BN_is_zero(number.get()));
  return BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool add_text_extension(X509* certificate, int nid, const char* value) {
  ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, nullptr, nid, value));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

/// RFC 5280 section 4.2.1.2, method 1: the SHA-1 of the public key.
OctetStringPtr key_id_of(X509* certificate) {
  if (const auto* stated = X509_get0_subject_key_id(certificate))
    return OctetStringPtr(ASN1_OCTET_STRING_dup(stated));
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  OctetStringPtr id(ASN1_OCTET_STRING_new());
  if (!id || X509_pubkey_digest(certificate, EVP_sha1(), digest, &size) != 1 ||
      ASN1_OCTET_STRING_set(id.get(), digest, static_cast<int>(size)) != 1)
    return nullptr;
  return id;
}

bool add_key_ids(X509* certificate, X509* issuer) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  OctetStringPtr own(ASN1_OCTET_STRING_new());
  if (!own || X509_pubkey_digest(certificate, EVP_sha1(), digest, &size) != 1 ||
      ASN1_OCTET_STRING_set(own.get(), digest, static_cast<int>(size)) != 1)
    return false;
  AuthorityKeyIdPtr authority(AUTHORITY_KEYID_new());
  if (!authority) return false;
  authority->keyid = issuer ? key_id_of(issuer).release() : ASN1_OCTET_STRING_dup(own.get());
  return authority->keyid &&
         X509_add1_ext_i2d(certificate, NID_subject_key_identifier, own.get(), 0, 0) == 1 &&
         X509_add1_ext_i2d(certificate, NID_authority_key_identifier, authority.get(), 0, 0) == 1;
}

/// RFC 8737 section 3: critical, and its value is the digest as a DER OCTET STRING.
bool add_acme_identifier(X509* certificate, const std::string& digest) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(digest.data());
  OctetStringPtr inner(ASN1_OCTET_STRING_new()), outer(ASN1_OCTET_STRING_new());
  ObjectPtr object(OBJ_txt2obj(kAcmeIdentifierOid, 1));
  if (!inner || !outer || !object ||
      ASN1_OCTET_STRING_set(inner.get(), bytes, static_cast<int>(digest.size())) != 1)
    return false;
  unsigned char* der = nullptr;
  const int size = i2d_ASN1_OCTET_STRING(inner.get(), &der);
  const bool is_set = size > 0 && ASN1_OCTET_STRING_set(outer.get(), der, size) == 1;
  OPENSSL_free(der);
  if (!is_set) return false;
  ExtensionPtr extension(X509_EXTENSION_create_by_OBJ(nullptr, object.get(), 1, outer.get()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_usage(X509* certificate, const IssueRequest& request, EVP_PKEY* key) {
  if (request.is_ca)
    return add_text_extension(certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add_text_extension(certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
  const char* usage = EVP_PKEY_is_a(key, "RSA") ? "critical,digitalSignature,keyEncipherment"
                                                : "critical,digitalSignature";
  return add_text_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
         add_text_extension(certificate, NID_key_usage, usage) &&
         add_text_extension(certificate, NID_ext_key_usage, "serverAuth");
}

bool set_subject(X509* certificate, const std::string& common_name) {
  if (common_name.empty()) return true;
  return X509_NAME_add_entry_by_NID(X509_get_subject_name(certificate), NID_commonName,
                                    MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(common_name.data()),
                                    static_cast<int>(common_name.size()), -1, 0) == 1;
}

bool set_time(ASN1_TIME* field, WallTime time) {
  return ASN1_TIME_set(field, std::chrono::system_clock::to_time_t(time)) != nullptr;
}

Result<void> validate(const IssueRequest& request) {
  if (request.not_after <= request.not_before)
    return Error{Fault::kInvalid, "the certificate would end before it begins"};
  if (request.common_name.size() > kCommonNameBytesMax)
    return Error{Fault::kInvalid, "the common name is over 64 bytes"};
  if (!is_utf8(request.common_name)) return Error{Fault::kInvalid, "the common name is not UTF-8"};
  if (request.names.empty() && !request.is_ca)
    return Error{Fault::kInvalid, "a server certificate needs a name"};
  const std::size_t digest = request.acme_identifier_digest.size();
  if (digest != 0 && digest != kSha256Bytes)
    return Error{Fault::kInvalid, "the acmeIdentifier is not a SHA-256 digest"};
  return {};
}

/// Everything but the names and the signature.
bool fill(X509* certificate, const IssueRequest& request, EVP_PKEY* key, X509* issuer) {
  // RFC 5280 section 4.1.2.4: an issuer has a name, so a self-signed certificate needs a subject.
  const bool needs_name = !issuer && request.common_name.empty();
  return X509_set_version(certificate, X509_VERSION_3) == 1 && set_random_serial(certificate) &&
         set_time(X509_getm_notBefore(certificate), request.not_before) &&
         set_time(X509_getm_notAfter(certificate), request.not_after) &&
         X509_set_pubkey(certificate, key) == 1 &&
         set_subject(certificate, needs_name ? "gatehouse" : request.common_name) &&
         X509_set_issuer_name(certificate, X509_get_subject_name(issuer ? issuer : certificate)) ==
             1 &&
         add_usage(certificate, request, key) && add_key_ids(certificate, issuer) &&
         (request.acme_identifier_digest.empty() ||
          add_acme_identifier(certificate, request.acme_identifier_digest));
}

bool is_self_signed(X509* certificate) { return X509_self_signed(certificate, 0) == 1; }

/// The new certificate and its issuers as a chain.
Result<CertificateChain> chain_of(X509* certificate, const CertificateChain& issuer) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  bool is_written = bio && PEM_write_bio_X509(bio.get(), certificate) == 1;
  for (std::size_t i = 0; is_written && i < issuer.size() && !is_self_signed(issuer.at(i)); ++i)
    is_written = PEM_write_bio_X509(bio.get(), issuer.at(i)) == 1;
  if (!is_written) return openssl_error("writing a certificate");
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return CertificateChain::from_pem({text, static_cast<std::size_t>(size)});
}

}  // namespace

Result<std::string> make_csr(const PrivateKey& key, const std::vector<std::string>& names) {
  if (!key) return Error{Fault::kInvalid, "no private key"};
  if (names.empty()) return Error{Fault::kInvalid, "a certificate request needs a name"};
  auto all = general_names(names);
  if (!all) return std::move(all).error();
  X509ReqPtr request(X509_REQ_new());
  X509_EXTENSIONS* list = nullptr;
  const int added = X509V3_add1_i2d(&list, NID_subject_alt_name, all->get(), 0, 0);
  ExtensionsPtr extensions(list);
  if (!request || added != 1 || X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) != 1 ||
      X509_REQ_set_pubkey(request.get(), key.native()) != 1 ||
      X509_REQ_add_extensions(request.get(), extensions.get()) != 1 ||
      X509_REQ_sign(request.get(), key.native(), digest_for(key.native())) == 0)
    return openssl_error("making a certificate request");
  unsigned char* der = nullptr;
  const int size = i2d_X509_REQ(request.get(), &der);
  if (size <= 0) return openssl_error("making a certificate request");
  std::string out(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

Result<CertificateChain> issue_certificate(const IssueRequest& request,
                                           const PrivateKey& subject_key,
                                           const CertificateChain& issuer,
                                           const PrivateKey& issuer_key) {
  if (auto valid = validate(request); !valid) return std::move(valid).error();
  if (!subject_key) return Error{Fault::kInvalid, "no private key"};
  if (!issuer.empty() && !issuer.matches(issuer_key))
    return Error{Fault::kInvalid, "the issuer's key does not belong to its certificate"};
  const PrivateKey& signer = issuer.empty() ? subject_key : issuer_key;
  X509Ptr certificate(X509_new());
  if (!certificate || !fill(certificate.get(), request, subject_key.native(), issuer.leaf()))
    return openssl_error("making a certificate");
  if (!request.names.empty()) {
    auto names = general_names(request.names);
    if (!names) return std::move(names).error();
    // RFC 5280 section 4.2.1.6: critical when the subject is empty.
    const bool has_subject = X509_NAME_entry_count(X509_get_subject_name(certificate.get())) > 0;
    if (X509_add1_ext_i2d(certificate.get(), NID_subject_alt_name, names->get(),
                          has_subject ? 0 : 1, 0) != 1)
      return openssl_error("naming a certificate");
  }
  if (X509_sign(certificate.get(), signer.native(), digest_for(signer.native())) == 0)
    return openssl_error("signing a certificate");
  return chain_of(certificate.get(), issuer);
}

}  // namespace gatehouse::net
