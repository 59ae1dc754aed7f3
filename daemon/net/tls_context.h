#pragma once
// SSL_CTX for servers and clients. One server context per TLS profile, whatever the number of
// names: the certificate is chosen by name in the ClientHello, from a source that the proxy gives.
// Session tickets are stateless with keys that rotate; the session cache is off
// (PERFORMANCE.md 4.7).

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/base/random.h"
#include "daemon/net/certificate.h"
#include "daemon/net/early_data_guard.h"
#include "daemon/net/openssl.h"
#include "daemon/net/server_tls_policy.h"

namespace gatehouse::net {

/// What the ClientHello asked for, before anything is decided.
struct ClientHello {
  std::string_view server_name;       // SNI, lower case, without a trailing dot; empty: none
  bool offers_acme_tls_alpn = false;  // the ALPN list is exactly "acme-tls/1" (RFC 8737 section 3)
  const SSL* ssl = nullptr;           // to find the connection (see SSL_get_ex_data in tls_engine)
  /// The address that the client has connected to, when new_ssl() was told; else the socket's.
  std::string_view local_address = {};
};

/// What a name asks for beyond the context's settings.
struct HandshakeRules {
  std::shared_ptr<const ServerTlsPolicy> policy = nullptr;  // null: nothing
  bool allows_early_data = false;
};

/// Bytes of early data that a client may send (RFC 8446 section 4.2.10).
inline constexpr std::uint32_t kEarlyDataBytesMax = 16 * 1024;

/// Chooses the certificate for a handshake. Called on the loop; must not block.
class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  /// Null: no such name; the handshake ends with the alert unrecognized_name (RFC 6066 section 3).
  virtual CredentialPtr choose(const ClientHello& hello) = 0;
  virtual HandshakeRules rules_for(const ClientHello&) { return {}; }
};

/// Keys for session tickets (RFC 5077 form, AES-256-CBC and HMAC-SHA-256): the current one
/// encrypts, the current and the previous ones decrypt. Secrets come from OpenSSL.
class TicketKeys {
 public:
  struct Key {
    unsigned char name[16], aes[32], hmac[32];
    WallTime created{};      // when it begins to encrypt
    bool is_shared = false;  // with other processes
  };
  /// Makes the first key. Rotation: a new key every 12 h; tickets live 24 h.
  static Result<std::shared_ptr<TicketKeys>> create(const Clock& clock);
  ~TicketKeys();  // wipes the keys
  /// A key for a set that several processes share. It encrypts from then on, so that all of them
  /// know it when the first one uses it.
  static Result<Key> make_shared_key(WallTime from);
  /// From now on the keys of that set encrypt, each from its time on; our own ones only decrypt
  /// what they have encrypted. When nobody renews the set for a day, we make our own again.
  void use_shared(const std::vector<Key>& keys);
  /// Makes a new current key when the old one is due; keeps those that tickets may still need (two
  /// at most). The server contexts call it before each new ticket; so no timer is needed. Safe from
  /// any thread: the loops share the keys, so that a visitor may come back to any of them.
  void rotate_if_due();
  const Key& current() const;
  const Key* find(const unsigned char name[16]) const;
  /// A ticket's early data is taken once.
  EarlyDataGuard& early_data();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Shared by all connections of a listener. ALPN: h2, http/1.1 by the client's offer with h2 first;
/// no overlap: alert no_application_protocol; acme-tls/1 only when `choose` answered for it.
class ServerTlsContext {
 public:
  /// `source` outlives the context.
  static Result<std::shared_ptr<ServerTlsContext>> create(TlsProfile profile,
                                                          CredentialSource& source,
                                                          std::shared_ptr<TicketKeys> tickets);
  ~ServerTlsContext();
  /// A new SSL in accept state. An end of the stream without close_notify is an error there
  /// (SSL_R_UNEXPECTED_EOF_WHILE_READING): the session knows whether it cut something. Its socket
  /// and BIOs are set by the caller. `local_address` is for the ClientHello.
  Result<SslPtr> new_ssl(std::string local_address = {}) const;
  /// The credential that choose() gave for this handshake; null before the ClientHello.
  static const Credential* credential_of(const SSL* ssl);
  /// The policy that rules_for() gave; may be null.
  static const ServerTlsPolicy* policy_of(const SSL* ssl);

 private:
  struct State;
  std::unique_ptr<State> state_;
  ServerTlsContext();
};

struct ClientTlsOptions {
  std::string ca_file;                        // empty: the system's roots, unless ca_pem is given
  std::string ca_pem;                         // roots as text, instead of ca_file
  bool offer_h2 = false, offer_http1 = true;  // ALPN, in this order
  CredentialPtr credential;                   // shown to peers that ask for one; may be null
  /// When not empty, the peer's certificate must have this subject alternative name, and its host
  /// name is not looked at: "spiffe://cluster.local/ns/..." (a URI, exact) or a DNS name.
  std::string verify_san;
};

/// Verifies the peer's chain and name, always. TLS 1.2 or newer. The roots are loaded once, so
/// share it. An end of the stream without close_notify is an error: a cut body never looks whole.
class ClientTlsContext {
 public:
  static Result<std::shared_ptr<ClientTlsContext>> create(const ClientTlsOptions& options);
  ~ClientTlsContext();
  /// A new SSL in connect state with SNI and name check for `server_name` (or an address: no SNI).
  Result<SslPtr> new_ssl(const std::string& server_name) const;
  SSL_CTX* native() const;
  /// Becomes what `fresh` is, for connections that begin from now on: files have changed.
  void take(ClientTlsContext& fresh) { state_.swap(fresh.state_); }

 private:
  struct State;
  std::unique_ptr<State> state_;
  ClientTlsContext();
};

}  // namespace gatehouse::net
