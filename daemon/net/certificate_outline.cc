#include "daemon/net/certificate_outline.h"

#include <openssl/err.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <utility>

#include "daemon/base/text.h"
#include "daemon/net/address.h"

namespace gatehouse::net {

namespace {

constexpr unsigned char kInteger = 0x02, kBitString = 0x03, kOctetString = 0x04, kOid = 0x06,
                        kUtcTime = 0x17, kGeneralizedTime = 0x18, kSequence = 0x30, kSet = 0x31,
                        kBoolean = 0x01;
constexpr unsigned char kExplicit0 = 0xa0, kExplicit3 = 0xa3;
constexpr std::size_t kChainCertificatesMax = 32;

/// Takes elements off the front of DER (X.690 section 10): short tags, minimal definite lengths.
class DerReader {
 public:
  explicit DerReader(std::string_view bytes) : rest_(bytes) {}

  bool is_at_end() const { return rest_.empty(); }
  bool is_next(unsigned char tag) const {
    return !rest_.empty() && static_cast<unsigned char>(rest_[0]) == tag;
  }
  unsigned char next_tag() const { return static_cast<unsigned char>(rest_[0]); }

  /// The content of the next element; with `whole` also its header. Nothing: another tag, damaged.
  std::optional<std::string_view> take(unsigned char tag, std::string_view* whole = nullptr) {
    if (!is_next(tag) || (tag & 0x1f) == 0x1f || rest_.size() < 2) return std::nullopt;
    std::size_t size = static_cast<unsigned char>(rest_[1]), header = 2;
    if (size >= 0x80) {
      const std::size_t count = size & 0x7f;
      if (count == 0 || count > 3 || rest_.size() < 2 + count) return std::nullopt;
      size = 0;
      for (std::size_t i = 0; i < count; ++i)
        size = size << 8 | static_cast<unsigned char>(rest_[2 + i]);
      header += count;
      if (size < 0x80 || (count > 1 && size >> (8 * (count - 1)) == 0)) return std::nullopt;
    }
    if (rest_.size() - header < size) return std::nullopt;
    const std::string_view content = rest_.substr(header, size);
    if (whole) *whole = rest_.substr(0, header + size);
    rest_.remove_prefix(header + size);
    return content;
  }

 private:
  std::string_view rest_;
};

/// An object identifier as OpenSSL takes it (X.690 section 8.19): whole and minimal.
std::optional<std::string_view> take_oid(DerReader& from) {
  const auto id = from.take(kOid);
  if (!id || id->empty() || (id->back() & 0x80) != 0) return std::nullopt;
  bool is_first = true;  // of an arc's bytes
  for (const char c : *id) {
    if (is_first && c == '\x80') return std::nullopt;
    is_first = (c & 0x80) == 0;
  }
  return id;
}

bool is_clean_integer(std::string_view value) {
  if (value.empty()) return false;
  const bool has_padding = value.size() > 1 && value[0] == '\0' && (value[1] & 0x80) == 0;
  return !has_padding && (value[0] & 0x80) == 0;  // None of ours is negative.
}

/// Name: SEQUENCE OF SET OF SEQUENCE {OID, string}.
bool is_name(std::string_view content) {
  DerReader name(content);
  while (!name.is_at_end()) {
    const auto set = name.take(kSet);
    if (!set || set->empty()) return false;
    DerReader attributes(*set);
    while (!attributes.is_at_end()) {
      const auto attribute = attributes.take(kSequence);
      if (!attribute) return false;
      DerReader parts(*attribute);
      // UTF8String, PrintableString or IA5String; others are left to OpenSSL.
      if (!take_oid(parts) || parts.is_at_end()) return false;
      const unsigned char tag = parts.next_tag();
      if (tag != 0x0c && tag != 0x13 && tag != 0x16) return false;
      const auto text = parts.take(tag);
      if (!text || !parts.is_at_end() || !is_utf8(*text)) return false;
    }
  }
  return true;
}

/// UTCTime YYMMDDHHMMSSZ or GeneralizedTime YYYYMMDDHHMMSSZ (RFC 5280 section 4.1.2.5).
std::optional<WallTime> take_time(DerReader& from) {
  const bool is_utc = from.is_next(kUtcTime);
  const auto text = from.take(is_utc ? kUtcTime : kGeneralizedTime);
  if (!text || text->size() != (is_utc ? 13u : 15u) || text->back() != 'Z') return std::nullopt;
  if (!std::all_of(text->begin(), text->end() - 1, is_digit)) return std::nullopt;
  const std::size_t year_size = is_utc ? 2 : 4;
  std::string year(text->substr(0, year_size));
  if (is_utc) year.insert(0, year >= "50" ? "19" : "20");
  const auto part = [&](std::size_t index) { return text->substr(year_size + 2 * index, 2); };
  std::string rfc3339 = std::move(year);
  rfc3339.append("-").append(part(0)).append("-").append(part(1)).append("T");
  rfc3339.append(part(2)).append(":").append(part(3)).append(":").append(part(4)).append("Z");
  return parse_rfc3339(rfc3339);
}

bool read_alternative_names(std::string_view value, CertificateOutline& into) {
  DerReader outer(value);
  const auto list = outer.take(kSequence);
  if (!list || !outer.is_at_end()) return false;
  DerReader names(*list);
  while (!names.is_at_end()) {
    const unsigned char tag = names.next_tag();
    const auto name = names.take(tag);
    if (!name) return false;
    if (tag == 0x82) {
      const bool is_clean =
          std::all_of(name->begin(), name->end(), [](char c) { return c > ' ' && c < 0x7f; });
      if (name->empty() || !is_clean) return false;
      into.dns_names.push_back(*name);
    } else if (tag == 0x87) {
      if (name->size() != 4 && name->size() != 16) return false;
      into.ip_addresses.push_back(*name);
    } else if (tag != 0x81 && tag != 0x86) {  // An e-mail address, a URI: not for us, but simple.
      return false;
    }
  }
  return true;
}

bool read_authority_key_id(std::string_view value, CertificateOutline& into) {
  DerReader outer(value);
  const auto parts = outer.take(kSequence);
  if (!parts || !outer.is_at_end()) return false;
  DerReader reader(*parts);
  const auto id = reader.take(0x80);
  if (!id || !reader.is_at_end()) return false;  // Hardly anybody names the issuer here.
  into.authority_key_id = *id;
  return true;
}

bool read_extensions(std::string_view content, CertificateOutline& into) {
  constexpr std::string_view kAlternativeNames("\x55\x1d\x11"), kAuthorityKeyId("\x55\x1d\x23");
  DerReader outer(content);
  const auto list = outer.take(kSequence);
  if (!list || !outer.is_at_end()) return false;
  DerReader extensions(*list);
  std::vector<std::string_view> seen;
  while (!extensions.is_at_end()) {
    const auto extension = extensions.take(kSequence);
    if (!extension) return false;
    DerReader parts(*extension);
    const auto id = take_oid(parts);
    if (!id || std::find(seen.begin(), seen.end(), *id) != seen.end()) return false;
    seen.push_back(*id);
    if (parts.is_next(kBoolean)) {
      const auto critical = parts.take(kBoolean);
      if (!critical || *critical != "\xff") return false;
    }
    const auto value = parts.take(kOctetString);
    if (!value || !parts.is_at_end()) return false;
    if (*id == kAlternativeNames && !read_alternative_names(*value, into)) return false;
    if (*id == kAuthorityKeyId && !read_authority_key_id(*value, into)) return false;
  }
  return true;
}

bool read_body(std::string_view content, CertificateOutline& into) {
  DerReader body(content);
  const auto version = body.take(kExplicit0);
  if (!version || *version != std::string_view("\x02\x01\x02", 3)) return false;
  const auto serial = body.take(kInteger);
  if (!serial || !is_clean_integer(*serial)) return false;
  into.serial = *serial;
  if (!body.take(kSequence, &into.signed_with)) return false;
  const auto issuer = body.take(kSequence, &into.issuer);
  const auto validity = body.take(kSequence);
  const auto subject = body.take(kSequence, &into.subject);
  if (!issuer || !validity || !subject || !is_name(*issuer) || !is_name(*subject)) return false;
  DerReader times(*validity);
  const auto not_before = take_time(times), not_after = take_time(times);
  if (!not_before || !not_after || !times.is_at_end()) return false;
  into.not_before = *not_before;
  into.not_after = *not_after;
  if (!body.take(kSequence, &into.public_key)) return false;
  const auto extensions = body.take(kExplicit3);
  return extensions && body.is_at_end() && read_extensions(*extensions, into);
}

bool is_usual_signature(std::string_view algorithm) {
  DerReader outer(algorithm);
  const auto content = outer.take(kSequence);
  if (!content) return false;
  DerReader parts(*content);
  const auto id = take_oid(parts);
  if (!id) return false;
  // ecdsa-with-SHA256, 384 and 512; sha256, 384 and 512WithRSAEncryption.
  static constexpr std::string_view kEcdsa("\x2a\x86\x48\xce\x3d\x04\x03"),
      kRsa("\x2a\x86\x48\x86\xf7\x0d\x01\x01");
  const char last = id->back();
  if (id->substr(0, id->size() - 1) == kEcdsa) return last >= 2 && last <= 4 && parts.is_at_end();
  return id->substr(0, id->size() - 1) == kRsa && last >= 11 && last <= 13;
}

bool is_usual_key(std::string_view info) {
  static constexpr std::string_view kEc("\x2a\x86\x48\xce\x3d\x02\x01"),
      kRsa("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"), kP256("\x2a\x86\x48\xce\x3d\x03\x01\x07"),
      kP384("\x2b\x81\x04\x00\x22", 5), kP521("\x2b\x81\x04\x00\x23", 5);
  DerReader outer(info);
  const auto content = outer.take(kSequence);
  if (!content) return false;
  DerReader parts(*content);
  const auto algorithm = parts.take(kSequence);
  const auto bits = parts.take(kBitString);
  if (!algorithm || !bits || !parts.is_at_end() || !bits->starts_with('\0')) return false;
  DerReader naming(*algorithm);
  const auto id = take_oid(naming);
  if (!id) return false;
  if (*id == kEc) {
    const auto curve = take_oid(naming);
    return curve && (*curve == kP256 || *curve == kP384 || *curve == kP521);
  }
  if (*id != kRsa) return false;
  DerReader key(bits->substr(1));
  const auto numbers = key.take(kSequence);
  if (!numbers) return false;
  DerReader pair(*numbers);
  const auto modulus = pair.take(kInteger);
  constexpr std::size_t kLeastBytes = 2048 / 8;  // and the sign's zero before them
  return modulus && is_clean_integer(*modulus) && modulus->size() > kLeastBytes;
}

/// As people read it. Most certificates of one machine have the same issuer.
std::string issuer_text(std::string_view der) {
  thread_local std::string last_der, last_text;
  if (der == last_der) return last_text;
  last_der = der;
  last_text = name_text(der);
  return last_text;
}

std::string fingerprint_of(std::string_view der) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(der.data()), der.size(), digest);
  return to_hex({reinterpret_cast<const char*>(digest), sizeof digest});
}

CertificateFacts facts_of(const CertificateOutline& leaf, std::string_view der, std::string kind) {
  CertificateFacts facts;
  for (const std::string_view name : leaf.dns_names) facts.dns_names.push_back(to_lower(name));
  for (const std::string_view bytes : leaf.ip_addresses)
    facts.ip_addresses.push_back(
        IpAddress::from_bytes(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                              bytes.size() == 16)
            .to_string());
  facts.not_before = leaf.not_before;
  facts.not_after = leaf.not_after;
  const std::size_t skip = leaf.serial.size() > 1 && leaf.serial.front() == '\0' ? 1 : 0;
  facts.serial_hex = to_hex(leaf.serial.substr(skip));
  facts.issuer = issuer_text(leaf.issuer);
  facts.fingerprint_sha256_hex = fingerprint_of(der);
  facts.key_kind = std::move(kind);
  if (!leaf.authority_key_id.empty())
    facts.ari_id = to_base64url(leaf.authority_key_id) + "." + to_base64url(leaf.serial);
  return facts;
}

}  // namespace

std::optional<CertificateOutline> outline_of(std::string_view der) {
  CertificateOutline outline;
  DerReader outer(der);
  const auto content = outer.take(kSequence);
  if (!content || !outer.is_at_end()) return std::nullopt;
  DerReader certificate(*content);
  const auto body = certificate.take(kSequence);
  std::string_view algorithm;
  if (!body || !certificate.take(kSequence, &algorithm)) return std::nullopt;
  const auto signature = certificate.take(kBitString);
  if (!signature || !signature->starts_with('\0') || !certificate.is_at_end()) return std::nullopt;
  if (!read_body(*body, outline) || outline.signed_with != algorithm) return std::nullopt;
  return outline;
}

bool is_usual_for_tls(const CertificateOutline& outline) {
  return is_usual_signature(outline.signed_with) && is_usual_key(outline.public_key);
}

std::optional<std::vector<std::string>> certificates_in_pem(std::string_view pem) {
  constexpr std::string_view kAnyBegin = "-----BEGIN ", kBegin = "-----BEGIN CERTIFICATE-----",
                             kEnd = "-----END CERTIFICATE-----";
  std::vector<std::string> all;
  for (auto at = pem.find(kAnyBegin); at != pem.npos; at = pem.find(kAnyBegin)) {
    pem.remove_prefix(at);
    if (!pem.starts_with(kBegin) || all.size() == kChainCertificatesMax) return std::nullopt;
    pem.remove_prefix(kBegin.size());
    const auto end = pem.find(kEnd);
    if (end == pem.npos) return std::nullopt;
    std::string text;
    text.reserve(end);
    for (const char c : pem.substr(0, end))
      if (c != '\n' && c != '\r') text.push_back(c);
    auto der = from_base64(text);
    if (!der) return std::nullopt;
    all.push_back(std::move(*der));
    pem.remove_prefix(end + kEnd.size());
  }
  if (all.empty()) return std::nullopt;
  return all;
}

std::optional<PublicKey> public_key_of(const PrivateKey& key) {
  PublicKey made;
  unsigned char* der = nullptr;
  const int size = key ? i2d_PUBKEY(key.native(), &der) : 0;
  if (size > 0)
    made.info.assign(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  ERR_clear_error();
  if (size <= 0) return std::nullopt;
  made.kind = key_kind_of(key.native());
  return made;
}

CredentialPtr make_credential_by_outline(std::string name, std::string_view chain_pem,
                                         const PrivateKey& key, const PublicKey& public_key) {
  auto ders = certificates_in_pem(chain_pem);
  if (!ders) return nullptr;
  std::optional<CertificateOutline> leaf;
  for (const std::string& der : *ders) {
    auto outline = outline_of(der);
    if (!outline || !is_usual_for_tls(*outline)) return nullptr;
    if (!leaf) leaf = std::move(outline);
  }
  if (leaf->public_key != public_key.info) return nullptr;
  auto credential = std::make_shared<Credential>();
  credential->name = std::move(name);
  credential->key = key;
  credential->facts = facts_of(*leaf, ders->front(), public_key.kind);
  credential->chain = CertificateChain::from_der(std::move(*ders));
  return credential;
}

}  // namespace gatehouse::net
