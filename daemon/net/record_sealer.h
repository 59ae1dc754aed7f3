#pragma once
// Protects the records of one direction of a TLS 1.3 connection (RFC 8446 section 5.2), from the
// plain text of the caller straight to where the record is to be: OpenSSL's own way there has two
// more copies of each octet. OpenSSL hands over cipher, key, IV and sequence number in the form
// that it has for kernels that do this (SSL_OP_ENABLE_KTLS). From then on each number is used here,
// and used once: it counts up with each record and never back. Knows no socket.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "daemon/net/openssl.h"

struct tls_crypto_info;  // linux/tls.h

namespace gatehouse::net {

class RecordSealer {
 public:
  /// Header, content type and tag: by how much a record is longer than what it holds.
  static constexpr std::size_t kOverhead = 5 + 1 + 16;

  /// From the head of OpenSSL's `struct tls12_crypto_info_*` (linux/tls.h). Nothing: another
  /// version than TLS 1.3, or a cipher other than AES-GCM and ChaCha20-Poly1305; OpenSSL then goes
  /// on by itself.
  static std::optional<RecordSealer> from_kernel_form(const tls_crypto_info& info);

  RecordSealer(RecordSealer&& other) noexcept = default;
  RecordSealer& operator=(RecordSealer&& other) noexcept = default;
  ~RecordSealer();

  /// Writes a record of plain.size() + kOverhead octets; at most 2^14 octets of plain text. False:
  /// OpenSSL failed, and the connection cannot go on.
  bool seal(std::uint8_t content_type, std::string_view plain, char* to);

  /// Frees what a connection that is silent does not need; made anew by the next seal().
  void shrink() { context_.reset(); }

 private:
  static constexpr std::size_t kNonceBytes = 12, kKeyBytesMax = 32;
  using ContextPtr = std::unique_ptr<EVP_CIPHER_CTX, OpensslFree<EVP_CIPHER_CTX_free>>;

  RecordSealer() = default;
  bool prepare();

  const EVP_CIPHER* cipher_ = nullptr;
  std::array<unsigned char, kKeyBytesMax> key_{};
  std::array<unsigned char, kNonceBytes> iv_{};
  std::uint64_t sequence_ = 0;
  ContextPtr context_;
};

}  // namespace gatehouse::net
