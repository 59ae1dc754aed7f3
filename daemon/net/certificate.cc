#include "daemon/net/certificate.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <mutex>
#include <optional>

#include "daemon/base/text.h"
#include "daemon/net/address.h"

namespace gatehouse::net {

namespace {

constexpr std::size_t kChainBytesMax = 1024 * 1024;
constexpr std::size_t kChainCertificatesMax = 32;

using GeneralNamesPtr = std::unique_ptr<GENERAL_NAMES, OpensslFree<GENERAL_NAMES_free>>;

std::string_view text_of(const ASN1_STRING* string) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
          static_cast<std::size_t>(ASN1_STRING_length(string))};
}

/// One block of a PEM file, as OpenSSL found it. May hold a key by mistake, so it is wiped.
struct PemBlock {
  char* name = nullptr;
  char* header = nullptr;
  unsigned char* data = nullptr;
  long size = 0;
  PemBlock() = default;
  PemBlock(const PemBlock&) = delete;
  PemBlock& operator=(const PemBlock&) = delete;
  ~PemBlock() {
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, static_cast<std::size_t>(size));
  }
};

Result<X509Ptr> certificate_of(const PemBlock& block, const std::string& which) {
  const std::string_view name = block.name;
  if (name != PEM_STRING_X509 && name != PEM_STRING_X509_OLD)
    return Error{Fault::kInvalid, which + " is not a certificate but " + to_lower(name)};
  const unsigned char* at = block.data;
  X509Ptr certificate(d2i_X509(nullptr, &at, block.size));
  if (!certificate) return openssl_error(which + " is not a certificate", Fault::kInvalid);
  if (at != block.data + block.size)
    return Error{Fault::kInvalid, which + " is not a certificate: bytes behind its end"};
  return certificate;
}

std::optional<WallTime> wall_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (!time || ASN1_TIME_to_tm(time, &parts) != 1) return std::nullopt;
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

Result<void> collect_names(X509* leaf, CertificateFacts& facts) {
  int critical = 0;
  GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(leaf, NID_subject_alt_name, &critical, nullptr)));
  if (!names) {
    if (critical == -1) return {};  // No SAN at all: it covers nothing.
    return openssl_error("reading the subject alternative names", Fault::kInvalid);
  }
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS) {
      const std::string_view text = text_of(name->d.dNSName);
      // A NUL or a control byte would make "good.test\0.evil" look like another name.
      const bool is_clean =
          std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
      if (text.empty() || !is_clean)
        return Error{Fault::kInvalid, "a DNS name of the certificate has forbidden bytes"};
      facts.dns_names.push_back(to_lower(text));
    } else if (name->type == GEN_IPADD) {
      const int size = ASN1_STRING_length(name->d.iPAddress);
      if (size != 4 && size != 16)
        return Error{Fault::kInvalid, "an IP address of the certificate is damaged"};
      const auto ip = IpAddress::from_bytes(ASN1_STRING_get0_data(name->d.iPAddress), size == 16);
      facts.ip_addresses.push_back(ip.to_string());
    }
  }
  return {};
}

std::string one_line(const X509_NAME* name) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253) < 0) {
    ERR_clear_error();
    return {};
  }
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<std::size_t>(size));
}

/// The value bytes of the DER INTEGER, a leading zero byte included.
std::string serial_value(const ASN1_INTEGER* serial) {
  unsigned char* der = nullptr;
  const int size = i2d_ASN1_INTEGER(serial, &der);
  if (size <= 0) return {};
  const unsigned char* at = der;
  long length = 0;
  int tag = 0, type_class = 0;
  std::string value;
  if ((ASN1_get_object(&at, &length, &tag, &type_class, size) & 0x80) == 0)
    value.assign(reinterpret_cast<const char*>(at), static_cast<std::size_t>(length));
  OPENSSL_free(der);
  return value;
}

std::string ari_id_of(X509* leaf, const std::string& serial) {
  const ASN1_OCTET_STRING* authority = X509_get0_authority_key_id(leaf);
  if (!authority || ASN1_STRING_length(authority) == 0) return {};
  return to_base64url(text_of(authority)) + "." + to_base64url(serial);
}

/// RFC 9525 section 6.3: the wildcard is the whole leftmost label and stands for exactly one.
bool matches_name(std::string_view pattern, std::string_view name) {
  if (pattern == name) return true;
  if (!pattern.starts_with("*.") || pattern.find('*', 1) != pattern.npos) return false;
  const std::size_t dot = name.find('.');
  if (dot == name.npos || dot == 0 || name.find('*') != name.npos) return false;
  return name.substr(dot) == pattern.substr(1) && pattern.size() > 2;
}

/// Whether TLS will take chain and key, found out here rather than in a handshake: a weak key or a
/// SHA-1 signature is refused by OpenSSL's security level.
Result<void> try_with_tls(const CertificateChain& chain, const PrivateKey& key) {
  static const SslContextPtr context(SSL_CTX_new(TLS_server_method()));
  SslPtr probe(context ? SSL_new(context.get()) : nullptr);
  if (!probe) return openssl_error("preparing TLS");
  SSL_set_security_level(probe.get(), 2);
  if (!use_certificate(probe.get(), chain, key))
    return openssl_error("the certificate cannot be used for TLS");
  return {};
}

}  // namespace

bool CertificateFacts::covers(std::string_view name_or_address) const {
  if (auto ip = IpAddress::parse(name_or_address)) {
    const std::string text = ip->to_string();
    return std::find(ip_addresses.begin(), ip_addresses.end(), text) != ip_addresses.end();
  }
  std::string name = to_lower(name_or_address);
  if (name.ends_with('.')) name.pop_back();
  if (name.empty()) return false;
  return std::any_of(dns_names.begin(), dns_names.end(),
                     [&](const std::string& pattern) { return matches_name(pattern, name); });
}

/// Either decoded, or DER that is decoded when it is first asked for.
struct CertificateChain::Links {
  std::vector<std::string> ders;  // empty: decoded from the beginning
  mutable std::vector<X509Ptr> decoded;
  mutable std::once_flag is_decoded;

  std::size_t size() const { return ders.empty() ? decoded.size() : ders.size(); }
  X509* at(std::size_t index) const {
    if (!ders.empty()) std::call_once(is_decoded, [this] { decode(); });
    return decoded[index].get();
  }
  void decode() const {
    for (const std::string& der : ders) {
      const auto* at = reinterpret_cast<const unsigned char*>(der.data());
      decoded.emplace_back(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
    }
    ERR_clear_error();
  }
};

std::string key_kind_of(EVP_PKEY* key) {
  if (!key) return "unknown";
  if (EVP_PKEY_is_a(key, "RSA")) return "rsa-" + std::to_string(EVP_PKEY_get_bits(key));
  if (EVP_PKEY_is_a(key, "EC")) {
    char group[64] = "";
    if (EVP_PKEY_get_group_name(key, group, sizeof group, nullptr) != 1) return "ecdsa";
    const std::string_view name = group;
    if (name == "prime256v1" || name == "P-256") return "ecdsa-p256";
    if (name == "secp384r1" || name == "P-384") return "ecdsa-p384";
    if (name == "secp521r1" || name == "P-521") return "ecdsa-p521";
    return "ecdsa-" + to_lower(name);
  }
  const char* type = EVP_PKEY_get0_type_name(key);
  return type ? to_lower(type) : "unknown";
}

std::string name_text(std::string_view der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const std::unique_ptr<X509_NAME, OpensslFree<X509_NAME_free>> name(
      d2i_X509_NAME(nullptr, &at, static_cast<long>(der.size())));
  if (name) return one_line(name.get());
  ERR_clear_error();
  return {};
}

std::size_t CertificateChain::size() const { return links_ ? links_->size() : 0; }

CertificateChain CertificateChain::from_der(std::vector<std::string> certificates) {
  auto links = std::make_shared<Links>();
  links->ders = std::move(certificates);
  CertificateChain chain;
  chain.links_ = std::move(links);
  return chain;
}

Result<CertificateChain> CertificateChain::from_pem(std::string_view pem) {
  if (pem.size() > kChainBytesMax) return Error{Fault::kTooLarge, "chain is over 1 MiB"};
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!bio) return openssl_error("reading a certificate chain");
  auto links = std::make_shared<Links>();
  std::vector<X509Ptr>* certificates = &links->decoded;
  for (;;) {
    const std::string which = "block " + std::to_string(certificates->size() + 1);
    PemBlock block;
    ERR_clear_error();
    if (PEM_read_bio(bio.get(), &block.name, &block.header, &block.data, &block.size) != 1) {
      if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return openssl_error(which + " is damaged", Fault::kInvalid);
      ERR_clear_error();
      break;
    }
    if (certificates->size() == kChainCertificatesMax)
      return Error{Fault::kTooLarge, "chain has more than 32 certificates"};
    auto certificate = certificate_of(block, which);
    if (!certificate) return std::move(certificate).error();
    certificates->push_back(std::move(*certificate));
  }
  if (certificates->empty()) return Error{Fault::kInvalid, "no CERTIFICATE block found"};
  CertificateChain chain;
  chain.links_ = std::move(links);
  return chain;
}

std::string CertificateChain::to_pem() const {
  BioPtr bio(BIO_new(BIO_s_mem()));
  check(bio != nullptr, "out of memory");
  for (std::size_t i = 0; i < size(); ++i) {
    bool is_written = false;
    if (links_->ders.empty()) {
      is_written = PEM_write_bio_X509(bio.get(), at(i)) == 1;
    } else {
      const std::string& der = links_->ders[i];
      is_written = PEM_write_bio(bio.get(), PEM_STRING_X509, "",
                                 reinterpret_cast<const unsigned char*>(der.data()),
                                 static_cast<long>(der.size())) > 0;
    }
    check(is_written, "a certificate has a PEM form");
  }
  char* text = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<std::size_t>(length));
}

X509* CertificateChain::leaf() const { return empty() ? nullptr : links_->at(0); }

X509* CertificateChain::at(std::size_t index) const {
  check(index < size(), "certificate index beyond the chain");
  return links_->at(index);
}

Result<CertificateFacts> CertificateChain::facts() const {
  if (!leaf()) return Error{Fault::kInvalid, "the chain is empty"};
  CertificateFacts facts;
  if (auto named = collect_names(leaf(), facts); !named) return std::move(named).error();
  const auto not_before = wall_time(X509_get0_notBefore(leaf()));
  const auto not_after = wall_time(X509_get0_notAfter(leaf()));
  if (!not_before || !not_after)
    return openssl_error("reading the certificate's dates", Fault::kInvalid);
  facts.not_before = *not_before;
  facts.not_after = *not_after;
  const std::string serial = serial_value(X509_get0_serialNumber(leaf()));
  if (serial.empty()) return openssl_error("reading the serial number", Fault::kInvalid);
  // Written without the sign byte, as openssl x509 -serial and the CAs' search pages do.
  const std::size_t skip = serial.size() > 1 && serial.front() == '\0' ? 1 : 0;
  facts.serial_hex = to_hex(std::string_view(serial).substr(skip));
  facts.issuer = one_line(X509_get_issuer_name(leaf()));
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned digest_size = 0;
  if (X509_digest(leaf(), EVP_sha256(), digest, &digest_size) != 1)
    return openssl_error("hashing the certificate");
  facts.fingerprint_sha256_hex = to_hex({reinterpret_cast<const char*>(digest), digest_size});
  facts.key_kind = key_kind_of(X509_get0_pubkey(leaf()));
  facts.ari_id = ari_id_of(leaf(), serial);
  ERR_clear_error();
  return facts;
}

X509StackPtr CertificateChain::issuers() const {
  X509StackPtr stack(sk_X509_new_null());
  for (std::size_t i = 1; stack && i < size(); ++i)
    if (!at(i) || sk_X509_push(stack.get(), at(i)) == 0) stack.reset();
  return stack;
}

bool use_certificate(SSL* ssl, const CertificateChain& chain, const PrivateKey& key) {
  const X509StackPtr issuers = chain.issuers();
  return issuers && chain.leaf() &&
         SSL_use_cert_and_key(ssl, chain.leaf(), key.native(), issuers.get(), 1) == 1;
}

bool CertificateChain::matches(const PrivateKey& key) const {
  const bool does = leaf() && key && X509_check_private_key(leaf(), key.native()) == 1;
  ERR_clear_error();
  return does;
}

Result<CredentialPtr> make_credential(std::string name, CertificateChain chain, PrivateKey key) {
  if (chain.empty()) return Error{Fault::kInvalid, "no certificate"};
  if (!key) return Error{Fault::kInvalid, "no private key"};
  if (!chain.matches(key))
    return Error{Fault::kInvalid, "the private key does not belong to the certificate"};
  if (auto usable = try_with_tls(chain, key); !usable) return std::move(usable).error();
  auto facts = chain.facts();
  if (!facts) return std::move(facts).error();
  auto credential = std::make_shared<Credential>();
  credential->name = std::move(name);
  credential->chain = std::move(chain);
  credential->key = std::move(key);
  credential->facts = std::move(*facts);
  return CredentialPtr(std::move(credential));
}

}  // namespace gatehouse::net
