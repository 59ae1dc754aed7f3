#pragma once
// OpenSSL's objects as owners, and its error queue as an Error.

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string_view>

#include "daemon/base/error.h"

namespace gatehouse::net {

template <auto Free>
struct OpensslFree {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using X509Ptr = std::unique_ptr<X509, OpensslFree<X509_free>>;
using X509ReqPtr = std::unique_ptr<X509_REQ, OpensslFree<X509_REQ_free>>;
using EvpKeyPtr = std::unique_ptr<EVP_PKEY, OpensslFree<EVP_PKEY_free>>;
using EvpKeyContextPtr = std::unique_ptr<EVP_PKEY_CTX, OpensslFree<EVP_PKEY_CTX_free>>;
using EvpDigestPtr = std::unique_ptr<EVP_MD_CTX, OpensslFree<EVP_MD_CTX_free>>;
using BioPtr = std::unique_ptr<BIO, OpensslFree<BIO_free_all>>;
using SslPtr = std::unique_ptr<SSL, OpensslFree<SSL_free>>;
using SslContextPtr = std::unique_ptr<SSL_CTX, OpensslFree<SSL_CTX_free>>;

/// Frees the stack, not its certificates.
inline void free_stack(STACK_OF(X509) * certificates) { sk_X509_free(certificates); }
using X509StackPtr = std::unique_ptr<STACK_OF(X509), OpensslFree<free_stack>>;

/// The newest entry of this thread's error queue as "doing: reason"; empties the queue.
Error openssl_error(std::string_view doing, Fault fault = Fault::kTls);

}  // namespace gatehouse::net
