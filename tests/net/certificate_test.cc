#include "daemon/net/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tests/support/certificates.h"

namespace gatehouse::net {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class EveryKey : public ::testing::TestWithParam<std::pair<KeyKind, const char*>> {};

TEST_P(EveryKey, SurvivesPemAndDer) {
  const PrivateKey key = make_key(GetParam().first);
  const auto pem = key.to_pem();
  const auto der = key.to_der();
  ASSERT_TRUE(pem && der);
  EXPECT_TRUE(pem->starts_with("-----BEGIN PRIVATE KEY-----"));
  const auto from_pem = PrivateKey::from_pem(*pem);
  const auto from_der = PrivateKey::from_der(*der);
  ASSERT_TRUE(from_pem && from_der);
  EXPECT_EQ(EVP_PKEY_eq(key.native(), from_pem->native()), 1);
  EXPECT_EQ(EVP_PKEY_eq(key.native(), from_der->native()), 1);
}

TEST_P(EveryKey, SignsRequestAndCertificateAndIsNamed) {
  const PrivateKey key = make_key(GetParam().first);
  const auto csr = make_csr(key, {"shop.example", "192.0.2.7"});
  ASSERT_TRUE(csr) << csr.error().message;
  const auto* at = reinterpret_cast<const unsigned char*>(csr->data());
  X509ReqPtr request(d2i_X509_REQ(nullptr, &at, static_cast<long>(csr->size())));
  ASSERT_TRUE(request);
  EXPECT_EQ(X509_REQ_verify(request.get(), key.native()), 1);
  const auto chain = issue_certificate(valid_now({"shop.example"}), key, {}, {});
  ASSERT_TRUE(chain) << chain.error().message;
  const auto facts = chain->facts();
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->key_kind, GetParam().second);
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryKey,
                         ::testing::Values(std::pair(KeyKind::kEcdsaP256, "ecdsa-p256"),
                                           std::pair(KeyKind::kEcdsaP384, "ecdsa-p384"),
                                           std::pair(KeyKind::kRsa2048, "rsa-2048")));

TEST(PrivateKey, RefusesWhatIsNoKey) {
  EXPECT_THAT(PrivateKey::from_pem("hello").error().message, HasSubstr("no PRIVATE KEY block"));
  EXPECT_EQ(PrivateKey::from_pem("").error().fault, Fault::kInvalid);
  EXPECT_EQ(PrivateKey::from_der("").error().fault, Fault::kInvalid);
  EXPECT_EQ(PrivateKey::from_pem(std::string(70000, 'x')).error().fault, Fault::kTooLarge);
}

TEST(PrivateKey, SaysThatAPassphraseIsNotSupported) {
  const auto key = PrivateKey::from_pem(
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n");
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().fault, Fault::kUnsupported);
}

TEST(PrivateKey, RefusesEveryTruncation) {
  const auto der = make_key().to_der();
  ASSERT_TRUE(der);
  for (std::size_t size = 0; size < der->size(); ++size)
    EXPECT_FALSE(PrivateKey::from_der(der->substr(0, size))) << size;
  EXPECT_FALSE(PrivateKey::from_der(*der + "x"));
}

TEST(CertificateChain, NamesTheBlockThatIsNoCertificate) {
  const Authority authority = make_authority();
  const auto key = authority.key.to_pem();
  ASSERT_TRUE(key);
  const auto chain = CertificateChain::from_pem(authority.root.to_pem() + *key);
  ASSERT_FALSE(chain);
  EXPECT_EQ(chain.error().message, "block 2 is not a certificate but private key");
}

TEST(CertificateChain, RefusesBadPem) {
  const struct {
    const char* name;
    std::string pem;
    Fault fault;
  } cases[] = {
      {"empty", "", Fault::kInvalid},
      {"text", "not a certificate", Fault::kInvalid},
      {"cut", make_authority().root.to_pem().substr(0, 200), Fault::kInvalid},
      {"garbage inside", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
       Fault::kInvalid},
      {"too large", std::string(1024 * 1024 + 1, '\n'), Fault::kTooLarge},
  };
  for (const auto& c : cases) {
    const auto chain = CertificateChain::from_pem(c.pem);
    ASSERT_FALSE(chain) << c.name;
    EXPECT_EQ(chain.error().fault, c.fault) << c.name;
    EXPECT_EQ(ERR_peek_error(), 0u) << c.name;
  }
}

TEST(CertificateChain, KeepsOrderThroughPem) {
  const Authority authority = make_authority();
  const CredentialPtr leaf = issue(authority, {"a.test"});
  const auto chain =
      CertificateChain::from_pem("a comment\n" + leaf->chain.to_pem() + authority.root.to_pem());
  ASSERT_TRUE(chain);
  ASSERT_EQ(chain->size(), 2u);
  EXPECT_EQ(X509_cmp(chain->leaf(), leaf->chain.leaf()), 0);
  EXPECT_EQ(X509_cmp(chain->at(1), authority.root.leaf()), 0);
}

TEST(CertificateChain, GathersFactsOfTheLeaf) {
  const Authority authority = make_authority("Root, \"quoted\"");
  const CredentialPtr made = issue(authority, {"WWW.Example.test", "*.b.test", "2001:DB8::1"});
  const CertificateFacts& facts = made->facts;
  EXPECT_THAT(facts.dns_names, ElementsAre("www.example.test", "*.b.test"));
  EXPECT_THAT(facts.ip_addresses, ElementsAre("2001:db8::1"));
  EXPECT_EQ(facts.issuer, "CN=Root\\, \\\"quoted\\\"");
  EXPECT_EQ(facts.fingerprint_sha256_hex.size(), 64u);
  EXPECT_GT(facts.serial_hex.size(), 16u);
  EXPECT_EQ(facts.not_after - facts.not_before, 25h);
}

/// RFC 9773 section 4.1: the example's serial and authority key identifier.
TEST(CertificateFacts, HaveTheAriIdOfTheRfc) {
  const Authority authority = make_authority();
  X509Ptr certificate(X509_dup(issue(authority, {"a.test"})->chain.leaf()));
  BIGNUM* serial = nullptr;
  BN_hex2bn(&serial, "87654321");
  BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate.get()));
  BN_free(serial);
  const int at = X509_get_ext_by_NID(certificate.get(), NID_authority_key_identifier, -1);
  X509_EXTENSION_free(X509_delete_ext(certificate.get(), at));
  constexpr unsigned char kId[] = {0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3,
                                   0x7b, 0x84, 0x7b, 0xa0, 0xae, 0x2c, 0xde, 0x01, 0xc8, 0xd4};
  AUTHORITY_KEYID* id = AUTHORITY_KEYID_new();
  id->keyid = ASN1_OCTET_STRING_new();
  ASN1_OCTET_STRING_set(id->keyid, kId, sizeof kId);
  X509_add1_ext_i2d(certificate.get(), NID_authority_key_identifier, id, 0, 0);
  AUTHORITY_KEYID_free(id);
  X509_sign(certificate.get(), authority.key.native(), EVP_sha256());
  BioPtr pem(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(pem.get(), certificate.get());
  char* text = nullptr;
  const long size = BIO_get_mem_data(pem.get(), &text);
  const auto chain = CertificateChain::from_pem({text, static_cast<std::size_t>(size)});
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->facts()->ari_id, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
  EXPECT_EQ(chain->facts()->serial_hex, "87654321");
}

TEST(CertificateFacts, CoverNamesAsRfc9525Says) {
  CertificateFacts facts;
  facts.dns_names = {"a.test", "*.b.test", "f*.c.test", "*.*.d.test", "*"};
  facts.ip_addresses = {"192.0.2.1", "2001:db8::1"};
  const struct {
    const char* name;
    bool covered;
  } cases[] = {
      {"a.test", true},          {"A.TEST", true},       {"a.test.", true},
      {"x.a.test", false},       {"x.b.test", true},     {"X.B.Test", true},
      {"b.test", false},         {".b.test", false},     {"x.y.b.test", false},
      {"*.b.test", true},        {"x*.b.test", false},   {"foo.c.test", false},
      {"x.y.d.test", false},     {"test", false},        {"", false},
      {"192.0.2.1", true},       {"192.0.2.2", false},   {"2001:db8::1", true},
      {"2001:DB8:0:0::1", true}, {"2001:db8::2", false}, {"xb.test", false},
  };
  for (const auto& c : cases) EXPECT_EQ(facts.covers(c.name), c.covered) << c.name;
}

TEST(CertificateFacts, DoNotCoverAnAddressByAWildcardName) {
  CertificateFacts facts;
  facts.dns_names = {"*.0.2.1"};
  EXPECT_FALSE(facts.covers("192.0.2.1"));
}

TEST(MakeCsr, HasNamesAndNothingElse) {
  const PrivateKey key = make_key();
  const auto csr = make_csr(key, {"a.test", "*.a.test", "192.0.2.1", "2001:db8::1"});
  ASSERT_TRUE(csr);
  const auto* at = reinterpret_cast<const unsigned char*>(csr->data());
  X509ReqPtr request(d2i_X509_REQ(nullptr, &at, static_cast<long>(csr->size())));
  ASSERT_TRUE(request);
  EXPECT_EQ(X509_NAME_entry_count(X509_REQ_get_subject_name(request.get())), 0);
  auto* extensions = X509_REQ_get_extensions(request.get());
  EXPECT_EQ(sk_X509_EXTENSION_num(extensions), 1);
  auto* names = static_cast<GENERAL_NAMES*>(
      X509V3_get_d2i(extensions, NID_subject_alt_name, nullptr, nullptr));
  ASSERT_EQ(sk_GENERAL_NAME_num(names), 4);
  EXPECT_EQ(sk_GENERAL_NAME_value(names, 1)->type, GEN_DNS);
  EXPECT_EQ(ASN1_STRING_length(sk_GENERAL_NAME_value(names, 2)->d.iPAddress), 4);
  EXPECT_EQ(ASN1_STRING_length(sk_GENERAL_NAME_value(names, 3)->d.iPAddress), 16);
  GENERAL_NAMES_free(names);
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}

TEST(MakeCsr, RefusesWhatIsNoName) {
  const PrivateKey key = make_key();
  const std::string with_nul("a\0b.test", 8);
  for (const std::string& name :
       {std::string(), std::string("a b"), std::string("a..b"), std::string("x*.test"),
        std::string("ä.test"), with_nul, std::string(254, 'a'), std::string(".a")})
    EXPECT_FALSE(make_csr(key, {name})) << name;
  EXPECT_FALSE(make_csr(key, {}));
  EXPECT_FALSE(make_csr(PrivateKey(), {"a.test"}));
}

TEST(IssueCertificate, MakesALeafThatVerifiesAgainstItsRoot) {
  const Authority authority = make_authority();
  const CredentialPtr made = issue(authority, {"a.test"});
  EXPECT_EQ(made->chain.size(), 1u) << "a root is not sent";
  X509* leaf = made->chain.leaf();
  EXPECT_EQ(X509_verify(leaf, authority.key.native()), 1);
  EXPECT_EQ(X509_check_issued(authority.root.leaf(), leaf), X509_V_OK);
  EXPECT_EQ(X509_check_ca(leaf), 0);
  EXPECT_TRUE(X509_get_extension_flags(leaf) & EXFLAG_XKUSAGE);
  EXPECT_EQ(X509_get_extended_key_usage(leaf), static_cast<std::uint32_t>(XKU_SSL_SERVER));
  const int san = X509_get_ext_by_NID(leaf, NID_subject_alt_name, -1);
  EXPECT_EQ(X509_EXTENSION_get_critical(X509_get_ext(leaf, san)), 1) << "no subject: critical";
}

TEST(IssueCertificate, MakesARootThatSignsLeafsOnly) {
  const Authority authority = make_authority();
  X509* root = authority.root.leaf();
  EXPECT_EQ(X509_check_ca(root), 1);
  EXPECT_EQ(X509_get_pathlen(root), 0);
  EXPECT_EQ(X509_get_key_usage(root), static_cast<std::uint32_t>(KU_KEY_CERT_SIGN | KU_CRL_SIGN));
  EXPECT_TRUE(X509_get0_subject_key_id(root));
}

TEST(IssueCertificate, GivesEachCertificateItsOwnSerial) {
  const Authority authority = make_authority();
  EXPECT_NE(issue(authority, {"a.test"})->facts.serial_hex,
            issue(authority, {"a.test"})->facts.serial_hex);
}

TEST(IssueCertificate, HasACriticalAcmeIdentifier) {
  IssueRequest request = valid_now({"a.test"});
  request.acme_identifier_digest = std::string(32, '\x5a');
  const PrivateKey key = make_key();
  const auto chain = issue_certificate(request, key, {}, {});
  ASSERT_TRUE(chain) << chain.error().message;
  ASN1_OBJECT* object = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1);
  const int at = X509_get_ext_by_OBJ(chain->leaf(), object, -1);
  ASN1_OBJECT_free(object);
  ASSERT_GE(at, 0);
  X509_EXTENSION* extension = X509_get_ext(chain->leaf(), at);
  EXPECT_EQ(X509_EXTENSION_get_critical(extension), 1);
  const auto* value = X509_EXTENSION_get_data(extension);
  const std::string der(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
                        static_cast<std::size_t>(ASN1_STRING_length(value)));
  EXPECT_EQ(der, "\x04\x20" + std::string(32, '\x5a'));
  EXPECT_TRUE(make_credential("a.test", *chain, key)) << "an unknown critical extension is fine";
}

TEST(IssueCertificate, RefusesContradictions) {
  const PrivateKey key = make_key();
  const Authority authority = make_authority();
  IssueRequest no_name = valid_now({}), backwards = valid_now({"a.test"}),
               digest = valid_now({"a.test"}), long_name = valid_now({"a.test"});
  backwards.not_after = backwards.not_before;
  digest.acme_identifier_digest = "short";
  long_name.common_name = std::string(65, 'x');
  for (const auto* request : {&no_name, &backwards, &digest, &long_name})
    EXPECT_EQ(issue_certificate(*request, key, {}, {}).error().fault, Fault::kInvalid);
  EXPECT_FALSE(issue_certificate(valid_now({"a.test"}), key, authority.root, key))
      << "not the issuer's key";
}

TEST(MakeCredential, RefusesAKeyOfAnotherCertificate) {
  const CredentialPtr made = issue(make_authority(), {"a.test"});
  const auto mixed = make_credential("a.test", made->chain, make_key());
  ASSERT_FALSE(mixed);
  EXPECT_THAT(mixed.error().message, HasSubstr("does not belong"));
}

TEST(MakeCredential, RefusesWhatTlsWouldRefuse) {
  EvpKeyPtr weak(EVP_RSA_gen(1024));
  ASSERT_TRUE(weak);
  BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(bio.get(), weak.get(), nullptr, nullptr, 0, nullptr, nullptr);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  const auto key = PrivateKey::from_pem({text, static_cast<std::size_t>(size)});
  ASSERT_TRUE(key);
  const auto chain = issue_certificate(valid_now({"a.test"}), *key, {}, {});
  ASSERT_TRUE(chain);
  const auto credential = make_credential("a.test", *chain, *key);
  ASSERT_FALSE(credential);
  EXPECT_THAT(credential.error().message, HasSubstr("key too small"));
}

}  // namespace
}  // namespace gatehouse::net
