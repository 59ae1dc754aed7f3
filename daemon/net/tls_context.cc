// The server's side. The client's is in tls_client_context.cc, the keys are in ticket_keys.cc.

#include "daemon/net/tls_context.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <cstring>

#include "daemon/net/client_hello.h"
#include "daemon/net/tls_policy.h"

namespace gatehouse::net {

struct ServerTlsContext::State {
  SslContextPtr context;
};

namespace {

/// What the callbacks need. Lives and dies with the SSL_CTX, which a handshake may keep alive
/// longer than its ServerTlsContext.
struct Callbacks {
  CredentialSource& source;
  std::shared_ptr<TicketKeys> tickets;
};

/// What one handshake was told, and what it chose. Lives and dies with its SSL.
struct Chosen {
  std::string local_address;
  CredentialPtr credential;
  HandshakeRules rules;
  bool answers_acme_tls = false;
};

template <class T>
void free_extra(void*, void* object, CRYPTO_EX_DATA*, int, long, void*) {
  delete static_cast<T*>(object);
}

int callbacks_index() {
  static const int index =
      SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, free_extra<Callbacks>);
  return index;
}

int chosen_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, free_extra<Chosen>);
  return index;
}

int verify_san_index() {
  static const int index =
      SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, free_extra<std::string>);
  return index;
}

Callbacks& callbacks_of(const SSL* ssl) {
  auto* callbacks =
      static_cast<Callbacks*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), callbacks_index()));
  check(callbacks != nullptr, "not an SSL of a server context");
  return *callbacks;
}

Chosen* chosen_of(const SSL* ssl) {
  return static_cast<Chosen*>(SSL_get_ex_data(ssl, chosen_index()));
}

Chosen* add_chosen(SSL* ssl) {
  auto made = std::make_unique<Chosen>();
  return SSL_set_ex_data(ssl, chosen_index(), made.get()) == 1 ? made.release() : nullptr;
}

/// The bytes of an extension; nullopt when the client did not send it.
std::optional<std::span<const std::uint8_t>> extension_of(SSL* ssl, unsigned type) {
  const unsigned char* bytes = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, type, &bytes, &size) != 1) return std::nullopt;
  return std::span(bytes, size);
}

/// A ticket resumes only under the name, the certificate and the policy it was made for. OpenSSL
/// itself would resume a TLS 1.3 session under any name, and so carry one site's session, and the
/// client certificate in it, over to another.
bool bind_sessions(SSL* ssl, std::string_view server_name, const std::string& credential_name,
                   const ServerTlsPolicy* policy) {
  std::string bound(server_name);
  bound.append(1, '\0').append(credential_name);
  if (policy) bound.append(1, '\0').append(policy->binding());
  unsigned char digest[SHA256_DIGEST_LENGTH];
  static_assert(sizeof digest <= SSL_MAX_SID_CTX_LENGTH);
  return SHA256(reinterpret_cast<const unsigned char*>(bound.data()), bound.size(), digest) &&
         SSL_set_session_id_context(ssl, digest, sizeof digest) == 1;
}

/// 0, or the alert that ends the handshake.
int choose_credential(SSL* ssl) {
  std::string server_name;
  if (const auto bytes = extension_of(ssl, TLSEXT_TYPE_server_name)) {
    auto name = parse_server_name(*bytes);
    if (!name) return SSL_AD_DECODE_ERROR;
    server_name = std::move(*name);
  }
  ClientHello hello;
  hello.server_name = server_name;
  hello.ssl = ssl;
  auto* chosen = chosen_of(ssl);  // Set when something was told, or a second hello comes.
  if (chosen) hello.local_address = chosen->local_address;
  if (const auto bytes = extension_of(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation)) {
    const auto offer = parse_alpn(*bytes);
    if (!offer) return SSL_AD_DECODE_ERROR;
    hello.offers_acme_tls_alpn = offer->is_acme_tls;
  }
  CredentialPtr credential = callbacks_of(ssl).source.choose(hello);
  if (!credential) return SSL_AD_UNRECOGNIZED_NAME;
  HandshakeRules rules = callbacks_of(ssl).source.rules_for(hello);
  const ServerTlsPolicy* policy = rules.policy.get();
  if (!bind_sessions(ssl, server_name, credential->name, policy) ||
      (policy && !policy->apply(ssl)) || !use_certificate(ssl, credential->chain, credential->key))
    return SSL_AD_INTERNAL_ERROR;
  if (rules.allows_early_data) {
    // Tickets stay stateless: EarlyDataGuard does what OpenSSL's session cache would.
    SSL_set_options(ssl, SSL_OP_NO_ANTI_REPLAY);
    if (SSL_set_max_early_data(ssl, kEarlyDataBytesMax) != 1) return SSL_AD_INTERNAL_ERROR;
  }
  if (!chosen) chosen = add_chosen(ssl);
  if (!chosen) return SSL_AD_INTERNAL_ERROR;
  chosen->credential = std::move(credential);
  chosen->rules = std::move(rules);
  chosen->answers_acme_tls = hello.offers_acme_tls_alpn;
  return 0;
}

int on_client_hello(SSL* ssl, int* alert, void*) {
  *alert = choose_credential(ssl);
  return *alert == 0 ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

/// RFC 7301 section 3.2: no overlap is fatal; OpenSSL sends no_application_protocol then.
int on_alpn(SSL* ssl, const unsigned char** selected, unsigned char* selected_size,
            const unsigned char* list, unsigned list_size, void*) {
  const auto offer = parse_alpn_list({list, list_size});
  const Chosen* chosen = chosen_of(ssl);
  if (!offer || !chosen) return SSL_TLSEXT_ERR_ALERT_FATAL;
  std::string_view choice;
  if (offer->is_acme_tls && chosen->answers_acme_tls)
    choice = "acme-tls/1";
  else if (offer->has_h2)
    choice = "h2";
  else if (offer->has_http1)
    choice = "http/1.1";
  else if (offer->has_http10)
    choice = "http/1.0";
  else
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *selected = reinterpret_cast<const unsigned char*>(choice.data());  // A literal: lives on.
  *selected_size = static_cast<unsigned char>(choice.size());
  return SSL_TLSEXT_ERR_OK;
}

bool set_mac(EVP_MAC_CTX* mac, const TicketKeys::Key& key) {
  unsigned char secret[sizeof key.hmac];
  std::memcpy(secret, key.hmac, sizeof secret);
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, secret, sizeof secret),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end()};
  const bool is_set = EVP_MAC_CTX_set_params(mac, parameters) == 1;
  OPENSSL_cleanse(secret, sizeof secret);
  return is_set;
}

// What OpenSSL wants to hear from a ticket callback.
constexpr int kTicketFailed = -1, kTicketUnknown = 0, kTicketGood = 1, kTicketRenew = 2;

int seal_ticket(TicketKeys& keys, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                EVP_MAC_CTX* mac) {
  keys.rotate_if_due();
  const TicketKeys::Key& key = keys.current();
  std::memcpy(name, key.name, sizeof key.name);
  if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1 ||
      EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.aes, iv) != 1 ||
      !set_mac(mac, key))
    return kTicketFailed;
  return kTicketGood;
}

int on_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
              EVP_MAC_CTX* mac, int is_sealing) {
  TicketKeys& keys = *callbacks_of(ssl).tickets;
  if (is_sealing) return seal_ticket(keys, name, iv, cipher, mac);
  const TicketKeys::Key* key = keys.find(name);
  if (!key) return kTicketUnknown;  // A full handshake follows, and a new ticket.
  if (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key->aes, iv) != 1 ||
      !set_mac(mac, *key))
    return kTicketFailed;
  // RFC 8446 appendix C.4: clients use a TLS 1.3 ticket once, so each use is worth a new one.
  const bool is_spent = SSL_version(ssl) >= TLS1_3_VERSION || key != &keys.current();
  return is_spent ? kTicketRenew : kTicketGood;
}

/// A resumed session shows its client certificate again without our judging it again: not beyond
/// the certificate's own end.
SSL_TICKET_RETURN on_ticket_opened(SSL*, SSL_SESSION* session, const unsigned char*, std::size_t,
                                   SSL_TICKET_STATUS status, void*) {
  const bool is_good = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
  if (!is_good) return SSL_TICKET_RETURN_IGNORE_RENEW;
  const X509* shown = SSL_SESSION_get0_peer(session);
  if (shown && X509_cmp_current_time(X509_get0_notAfter(shown)) <= 0)
    return SSL_TICKET_RETURN_IGNORE_RENEW;
  return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/// Asked when all else speaks for taking the early data of this handshake.
int on_early_data(SSL* ssl, void*) {
  const Chosen* chosen = chosen_of(ssl);
  if (!chosen || !chosen->rules.allows_early_data) return 0;
  std::uint8_t random[SSL3_RANDOM_SIZE];
  const std::size_t size = SSL_get_client_random(ssl, random, sizeof random);
  return callbacks_of(ssl).tickets->early_data().take({random, size}) ? 1 : 0;
}

constexpr long kTicketSeconds = 24 * 3600;  // as TicketKeys has it

bool configure(SSL_CTX* context) {
  SSL_CTX_set_client_hello_cb(context, on_client_hello, nullptr);
  SSL_CTX_set_alpn_select_cb(context, on_alpn, nullptr);
  SSL_CTX_set_allow_early_data_cb(context, on_early_data, nullptr);
  SSL_CTX_set_timeout(context, kTicketSeconds);
  constexpr unsigned char kName[] = "gatehouse";  // Until bind_sessions() narrows it.
  return SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket) == 1 &&
         SSL_CTX_set_session_ticket_cb(context, nullptr, on_ticket_opened, nullptr) == 1 &&
         SSL_CTX_set_num_tickets(context, 1) == 1 && SSL_CTX_set_max_early_data(context, 0) == 1 &&
         SSL_CTX_set_session_id_context(context, kName, sizeof kName - 1) == 1;
}

}  // namespace

// Here because only this file may speak OpenSSL's untyped pointers.
bool keep_verify_san(SSL_CTX* context, std::string verify_san) {
  auto kept = std::make_unique<std::string>(std::move(verify_san));
  if (SSL_CTX_set_ex_data(context, verify_san_index(), kept.get()) != 1) return false;
  (void)kept.release();
  return true;
}

const std::string* verify_san_of(const SSL* ssl) {
  return static_cast<const std::string*>(
      SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), verify_san_index()));
}

ServerTlsContext::ServerTlsContext() = default;
ServerTlsContext::~ServerTlsContext() = default;

Result<std::shared_ptr<ServerTlsContext>> ServerTlsContext::create(
    TlsProfile profile, CredentialSource& source, std::shared_ptr<TicketKeys> tickets) {
  check(tickets != nullptr, "a server context needs ticket keys");
  SslContextPtr context(SSL_CTX_new(TLS_server_method()));
  if (!context || !apply_policy(context.get(), profile) || !configure(context.get()))
    return openssl_error("preparing TLS for listeners");
  auto callbacks = std::make_unique<Callbacks>(Callbacks{source, std::move(tickets)});
  if (SSL_CTX_set_ex_data(context.get(), callbacks_index(), callbacks.get()) != 1)
    return openssl_error("preparing TLS for listeners");
  (void)callbacks.release();
  std::shared_ptr<ServerTlsContext> made(new ServerTlsContext);
  made->state_ = std::make_unique<State>();
  made->state_->context = std::move(context);
  return made;
}

Result<SslPtr> ServerTlsContext::new_ssl(std::string local_address) const {
  SslPtr ssl(SSL_new(state_->context.get()));
  Chosen* told = ssl && !local_address.empty() ? add_chosen(ssl.get()) : nullptr;
  if (!ssl || (!told && !local_address.empty())) return openssl_error("beginning a TLS handshake");
  if (told) told->local_address = std::move(local_address);
  SSL_set_accept_state(ssl.get());
  return ssl;
}

const Credential* ServerTlsContext::credential_of(const SSL* ssl) {
  const Chosen* chosen = chosen_of(ssl);
  return chosen ? chosen->credential.get() : nullptr;
}

const ServerTlsPolicy* ServerTlsContext::policy_of(const SSL* ssl) {
  const Chosen* chosen = chosen_of(ssl);
  return chosen ? chosen->rules.policy.get() : nullptr;
}

}  // namespace gatehouse::net
