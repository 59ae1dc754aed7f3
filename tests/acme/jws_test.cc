#include "acme/jws.h"

#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "daemon/base/text.h"

namespace gatehouse::acme {
namespace {

// RFC 7515 appendix A.3.1 as PKCS#8.
constexpr std::string_view kEcdsaPem = R"(-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff
H1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp
7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt
-----END PRIVATE KEY-----
)";

// RFC 7515 appendix A.2.1 as PKCS#8.
constexpr std::string_view kRsaPem = R"(-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCh+BYK4uPJtGXO
jS1lYmM2K5J9vinh8CR3/BYlzJChNuOL2TSXxbbqY913EeZ8dCn5VrD7io8ImtxL
aYk8wTM/U+3QGbh3hCUv7JFP5IV3aVlL6kKA0ywPVb9ilE8TA5a8bpvfbr3SvaNn
juygxmj3AbONv/s4yDQs4v5tJ/reSlpIdJed1LnPmt7Ex1sFhSwsD174pcF1A5L5
ROjtZMEQxrZHYJqkeDrrnGya11UxMFBji4NmXG9veoKjlnAqH2QbgtPr8jkiGUkf
toaHLFcW9Qr4NY2ai50Xw0Byj3+H2JoY2PyrZ62EWQwuz3WTOTY8BwNNb2BvniHg
VFbK5emhAgMBAAECggEAEq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyW
PEAeP88vLNO97IjlA7/GQ5sLKMgvfTeXZx9SE+7YwVol2NXOoAJe46sui395IW/G
O+pWJ1O0BkTGoVEn2bKVRUCgu+GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzj
kn439X0M/V51gfpRLI9JYanrC4D4qAdGcopV/0ZHHzQlBjudU2QvXt4ehNYTCBr6
XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl/x/jTj3ccPDVZFD9pIuhLhBOneufuBiB
4cS98l2SR/RQyGWSeWjnczT0QU91p1DhOVRuOopznQKBgQDgHMQQ60imZV1URk0K
pLttoLhyt3SmqdEf/kgHePDdtzEafpAu+cS191R2JiuoF2yzWXnwFDcqGigp5BNr
0AHQfD8/Lk8l1Mk09jxxCfui5nYooNyac8YFjm3vItzVCVDnEd3BbVWG8qf6deqE
lMGAg+C2V0L4oNXnP7LZcPAZRwKBgQC5A8R+CZW2MvRTLLHzwZkUXV866cff7tx6
kqa0finGG0KgeqlaZPxgCZnFp7AeAcCMtiynVlJ7vMVgePsLq6XtON4tB5kP9jAP
rq3rbAOal78eUH5OcED6eNuCV8ixEu1eWcPNCS/l1OW1EnXUEoEHKl54Xrrz2uNw
kgMTP1FZ1wKBgAcCn1dwJKufzBWQxWQp1vsM5fggqPN1qGb5y0MAk3g7/Ls5bkUp
5u9SN0Ai3Ya6hNnvWJMb7sXQX6U/zyO2M/hTip7tUeh7CXgwo59dkpN75gJLVds2
9+DAncu3KXU4f2Fa+7bLNrur53k8KwPOq2bbuTG69QtV7Jr5MR0AHWKNAoGBAIf/
evpitUf+4JYbLpvNXWcY052Mpz22aR84mY3nh3F2LF2mjMJDpTg7FmuyPcVw6EcG
yoAe9fa65iNqCq+jdw6PVNGo2hxfjSiZ8IIzHdsPXI89//pMjZcQK9r+CCoRjaZj
OYiIDktVWZzmevJuv6WywUqd57LE3Zar3dLSIkx1AoGAIYd7DHOhrWvxkwPQsRM2
tOgrjbcrfvtQJipd+DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd/QJQ3
ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp/gh6A56
03k2+ZQwVK0JKSHuLFkuQ3U=
-----END PRIVATE KEY-----
)";

constexpr std::string_view kPayload64 =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
    "fQ";

AccountKey key_of(std::string_view pem) {
  auto key = AccountKey::from_pem(pem);
  EXPECT_TRUE(key) << key.error().message;
  return key ? *key : AccountKey();
}

/// Whether r||s is a signature of the message by the key in the PEM.
bool verifies(std::string_view pem, std::string_view message, const std::string& jose) {
  auto key = net::PrivateKey::from_pem(pem);
  if (!key || jose.size() != 64) return false;
  const auto* bytes = reinterpret_cast<const unsigned char*>(jose.data());
  ECDSA_SIG* parts = ECDSA_SIG_new();
  ECDSA_SIG_set0(parts, BN_bin2bn(bytes, 32, nullptr), BN_bin2bn(bytes + 32, 32, nullptr));
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(parts, &der);
  ECDSA_SIG_free(parts);
  const net::EvpDigestPtr digest(EVP_MD_CTX_new());
  const bool good =
      EVP_DigestVerifyInit(digest.get(), nullptr, EVP_sha256(), nullptr, key->native()) == 1 &&
      EVP_DigestVerify(digest.get(), der, static_cast<std::size_t>(size),
                       reinterpret_cast<const unsigned char*>(message.data()), message.size()) == 1;
  OPENSSL_free(der);
  return good;
}

std::string decoded(std::string_view text) {
  auto bytes = from_base64url(text);
  EXPECT_TRUE(bytes);
  return bytes ? *bytes : "";
}

boost::json::value parts_of(std::string_view jws) {
  boost::system::error_code error;
  auto value = boost::json::parse(jws, error);
  EXPECT_FALSE(error);
  return value;
}

TEST(Jws, ThumbprintIsThatOfRfc7638Section31) {
  EXPECT_EQ(
      jwk_thumbprint(
          R"({"e":"AQAB","kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78L)"
          R"(hWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5J)"
          R"(sGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb)"
          R"(9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr)"
          R"(3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"})"),
      "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

TEST(Jws, JwkOfAnEcdsaKeyIsThatOfRfc7515AppendixA3) {
  EXPECT_EQ(key_of(kEcdsaPem).jwk(),
            R"({"crv":"P-256","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
            R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})");
}

TEST(Jws, KeyAuthorizationIsTokenDotThumbprint) {
  EXPECT_EQ(key_authorization("tok-1", key_of(kEcdsaPem)),
            "tok-1.oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
}

TEST(Jws, TheCheckOfTheseTestsAcceptsTheSignatureOfRfc7515AppendixA3) {
  const auto signature = decoded(
      "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
  const std::string message = "eyJhbGciOiJFUzI1NiJ9." + std::string(kPayload64);
  EXPECT_TRUE(verifies(kEcdsaPem, message, signature));
  EXPECT_FALSE(verifies(kEcdsaPem, message + "x", signature));
}

TEST(Jws, Es256SignaturesAreSixtyFourBytesOfRAndS) {
  const auto key = key_of(kEcdsaPem);
  for (int i = 0; i < 300; ++i) {  // Often enough that r or s begins with a zero byte.
    const std::string message = "message " + std::to_string(i);
    auto signature = key.sign(message);
    ASSERT_TRUE(signature);
    ASSERT_TRUE(verifies(kEcdsaPem, message, *signature)) << i;
  }
}

TEST(Jws, Rs256SignatureIsThatOfRfc7515AppendixA2) {
  auto signature = key_of(kRsaPem).sign("eyJhbGciOiJSUzI1NiJ9." + std::string(kPayload64));
  ASSERT_TRUE(signature);
  EXPECT_EQ(to_base64url(*signature),
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
            "O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIAR"
            "NPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvh"
            "J1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77R"
            "w");
}

TEST(Jws, HeaderOfAnAccountNamesItByUrlOnly) {
  const JwsHeader header{"https://ca.example/acct/1", "n-1", "https://ca.example/new-order"};
  auto jws = sign_jws(key_of(kEcdsaPem), header, R"({"a":1})");
  ASSERT_TRUE(jws);
  const auto body = parts_of(*jws);
  EXPECT_EQ(parts_of(decoded(body.at("protected").as_string())),
            (boost::json::value{{"alg", "ES256"},
                                {"nonce", "n-1"},
                                {"url", "https://ca.example/new-order"},
                                {"kid", "https://ca.example/acct/1"}}));
  EXPECT_EQ(decoded(body.at("payload").as_string()), R"({"a":1})");
}

TEST(Jws, HeaderWithoutAnAccountCarriesTheKey) {
  const auto key = key_of(kRsaPem);
  auto jws = sign_jws(key, JwsHeader{"", "n-1", "https://ca.example/new-account"}, "{}");
  ASSERT_TRUE(jws);
  const auto header = parts_of(decoded(parts_of(*jws).at("protected").as_string()));
  EXPECT_EQ(header.at("jwk"), parts_of(key.jwk()));
  EXPECT_EQ(header.at("alg"), "RS256");
  EXPECT_EQ(header.as_object().count("kid"), 0u);
}

TEST(Jws, PostAsGetHasAnEmptyPayload) {
  auto jws = sign_jws(key_of(kEcdsaPem), JwsHeader{"https://a/1", "n", "https://a/2"}, "");
  ASSERT_TRUE(jws);
  EXPECT_EQ(parts_of(*jws).at("payload"), "");
}

TEST(Jws, SignatureCoversHeaderAndPayload) {
  auto jws = sign_jws(key_of(kEcdsaPem), JwsHeader{"https://a/1", "n", "https://a/2"}, "{}");
  ASSERT_TRUE(jws);
  const auto body = parts_of(*jws);
  const std::string message = std::string(body.at("protected").as_string()) + "." +
                              std::string(body.at("payload").as_string());
  EXPECT_TRUE(verifies(kEcdsaPem, message, decoded(body.at("signature").as_string())));
}

TEST(Jws, GeneratedKeySurvivesPem) {
  auto key = AccountKey::generate();
  ASSERT_TRUE(key);
  auto pem = key->to_pem();
  ASSERT_TRUE(pem);
  EXPECT_EQ(key_of(*pem).thumbprint(), key->thumbprint());
}

TEST(Jws, OtherCurvesAreRefusedByName) {
  auto other = net::PrivateKey::generate(net::KeyKind::kEcdsaP384);
  ASSERT_TRUE(other);
  auto key = AccountKey::from_key(std::move(*other));
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().fault, Fault::kUnsupported);
}

/// The code is what `printf PROTECTED.PAYLOAD | openssl dgst -sha256 -mac HMAC -macopt hexkey:...`
/// says.
TEST(Jws, BindsAnAccountToAnotherOne) {
  const AccountKey key = key_of(kEcdsaPem);
  const std::string text = sign_external_account({"kid-1", "0123456789abcdef0123456789abcdef"}, key,
                                                 "https://ca.example/new-account");
  const auto jws = boost::json::parse(text);
  const auto part = [&](const char* name) {
    return *from_base64url(std::string(jws.at(name).as_string()));
  };
  EXPECT_EQ(part("protected"),
            R"({"alg":"HS256","kid":"kid-1","url":"https://ca.example/new-account"})");
  EXPECT_EQ(part("payload"), key.jwk());
  EXPECT_EQ(std::string(jws.at("signature").as_string()),
            "nW3tWlVAoVJbt5RXP4-jsNUS9_umw19Gb1h_t5bMuu0");
}

}  // namespace
}  // namespace gatehouse::acme
