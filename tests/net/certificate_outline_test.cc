#include "daemon/net/certificate_outline.h"

#include <gtest/gtest.h>
#include <openssl/x509v3.h>

#include "tests/support/certificates.h"

namespace gatehouse::net {
namespace {

using testing::issue;
using testing::make_authority;
using testing::make_key;

std::string der_of(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  std::string bytes(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return bytes;
}

/// What make_credential() says of it, made by the outline; null: it was not.
CredentialPtr by_outline(const Credential& decoded) {
  const auto public_key = public_key_of(decoded.key);
  EXPECT_TRUE(public_key);
  return make_credential_by_outline(decoded.name, decoded.chain.to_pem(), decoded.key, *public_key);
}

void expect_same_facts(const CertificateFacts& quick, const CertificateFacts& decoded) {
  EXPECT_EQ(quick.dns_names, decoded.dns_names);
  EXPECT_EQ(quick.ip_addresses, decoded.ip_addresses);
  EXPECT_EQ(quick.not_before, decoded.not_before);
  EXPECT_EQ(quick.not_after, decoded.not_after);
  EXPECT_EQ(quick.serial_hex, decoded.serial_hex);
  EXPECT_EQ(quick.issuer, decoded.issuer);
  EXPECT_EQ(quick.fingerprint_sha256_hex, decoded.fingerprint_sha256_hex);
  EXPECT_EQ(quick.key_kind, decoded.key_kind);
  EXPECT_EQ(quick.ari_id, decoded.ari_id);
}

class EveryUsualKey : public ::testing::TestWithParam<KeyKind> {};

TEST_P(EveryUsualKey, GivesTheFactsThatOpenSslGives) {
  const auto decoded = issue(make_authority("Root, \"quoted\" & more"),
                             {"a.test", "*.b.test", "192.0.2.7", "2001:db8::1"}, GetParam());
  const auto quick = by_outline(*decoded);
  ASSERT_TRUE(quick);
  expect_same_facts(quick->facts, decoded->facts);
  EXPECT_EQ(quick->name, decoded->name);
  EXPECT_FALSE(quick->facts.ari_id.empty());
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryUsualKey,
                         ::testing::Values(KeyKind::kEcdsaP256, KeyKind::kEcdsaP384,
                                           KeyKind::kRsa2048));

TEST(CertificateOutline, ItsChainIsDecodedWhenAskedFor) {
  const auto decoded = issue(make_authority(), {"a.test"});
  const auto quick = by_outline(*decoded);
  ASSERT_TRUE(quick);
  EXPECT_EQ(quick->chain.size(), decoded->chain.size());
  EXPECT_EQ(quick->chain.to_pem(), decoded->chain.to_pem());
  EXPECT_EQ(X509_cmp(quick->chain.leaf(), decoded->chain.leaf()), 0);
  EXPECT_TRUE(quick->chain.matches(decoded->key));
  expect_same_facts(*quick->chain.facts(), decoded->facts);
}

TEST(CertificateOutline, AnotherKeysCertificateIsNotTaken) {
  const auto decoded = issue(make_authority(), {"a.test"});
  const PrivateKey other = make_key();
  EXPECT_FALSE(
      make_credential_by_outline("a", decoded->chain.to_pem(), other, *public_key_of(other)));
}

TEST(CertificateOutline, NoTruncationAndNoTailIsTaken) {
  const std::string der = der_of(issue(make_authority(), {"a.test"})->chain.leaf());
  ASSERT_TRUE(outline_of(der));
  for (std::size_t size = 0; size < der.size(); ++size)
    EXPECT_FALSE(outline_of(std::string_view(der).substr(0, size))) << size;
  EXPECT_FALSE(outline_of(der + '\0'));
}

/// Whatever one byte becomes: what is still taken is what OpenSSL takes, too, with the same facts.
TEST(CertificateOutline, NeverTakesWhatOpenSslRefuses) {
  const auto authority = make_authority();
  const auto good = issue(authority, {"a.test", "192.0.2.7"});
  const auto public_key = *public_key_of(good->key);
  const std::string der = der_of(good->chain.leaf());
  for (std::size_t i = 0; i < der.size(); ++i) {
    for (const int change : {0x01, 0x02, 0x20, 0x80, 0xff}) {
      std::string changed = der;
      changed[i] = static_cast<char>(changed[i] ^ change);
      const auto outline = outline_of(changed);
      if (!outline || !is_usual_for_tls(*outline) || outline->public_key != public_key.info)
        continue;
      const std::string pem = CertificateChain::from_der({changed}).to_pem();
      const auto chain = CertificateChain::from_pem(pem);
      ASSERT_TRUE(chain) << "byte " << i << " ^ " << change;
      const auto facts = chain->facts();
      ASSERT_TRUE(facts) << "byte " << i << " ^ " << change << ": " << facts.error().message;
      const auto quick = make_credential_by_outline("a", pem, good->key, public_key);
      ASSERT_TRUE(quick) << "byte " << i << " ^ " << change;
      SCOPED_TRACE("byte " + std::to_string(i));
      CertificateFacts expected = *facts;
      // One extension that OpenSSL cannot read, and it tells no key id either. TLS and we do not
      // look at it.
      if ((X509_get_extension_flags(chain->leaf()) & EXFLAG_INVALID) != 0)
        expected.ari_id = quick->facts.ari_id;
      expect_same_facts(quick->facts, expected);
    }
  }
}

TEST(CertificateOutline, AWeakKeyOrSignatureIsLeftToOpenSsl) {
  const auto authority = make_authority();
  const auto sign = [&](EVP_PKEY* subject, const EVP_MD* digest) {
    X509Ptr certificate(X509_dup(issue(authority, {"a.test"})->chain.leaf()));
    X509_set_pubkey(certificate.get(), subject);
    X509_sign(certificate.get(), authority.key.native(), digest);
    const std::string der = der_of(certificate.get());
    const auto outline = outline_of(der);
    return outline && is_usual_for_tls(*outline);
  };
  const EvpKeyPtr weak(EVP_RSA_gen(1024)), good(EVP_RSA_gen(2048));
  EXPECT_TRUE(sign(good.get(), EVP_sha256()));
  EXPECT_FALSE(sign(weak.get(), EVP_sha256()));
  EXPECT_FALSE(sign(good.get(), EVP_sha1()));
}

TEST(CertificatesInPem, AreFoundBetweenOtherText) {
  const auto decoded = issue(make_authority(), {"a.test"});
  const std::string pem = decoded->chain.to_pem(), der = der_of(decoded->chain.leaf());
  const auto found = certificates_in_pem("subject=a\n" + pem + "issuer=b\n" + pem);
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, (std::vector<std::string>{der, der}));
  std::string crlf;
  for (const char c : pem) crlf.append(c == '\n' ? "\r\n" : std::string(1, c));
  EXPECT_EQ(certificates_in_pem(crlf)->front(), der);
}

TEST(CertificatesInPem, AreNothingWhenSomethingElseIsThere) {
  const auto decoded = issue(make_authority(), {"a.test"});
  const std::string pem = decoded->chain.to_pem();
  EXPECT_FALSE(certificates_in_pem(""));
  EXPECT_FALSE(certificates_in_pem("no blocks"));
  EXPECT_FALSE(certificates_in_pem(pem + *decoded->key.to_pem()));
  EXPECT_FALSE(certificates_in_pem(pem.substr(0, pem.size() / 2)));
  EXPECT_FALSE(
      certificates_in_pem("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n"));
}

}  // namespace
}  // namespace gatehouse::net
