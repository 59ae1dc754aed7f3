#include "daemon/net/client_certificate.h"

#include <openssl/x509v3.h>

#include "daemon/base/text.h"
#include "daemon/net/tls_policy.h"

namespace gatehouse::net {

namespace {

using GeneralNamesPtr = std::unique_ptr<GENERAL_NAMES, OpensslFree<GENERAL_NAMES_free>>;

std::string text_of(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<std::size_t>(ASN1_STRING_length(text))};
}

std::string one_line(X509_NAME* name) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253) < 0) return {};
  const char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

std::string common_name_of(X509_NAME* name) {
  const int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  const X509_NAME_ENTRY* entry = at < 0 ? nullptr : X509_NAME_get_entry(name, at);
  return entry ? text_of(X509_NAME_ENTRY_get_data(entry)) : std::string();
}

void add_names(X509* certificate, ClientCertificate& facts) {
  GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_URI) facts.uris.push_back(text_of(name->d.uniformResourceIdentifier));
    if (name->type == GEN_DNS) facts.dns_names.push_back(text_of(name->d.dNSName));
  }
}

}  // namespace

std::optional<ClientCertificate> client_certificate_of(const SSL* ssl) {
  X509* shown = SSL_get0_peer_certificate(ssl);
  if (!shown || SSL_get_verify_result(ssl) != X509_V_OK) return std::nullopt;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (X509_digest(shown, EVP_sha256(), digest, &size) != 1) return std::nullopt;
  ClientCertificate facts;
  facts.sha256_hex = to_hex({reinterpret_cast<const char*>(digest), size});
  facts.subject = one_line(X509_get_subject_name(shown));
  facts.common_name = common_name_of(X509_get_subject_name(shown));
  add_names(shown, facts);
  return facts;
}

std::string verify_failure(const SSL* ssl) {
  const long result = SSL_get_verify_result(ssl);
  if (result == X509_V_OK || SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE) return {};
  const std::string* wanted = result == X509_V_ERR_HOSTNAME_MISMATCH ? verify_san_of(ssl) : nullptr;
  if (wanted) return "the certificate has no subject alternative name " + *wanted;
  return X509_verify_cert_error_string(result);
}

}  // namespace gatehouse::net
