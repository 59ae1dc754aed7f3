#pragma once
// TLS on a socket, for both roles: SSL works on the descriptor itself, and records are gathered so
// that a turn ends in one send(2). Nothing here waits: each call says what it would wait for.
// Owns the SSL, not the descriptor.

#include <memory>
#include <string>
#include <string_view>

#include "daemon/base/flat_buffer.h"
#include "daemon/net/certificate.h"
#include "daemon/net/openssl.h"
#include "daemon/net/server_tls_policy.h"
#include "daemon/net/tls_bio.h"

namespace gatehouse::proxy {

/// How a non-blocking operation on a connection ended.
enum class Io : std::uint8_t {
  kDone,       // Something moved; for write: everything did.
  kWantRead,   // Nothing until the socket is readable.
  kWantWrite,  // Nothing (more) until the socket is writable.
  kEof,        // The peer ended its stream in good order.
  kFailed,     // The connection is broken.
};

class TlsEngine {
 public:
  /// `ssl` has its role set already (accept or connect state).
  explicit TlsEngine(net::SslPtr ssl) : ssl_(std::move(ssl)) {}

  /// Puts the engine on the socket. Once, before anything else.
  bool attach(int descriptor);
  /// Server role, before the handshake: takes what the client sends ahead of its end.
  void accept_early_data() { early_input_ = std::make_unique<std::string>(); }
  /// With early data it goes on while early_input() comes and write() works already.
  Io handshake();
  /// What came so far, for the caller to take; null: none can come (any more).
  std::string* early_input() { return early_input_.get(); }
  void end_early_data() { early_input_.reset(); }
  /// Reads at most one record's worth (or up to `size`) into `to`; `got` says how much.
  Io read(char* to, std::size_t size, std::size_t& got);
  /// True: read() will give more without the socket becoming readable.
  bool has_pending() const { return SSL_has_pending(ssl_.get()) == 1; }
  /// Writes all of `from` that the socket takes, in full records; consumes what was taken. With
  /// `has_more` what does not fill a record stays, and records may wait for those to come.
  Io write(FlatBuffer& from, bool has_more);
  /// Bytes of records that the socket has not taken yet.
  std::size_t gathered() const { return net::gathered_bytes(ssl_.get()); }
  /// Frees what a silent connection does not need.
  void shrink() { net::shrink_records(ssl_.get()); }
  /// Sends close_notify as far as the socket takes it.
  void close_notify();

  std::string_view alpn() const;
  std::string_view server_name() const;  // as the client asked; empty without SNI
  /// Server role: the credential chosen for this connection, null before the ClientHello.
  const net::Credential* credential() const;
  /// Server role: what the name asked for beyond the listener's settings; may be null.
  const net::ServerTlsPolicy* policy() const;
  /// Why the last operation failed, from OpenSSL's queue; for the log.
  const std::string& failure() const { return failure_; }
  /// The peer ended it with an alert, which failure() names.
  bool has_alert() const { return has_alert_; }
  SSL* native() const { return ssl_.get(); }

 private:
  Io outcome(int result);
  Io read_early_data();
  Io write_early(FlatBuffer& from);
  Io write_records(FlatBuffer& from, bool has_more);
  net::SslPtr ssl_;
  std::size_t repeat_ = 0;  // length of an SSL_write that must be repeated as it was
  bool is_open_ = false;
  bool has_read_early_data_ = false;  // all of it
  bool has_alert_ = false;
  std::string failure_;
  std::unique_ptr<std::string> early_input_;
};

}  // namespace gatehouse::proxy
