#include "daemon/net/record_sealer.h"

#include <gtest/gtest.h>
#include <linux/tls.h>

#include <cstring>
#include <string>

namespace gatehouse::net {
namespace {

tls12_crypto_info_aes_gcm_128 keys(std::uint64_t sequence) {
  tls12_crypto_info_aes_gcm_128 info{};
  info.info.version = TLS1_3_VERSION;
  info.info.cipher_type = TLS_CIPHER_AES_GCM_128;
  std::memset(info.key, 'k', sizeof info.key);
  std::memset(info.salt, 's', sizeof info.salt);
  std::memset(info.iv, 'i', sizeof info.iv);
  for (int i = 0; i < 8; ++i) info.rec_seq[7 - i] = static_cast<unsigned char>(sequence >> (8 * i));
  return info;
}

/// What a receiver that has the keys makes of a record; empty: it does not open.
std::string open(const std::string& record, std::uint64_t sequence) {
  const auto info = keys(0);
  std::string nonce = std::string(4, 's') + std::string(8, 'i');
  for (int i = 0; i < 8; ++i) nonce[11 - i] ^= static_cast<char>(sequence >> (8 * i));
  const auto* bytes = reinterpret_cast<const unsigned char*>(record.data());
  const int size = static_cast<int>(record.size()) - 5 - 16;
  std::string plain(static_cast<std::size_t>(size), '\0');
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  int written = 0;
  EVP_DecryptInit_ex(context, EVP_aes_128_gcm(), nullptr, info.key,
                     reinterpret_cast<const unsigned char*>(nonce.data()));
  EVP_DecryptUpdate(context, nullptr, &written, bytes, 5);
  EVP_DecryptUpdate(context, reinterpret_cast<unsigned char*>(plain.data()), &written, bytes + 5,
                    size);
  EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16,
                      const_cast<unsigned char*>(bytes) + 5 + size);
  const bool is_whole =
      EVP_DecryptFinal_ex(context, reinterpret_cast<unsigned char*>(plain.data()), &written) == 1;
  EVP_CIPHER_CTX_free(context);
  return is_whole ? plain : std::string();
}

std::string seal(RecordSealer& sealer, std::uint8_t type, const std::string& plain) {
  std::string record(plain.size() + RecordSealer::kOverhead, '\0');
  EXPECT_TRUE(sealer.seal(type, plain, record.data()));
  return record;
}

TEST(RecordSealer, MakesRecordsThatOpenInTheirOrderAlone) {
  const std::uint64_t first = 0xfffffffe;  // The number carries into its upper half.
  const auto info = keys(first);
  auto sealer = RecordSealer::from_kernel_form(info.info);
  ASSERT_TRUE(sealer);
  for (std::uint64_t number = first; number < first + 5; ++number) {
    const std::string text = "record " + std::to_string(number);
    if (number % 2 == 0) sealer->shrink();
    const std::string record = seal(*sealer, SSL3_RT_APPLICATION_DATA, text);
    EXPECT_EQ(open(record, number), text + char{SSL3_RT_APPLICATION_DATA});
    EXPECT_EQ(open(record, number + 1), "");
  }
}

TEST(RecordSealer, HidesTheTypeAndSaysTheLength) {
  const auto info = keys(7);
  auto sealer = RecordSealer::from_kernel_form(info.info);
  ASSERT_TRUE(sealer);
  const std::string record = seal(*sealer, SSL3_RT_ALERT, std::string("\1\0", 2));
  EXPECT_EQ(record.substr(0, 5), std::string("\x17\3\3\0\x13", 5));
  EXPECT_EQ(open(record, 7), std::string("\1\0", 2) + char{SSL3_RT_ALERT});
  const std::string longest(16384, 'x');
  EXPECT_EQ(open(seal(*sealer, SSL3_RT_APPLICATION_DATA, longest), 8),
            longest + char{SSL3_RT_APPLICATION_DATA});
}

TEST(RecordSealer, LeavesWhatItDoesNotKnowToOpenssl) {
  auto old = keys(0);
  old.info.version = TLS1_2_VERSION;
  EXPECT_FALSE(RecordSealer::from_kernel_form(old.info));
  auto other = keys(0);
  other.info.cipher_type = TLS_CIPHER_AES_CCM_128;
  EXPECT_FALSE(RecordSealer::from_kernel_form(other.info));
}

}  // namespace
}  // namespace gatehouse::net
