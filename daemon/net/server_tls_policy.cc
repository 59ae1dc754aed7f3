#include "daemon/net/server_tls_policy.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

#include <utility>

#include "daemon/net/tls_policy.h"

namespace gatehouse::net {

namespace {

inline void free_names(STACK_OF(X509_NAME) * names) {
  sk_X509_NAME_pop_free(names, X509_NAME_free);
}
using NamesPtr = std::unique_ptr<STACK_OF(X509_NAME), OpensslFree<free_names>>;
using StorePtr = std::unique_ptr<X509_STORE, OpensslFree<X509_STORE_free>>;
using CrlPtr = std::unique_ptr<X509_CRL, OpensslFree<X509_CRL_free>>;

/// The blocks of one kind in a PEM text, each given to `take`, which says whether it went well.
template <class Read, class Take>
Result<void> each_block(std::string_view pem, const std::string& what, Read read, Take take) {
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!bio) return openssl_error("reading " + what);
  ERR_clear_error();
  int count = 0;
  for (; auto object = read(bio.get()); ++count)
    if (!take(object)) return openssl_error("taking " + what);
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
    return openssl_error("reading " + what, Fault::kInvalid);
  ERR_clear_error();
  if (count == 0) return Error{Fault::kInvalid, "no block of PEM with " + what};
  return {};
}

std::string digest_of(const ServerTlsPolicy::Options& options) {
  std::string text(1, static_cast<char>(options.profile));
  text.append(1, static_cast<char>(options.clients));
  text.append(std::to_string(options.ca_pem.size())).append(1, ':').append(options.ca_pem);
  text.append(options.crl_pem);
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

}  // namespace

struct ServerTlsPolicy::Trust {
  StorePtr store;
  NamesPtr names;  // of the CAs: clients choose their certificate by them

  Result<void> load(const Options& options) {
    store.reset(X509_STORE_new());
    names.reset(sk_X509_NAME_new_null());
    if (!store || !names) return openssl_error("preparing client certificates");
    auto loaded = each_block(
        options.ca_pem, "a CA of client certificates",
        [](BIO* bio) { return X509Ptr(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr)); },
        [&](const X509Ptr& ca) {
          X509_NAME* name = X509_NAME_dup(X509_get_subject_name(ca.get()));
          if (!name || sk_X509_NAME_push(names.get(), name) <= 0) {
            X509_NAME_free(name);
            return false;
          }
          return X509_STORE_add_cert(store.get(), ca.get()) == 1;
        });
    if (!loaded) return loaded;
    // Who names the certificates to trust may name an intermediate.
    unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;
    if (!options.crl_pem.empty()) {
      loaded = each_block(
          options.crl_pem, "a list of revoked certificates",
          [](BIO* bio) { return CrlPtr(PEM_read_bio_X509_CRL(bio, nullptr, nullptr, nullptr)); },
          [&](const CrlPtr& crl) { return X509_STORE_add_crl(store.get(), crl.get()) == 1; });
      if (!loaded) return loaded;
      flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
    }
    if (X509_STORE_set_flags(store.get(), flags) != 1)
      return openssl_error("preparing client certificates");
    return {};
  }
};

ServerTlsPolicy::~ServerTlsPolicy() = default;

Result<std::shared_ptr<const ServerTlsPolicy>> ServerTlsPolicy::create(const Options& options) {
  std::unique_ptr<ServerTlsPolicy> made(new ServerTlsPolicy);
  made->name_ = options.name;
  made->binding_ = digest_of(options);
  made->profile_ = options.profile;
  made->clients_ = options.clients;
  if (made->asks_for_certificates()) {
    auto trust = std::make_unique<Trust>();
    if (auto loaded = trust->load(options); !loaded) return std::move(loaded).error();
    made->trust_ = std::move(trust);
  }
  return std::shared_ptr<const ServerTlsPolicy>(std::move(made));
}

bool ServerTlsPolicy::apply(SSL* ssl) const {
  if (SSL_set_min_proto_version(ssl, oldest_version(profile_)) != 1) return false;
  if (!trust_) return true;
  NamesPtr names(SSL_dup_CA_list(trust_->names.get()));
  if (!names || SSL_set1_verify_cert_store(ssl, trust_->store.get()) != 1) return false;
  SSL_set0_CA_list(ssl, names.release());
  const int is_needed =
      clients_ == ClientCertificates::kRequired ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
  SSL_set_verify(ssl, SSL_VERIFY_PEER | is_needed, nullptr);
  return true;
}

}  // namespace gatehouse::net
