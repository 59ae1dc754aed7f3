#include "proxy/connection/client_certificate_field.h"

#include <gtest/gtest.h>

namespace gatehouse::proxy {
namespace {

TEST(ClientCertificateField, HasEnvoysGrammar) {
  net::ClientCertificate certificate;
  certificate.sha256_hex = "00ff";
  certificate.subject = "CN=joe,O=Test";
  certificate.uris = {"spiffe://mesh.test/ns/a/sa/joe", "https://b"};
  certificate.dns_names = {"joe.example.test"};
  EXPECT_EQ(client_certificate_element(certificate),
            "Hash=00ff;Subject=\"CN=joe,O=Test\";URI=spiffe://mesh.test/ns/a/sa/joe;URI=https://b;"
            "DNS=joe.example.test");
}

TEST(ClientCertificateField, ASubjectIsThereEvenWhenEmpty) {
  EXPECT_EQ(client_certificate_element({}), "Hash=;Subject=\"\"");
}

TEST(ClientCertificateField, NoNameCanPassForAnotherPairElementOrField) {
  net::ClientCertificate certificate;
  certificate.sha256_hex = "1";
  certificate.subject = "CN=a\\\"b";  // RFC 2253's text is escaped already.
  certificate.uris = {"x;By=me",      "x,Hash=2", "a\"b\\c", "two words",
                      "line\r\nx: y", "",         "\xc3\xa9"};
  certificate.dns_names = {std::string("a\0b", 3), "k=v"};
  EXPECT_EQ(client_certificate_element(certificate),
            "Hash=1;Subject=\"CN=a\\\"b\";URI=\"x;By=me\";URI=\"x,Hash=2\";URI=\"a\\\"b\\\\c\";"
            "DNS=\"k=v\"");
}

}  // namespace
}  // namespace gatehouse::proxy
