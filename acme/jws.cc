#include "acme/jws.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdint>
#include <vector>

#include "daemon/base/text.h"
#include "daemon/net/openssl.h"

namespace gatehouse::acme {
namespace {

using BignumPtr = std::unique_ptr<BIGNUM, net::OpensslFree<BN_free>>;
using EcdsaSignaturePtr = std::unique_ptr<ECDSA_SIG, net::OpensslFree<ECDSA_SIG_free>>;

constexpr int kP256Bytes = 32;

/// One number of the public key, big endian, base64url. Coordinates keep their leading zeros
/// (RFC 7518 section 6.2.1.2), RSA's numbers have none (section 6.3.1).
Result<std::string> public_number(EVP_PKEY* key, const char* parameter, int fixed_bytes) {
  BIGNUM* raw = nullptr;
  if (EVP_PKEY_get_bn_param(key, parameter, &raw) != 1)
    return net::openssl_error("reading the account key", Fault::kInvalid);
  const BignumPtr number(raw);
  std::string bytes(static_cast<std::size_t>(fixed_bytes > 0 ? fixed_bytes : BN_num_bytes(raw)),
                    '\0');
  auto* out = reinterpret_cast<unsigned char*>(bytes.data());
  if (BN_bn2binpad(raw, out, static_cast<int>(bytes.size())) < 0)
    return Error{Fault::kInvalid, "the account key's numbers are too large"};
  return to_base64url(bytes);
}

Result<std::string> ecdsa_jwk(EVP_PKEY* key) {
  auto x = public_number(key, OSSL_PKEY_PARAM_EC_PUB_X, kP256Bytes);
  if (!x) return std::move(x).error();
  auto y = public_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, kP256Bytes);
  if (!y) return std::move(y).error();
  return R"({"crv":"P-256","kty":"EC","x":")" + *x + R"(","y":")" + *y + "\"}";
}

Result<std::string> rsa_jwk(EVP_PKEY* key) {
  auto e = public_number(key, OSSL_PKEY_PARAM_RSA_E, 0);
  if (!e) return std::move(e).error();
  auto n = public_number(key, OSSL_PKEY_PARAM_RSA_N, 0);
  if (!n) return std::move(n).error();
  return R"({"e":")" + *e + R"(","kty":"RSA","n":")" + *n + "\"}";
}

bool is_p256(EVP_PKEY* key) {
  char group[64] = "";
  return EVP_PKEY_get_group_name(key, group, sizeof group, nullptr) == 1 &&
         (std::string_view(group) == "prime256v1" || std::string_view(group) == "P-256");
}

/// OpenSSL's DER signature as r||s.
Result<std::string> to_jose(std::string_view der) {
  const auto* in = reinterpret_cast<const unsigned char*>(der.data());
  const EcdsaSignaturePtr parts(d2i_ECDSA_SIG(nullptr, &in, static_cast<long>(der.size())));
  if (!parts) return net::openssl_error("signing with the account key", Fault::kInternal);
  std::string jose(2 * kP256Bytes, '\0');
  auto* out = reinterpret_cast<unsigned char*>(jose.data());
  if (BN_bn2binpad(ECDSA_SIG_get0_r(parts.get()), out, kP256Bytes) < 0 ||
      BN_bn2binpad(ECDSA_SIG_get0_s(parts.get()), out + kP256Bytes, kP256Bytes) < 0)
    return net::openssl_error("signing with the account key", Fault::kInternal);
  return jose;
}

std::string hmac_sha256(std::string_view key, std::string_view message) {
  std::string code(32, '\0');
  const auto* in = reinterpret_cast<const unsigned char*>(message.data());
  auto* out = reinterpret_cast<unsigned char*>(code.data());
  const bool is_done = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), in,
                            message.size(), out, nullptr) != nullptr;
  check(is_done, "HMAC-SHA-256 is not available in OpenSSL");
  return code;
}

/// RFC 7515 section 7.2.2.
std::string flattened(std::string_view protected64, std::string_view payload64,
                      std::string_view signature) {
  std::string jws = R"({"protected":")";
  jws.append(protected64).append(R"(","payload":")").append(payload64);
  return jws.append(R"(","signature":")").append(to_base64url(signature)).append("\"}");
}

}  // namespace

Result<AccountKey> AccountKey::generate() {
  auto key = net::PrivateKey::generate(net::KeyKind::kEcdsaP256);
  if (!key) return std::move(key).error().in("generating an account key");
  return from_key(std::move(*key));
}

Result<AccountKey> AccountKey::from_pem(std::string_view pem) {
  auto key = net::PrivateKey::from_pem(pem);
  if (!key) return std::move(key).error().in("reading the account key");
  return from_key(std::move(*key));
}

Result<AccountKey> AccountKey::from_key(net::PrivateKey key) {
  AccountKey made;
  EVP_PKEY* native = key.native();
  check(native != nullptr, "an account key without a key");
  made.is_ecdsa_ = EVP_PKEY_is_a(native, "EC") == 1;
  if (made.is_ecdsa_ ? !is_p256(native) : EVP_PKEY_is_a(native, "RSA") != 1)
    return Error{Fault::kUnsupported, "an account key must be ECDSA P-256 or RSA"};
  auto jwk = made.is_ecdsa_ ? ecdsa_jwk(native) : rsa_jwk(native);
  if (!jwk) return std::move(jwk).error();
  made.jwk_ = std::move(*jwk);
  made.thumbprint_ = jwk_thumbprint(made.jwk_);
  made.key_ = std::move(key);
  return made;
}

Result<std::string> AccountKey::sign(std::string_view message) const {
  check(static_cast<bool>(key_), "signing without an account key");
  const net::EvpDigestPtr digest(EVP_MD_CTX_new());
  const auto* in = reinterpret_cast<const unsigned char*>(message.data());
  std::size_t size = 0;
  if (!digest ||
      EVP_DigestSignInit(digest.get(), nullptr, EVP_sha256(), nullptr, key_.native()) != 1 ||
      EVP_DigestSign(digest.get(), nullptr, &size, in, message.size()) != 1)
    return net::openssl_error("signing with the account key", Fault::kInternal);
  std::string signature(size, '\0');
  auto* out = reinterpret_cast<unsigned char*>(signature.data());
  if (EVP_DigestSign(digest.get(), out, &size, in, message.size()) != 1)
    return net::openssl_error("signing with the account key", Fault::kInternal);
  signature.resize(size);
  if (!is_ecdsa_) return signature;
  return to_jose(signature);
}

std::string sha256(std::string_view data) {
  std::string digest(32, '\0');
  auto* out = reinterpret_cast<unsigned char*>(digest.data());
  const bool ok = EVP_Digest(data.data(), data.size(), out, nullptr, EVP_sha256(), nullptr) == 1;
  check(ok, "SHA-256 is not available in OpenSSL");
  return digest;
}

std::string jwk_thumbprint(std::string_view canonical_jwk) {
  return to_base64url(sha256(canonical_jwk));
}

std::string key_authorization(std::string_view token, const AccountKey& key) {
  return std::string(token) + "." + key.thumbprint();
}

Result<std::string> sign_jws(const AccountKey& key, const JwsHeader& header,
                             std::string_view payload) {
  boost::json::object protect;
  protect["alg"] = key.algorithm();
  protect["nonce"] = header.nonce;
  protect["url"] = header.url;
  std::string text;
  if (header.account_url.empty()) {
    // The JWK is canonical JSON already; put in as it is, so that it has one spelling everywhere.
    text = boost::json::serialize(protect);
    text.insert(text.size() - 1, ",\"jwk\":" + key.jwk());
  } else {
    protect["kid"] = header.account_url;
    text = boost::json::serialize(protect);
  }
  const std::string protected64 = to_base64url(text);
  const std::string payload64 = to_base64url(payload);
  auto signature = key.sign(protected64 + "." + payload64);
  if (!signature) return std::move(signature).error();
  return flattened(protected64, payload64, *signature);
}

std::string sign_external_account(const ExternalAccount& account, const AccountKey& key,
                                  std::string_view url) {
  boost::json::object protect;
  protect["alg"] = "HS256";
  protect["kid"] = account.key_id;
  protect["url"] = url;
  const std::string protected64 = to_base64url(boost::json::serialize(protect));
  const std::string payload64 = to_base64url(key.jwk());
  return flattened(protected64, payload64,
                   hmac_sha256(account.hmac_key, protected64 + "." + payload64));
}

}  // namespace gatehouse::acme
