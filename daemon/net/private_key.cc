#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "daemon/net/certificate.h"

namespace gatehouse::net {

namespace {

constexpr std::size_t kKeyBytesMax = 64 * 1024;  // RSA-16384 needs 13 KiB of PEM

std::shared_ptr<EVP_PKEY> share(EvpKeyPtr key) { return {key.release(), EVP_PKEY_free}; }

EvpKeyPtr generate_native(KeyKind kind) {
  switch (kind) {
    case KeyKind::kEcdsaP256: return EvpKeyPtr(EVP_EC_gen("P-256"));
    case KeyKind::kEcdsaP384: return EvpKeyPtr(EVP_EC_gen("P-384"));
    case KeyKind::kRsa2048: return EvpKeyPtr(EVP_RSA_gen(2048));
    case KeyKind::kRsa3072: return EvpKeyPtr(EVP_RSA_gen(3072));
    case KeyKind::kRsa4096: return EvpKeyPtr(EVP_RSA_gen(4096));
  }
  return nullptr;
}

/// The content of a memory BIO that held a secret; the BIO's own copy is wiped.
std::string take_secret(BIO* bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);
  std::string content(bytes, static_cast<std::size_t>(size));
  OPENSSL_cleanse(bytes, content.size());
  return content;
}

}  // namespace

Result<PrivateKey> PrivateKey::generate(KeyKind kind) {
  EvpKeyPtr native = generate_native(kind);
  if (!native) return openssl_error("generating a private key");
  PrivateKey key;
  key.key_ = share(std::move(native));
  return key;
}

Result<PrivateKey> PrivateKey::from_pem(std::string_view pem) {
  if (pem.size() > kKeyBytesMax) return Error{Fault::kTooLarge, "private key is over 64 KiB"};
  if (pem.find("ENCRYPTED") != pem.npos)
    return Error{Fault::kUnsupported, "private key is encrypted with a passphrase"};
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!bio) return openssl_error("reading a private key");
  // The empty passphrase keeps OpenSSL from asking for one at the terminal.
  char no_passphrase[] = "";
  EvpKeyPtr native(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, no_passphrase));
  if (!native) {
    if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE ||
        pem.find("PRIVATE KEY-----") == pem.npos) {
      ERR_clear_error();
      return Error{Fault::kInvalid, "no PRIVATE KEY block found"};
    }
    return openssl_error("reading a private key", Fault::kInvalid);
  }
  ERR_clear_error();  // The decoders that did not fit leave their complaints behind.
  PrivateKey key;
  key.key_ = share(std::move(native));
  return key;
}

Result<PrivateKey> PrivateKey::from_der(std::string_view pkcs8) {
  if (pkcs8.size() > kKeyBytesMax) return Error{Fault::kTooLarge, "private key is over 64 KiB"};
  const auto* begin = reinterpret_cast<const unsigned char*>(pkcs8.data());
  const unsigned char* at = begin;
  std::unique_ptr<PKCS8_PRIV_KEY_INFO, OpensslFree<PKCS8_PRIV_KEY_INFO_free>> info(
      d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, static_cast<long>(pkcs8.size())));
  if (!info) return openssl_error("reading a PKCS#8 private key", Fault::kInvalid);
  if (at != begin + pkcs8.size()) return Error{Fault::kInvalid, "bytes behind the private key"};
  EvpKeyPtr native(EVP_PKCS82PKEY(info.get()));
  if (!native) return openssl_error("reading a PKCS#8 private key", Fault::kInvalid);
  ERR_clear_error();
  PrivateKey key;
  key.key_ = share(std::move(native));
  return key;
}

Result<std::string> PrivateKey::to_pem() const {
  check(key_ != nullptr, "an empty private key has no PEM form");
  BioPtr bio(BIO_new(BIO_s_secmem()));
  if (!bio || PEM_write_bio_PKCS8PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0, nullptr,
                                            nullptr) != 1)
    return openssl_error("writing a private key");
  return take_secret(bio.get());
}

Result<std::string> PrivateKey::to_der() const {
  check(key_ != nullptr, "an empty private key has no DER form");
  BioPtr bio(BIO_new(BIO_s_secmem()));
  if (!bio ||
      i2d_PKCS8PrivateKey_bio(bio.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return openssl_error("writing a private key");
  return take_secret(bio.get());
}

}  // namespace gatehouse::net
