#include "daemon/net/record_sealer.h"

#include <linux/tls.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <span>

namespace gatehouse::net {

namespace {

using CipherPtr = std::unique_ptr<EVP_CIPHER, OpensslFree<EVP_CIPHER_free>>;
using Octets = std::span<const unsigned char>;

constexpr std::size_t kTagBytes = 16;

/// Fetched once: looking a cipher up takes locks.
const EVP_CIPHER* cipher_of(std::uint16_t kernel_type) {
  static const CipherPtr aes_128(EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr));
  static const CipherPtr aes_256(EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr));
  static const CipherPtr chacha(EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr));
  switch (kernel_type) {
    case TLS_CIPHER_AES_GCM_128: return aes_128.get();
    case TLS_CIPHER_AES_GCM_256: return aes_256.get();
    case TLS_CIPHER_CHACHA20_POLY1305: return chacha.get();
    default: return nullptr;
  }
}

std::uint64_t from_big_endian(Octets octets) {
  std::uint64_t number = 0;
  for (const unsigned char octet : octets) number = number << 8 | octet;
  return number;
}

}  // namespace

std::optional<RecordSealer> RecordSealer::from_kernel_form(const tls_crypto_info& info) {
  if (info.version != TLS1_3_VERSION) return std::nullopt;
  RecordSealer sealer;
  sealer.cipher_ = cipher_of(info.cipher_type);
  if (!sealer.cipher_) return std::nullopt;
  const auto take = [&](const auto& keys) {
    const auto salt_end = std::copy(std::begin(keys.salt), std::end(keys.salt), sealer.iv_.begin());
    std::copy(std::begin(keys.iv), std::end(keys.iv), salt_end);
    std::copy(std::begin(keys.key), std::end(keys.key), sealer.key_.begin());
    sealer.sequence_ = from_big_endian(keys.rec_seq);
  };
  switch (info.cipher_type) {
    case TLS_CIPHER_AES_GCM_128:
      take(reinterpret_cast<const tls12_crypto_info_aes_gcm_128&>(info));
      break;
    case TLS_CIPHER_AES_GCM_256:
      take(reinterpret_cast<const tls12_crypto_info_aes_gcm_256&>(info));
      break;
    default: {
      // Its salt has no octets, which is no array in C++.
      const auto& keys = reinterpret_cast<const tls12_crypto_info_chacha20_poly1305&>(info);
      std::copy(std::begin(keys.iv), std::end(keys.iv), sealer.iv_.begin());
      std::copy(std::begin(keys.key), std::end(keys.key), sealer.key_.begin());
      sealer.sequence_ = from_big_endian(keys.rec_seq);
    }
  }
  return sealer;
}

RecordSealer::~RecordSealer() {
  OPENSSL_cleanse(key_.data(), key_.size());
  OPENSSL_cleanse(iv_.data(), iv_.size());
}

bool RecordSealer::prepare() {
  if (context_) return true;
  context_.reset(EVP_CIPHER_CTX_new());
  return context_ &&
         EVP_EncryptInit_ex2(context_.get(), cipher_, key_.data(), nullptr, nullptr) == 1;
}

bool RecordSealer::seal(std::uint8_t content_type, std::string_view plain, char* to) {
  if (!prepare()) return false;
  // Section 5.3: the number, in the octets of the IV from the right.
  std::array<unsigned char, kNonceBytes> nonce = iv_;
  for (std::size_t i = 0; i < sizeof sequence_; ++i)
    nonce[kNonceBytes - 1 - i] ^= static_cast<unsigned char>(sequence_ >> (8 * i));
  ++sequence_;

  auto* const record = reinterpret_cast<unsigned char*>(to);
  const std::size_t sealed = plain.size() + 1 + kTagBytes;
  const std::array<unsigned char, 5> header = {SSL3_RT_APPLICATION_DATA, 3, 3,
                                               static_cast<unsigned char>(sealed >> 8),
                                               static_cast<unsigned char>(sealed & 0xff)};
  std::copy(header.begin(), header.end(), record);
  unsigned char* const body = record + header.size();
  EVP_CIPHER_CTX* const context = context_.get();
  int written = 0;
  return EVP_EncryptInit_ex2(context, nullptr, nullptr, nonce.data(), nullptr) == 1 &&
         EVP_EncryptUpdate(context, nullptr, &written, header.data(), header.size()) == 1 &&
         EVP_EncryptUpdate(context, body, &written,
                           reinterpret_cast<const unsigned char*>(plain.data()),
                           static_cast<int>(plain.size())) == 1 &&
         EVP_EncryptUpdate(context, body + plain.size(), &written, &content_type, 1) == 1 &&
         EVP_EncryptFinal_ex(context, body + plain.size() + 1, &written) == 1 &&
         EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, body + plain.size() + 1) ==
             1;
}

}  // namespace gatehouse::net
