#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "daemon/net/address.h"
#include "daemon/net/tls_context.h"
#include "daemon/net/tls_policy.h"

namespace gatehouse::net {

struct ClientTlsContext::State {
  SslContextPtr context;
  bool checks_host = true;
};

namespace {

constexpr std::size_t kRootsBytesMax = 4 * 1024 * 1024;

using GeneralNamesPtr = std::unique_ptr<GENERAL_NAMES, OpensslFree<GENERAL_NAMES_free>>;

/// Adds every certificate of a PEM text to the trusted ones.
Result<void> trust_pem(SSL_CTX* context, const std::string& pem) {
  if (pem.size() > kRootsBytesMax) return Error{Fault::kTooLarge, "roots are over 4 MiB"};
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!bio) return openssl_error("reading roots");
  int count = 0;
  ERR_clear_error();
  while (X509Ptr root{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), root.get()) != 1)
      return openssl_error("trusting a root");
    ++count;
  }
  const bool is_whole = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (!is_whole) return openssl_error("reading roots", Fault::kInvalid);
  ERR_clear_error();
  if (count == 0) return Error{Fault::kInvalid, "no CERTIFICATE block in the roots"};
  return {};
}

Result<void> load_roots(SSL_CTX* context, const ClientTlsOptions& options) {
  if (options.ca_pem.empty() && options.ca_file.empty()) {
    if (SSL_CTX_set_default_verify_paths(context) != 1)
      return openssl_error("loading the system's roots");
    return {};
  }
  // Who names the certificates to trust may name an intermediate, or the server's own.
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN);
  if (!options.ca_pem.empty()) return trust_pem(context, options.ca_pem);
  if (SSL_CTX_load_verify_file(context, options.ca_file.c_str()) != 1)
    return openssl_error("loading roots from " + options.ca_file, Fault::kInvalid);
  return {};
}

/// The protocols as ALPN wants them: each with its length before it.
std::string alpn_wire(const ClientTlsOptions& options) {
  std::string wire;
  if (options.offer_h2) wire += "\x02h2";
  if (options.offer_http1) wire += "\x08http/1.1";
  return wire;
}

bool has_uri(X509* certificate, const std::string& uri) {
  GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_STRING* text = name->d.uniformResourceIdentifier;
    const std::string_view value(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                 static_cast<std::size_t>(ASN1_STRING_length(text)));
    if (value == uri) return true;
  }
  return false;
}

/// Beside OpenSSL's own judgement: the peer's certificate must have the configured name.
int on_verify(int is_good, X509_STORE_CTX* verification) {
  if (!is_good || X509_STORE_CTX_get_error_depth(verification) != 0) return is_good;
  auto* ssl = static_cast<SSL*>(
      X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx()));
  X509* peer = X509_STORE_CTX_get_current_cert(verification);
  const std::string* wanted = ssl ? verify_san_of(ssl) : nullptr;
  if (!wanted || !peer) return 0;
  constexpr unsigned kFlags =
      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;
  const bool is_uri = wanted->find("://") != wanted->npos;
  if (is_uri ? has_uri(peer, *wanted)
             : X509_check_host(peer, wanted->data(), wanted->size(), kFlags, nullptr) == 1)
    return 1;
  X509_STORE_CTX_set_error(verification, X509_V_ERR_HOSTNAME_MISMATCH);
  return 0;
}

Result<void> configure(SSL_CTX* context, const ClientTlsOptions& options) {
  if (!apply_policy(context, TlsProfile::kIntermediate)) return openssl_error("preparing TLS");
  if (auto loaded = load_roots(context, options); !loaded) return loaded;
  const bool has_san = !options.verify_san.empty();
  if (has_san && !keep_verify_san(context, options.verify_san))
    return openssl_error("preparing TLS");
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, has_san ? on_verify : nullptr);
  const std::string alpn = alpn_wire(options);
  // Zero is success here, unlike everywhere else.
  if (!alpn.empty() &&
      SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(alpn.data()),
                              static_cast<unsigned>(alpn.size())) != 0)
    return openssl_error("preparing TLS");
  return {};
}

/// The name that the certificate must have: RFC 9525, without partial wildcards or common names.
bool expect_host(SSL* ssl, const std::string& name, bool is_address) {
  X509_VERIFY_PARAM* parameters = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(
      parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  if (is_address) return X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str()) == 1;
  return X509_VERIFY_PARAM_set1_host(parameters, name.data(), name.size()) == 1;
}

}  // namespace

ClientTlsContext::ClientTlsContext() = default;
ClientTlsContext::~ClientTlsContext() = default;

Result<std::shared_ptr<ClientTlsContext>> ClientTlsContext::create(
    const ClientTlsOptions& options) {
  SslContextPtr context(SSL_CTX_new(TLS_client_method()));
  if (!context) return openssl_error("preparing TLS");
  if (auto configured = configure(context.get(), options); !configured)
    return std::move(configured).error();
  if (const Credential* shown = options.credential.get()) {
    const X509StackPtr issuers = shown->chain.issuers();
    if (!issuers || SSL_CTX_use_cert_and_key(context.get(), shown->chain.leaf(),
                                             shown->key.native(), issuers.get(), 1) != 1)
      return openssl_error("setting the client certificate");
  }
  std::shared_ptr<ClientTlsContext> made(new ClientTlsContext);
  made->state_ = std::make_unique<State>();
  made->state_->context = std::move(context);
  made->state_->checks_host = options.verify_san.empty();
  return made;
}

Result<SslPtr> ClientTlsContext::new_ssl(const std::string& server_name) const {
  std::string name = server_name;
  if (name.ends_with('.')) name.pop_back();  // RFC 6066 section 3: SNI has no trailing dot.
  if (name.empty() || name.find('\0') != name.npos)
    return Error{Fault::kInvalid, "TLS needs a server name to verify"};
  SslPtr ssl(SSL_new(state_->context.get()));
  if (!ssl) return openssl_error("beginning a TLS handshake");
  const bool is_address = IpAddress::parse(name).has_value();
  // RFC 6066 section 3: literal addresses are not permitted in the server_name extension.
  if (!is_address && SSL_set_tlsext_host_name(ssl.get(), name.c_str()) != 1)
    return openssl_error("naming \"" + name + "\" in a TLS handshake");
  if (state_->checks_host && !expect_host(ssl.get(), name, is_address))
    return openssl_error("expecting \"" + name + "\" in a TLS handshake");
  SSL_set_connect_state(ssl.get());
  return ssl;
}

SSL_CTX* ClientTlsContext::native() const { return state_->context.get(); }

}  // namespace gatehouse::net
