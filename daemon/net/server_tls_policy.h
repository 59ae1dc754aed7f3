#pragma once
// What some names ask of TLS beyond the listener's own settings: a protocol version and client
// certificates. Put on single handshakes when their name is known, so that any number of policies
// costs no context of its own. Immutable, shared by names and by loops.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/error.h"
#include "daemon/net/openssl.h"

namespace gatehouse::net {

/// Mozilla's profiles: modern is TLS 1.3 only; intermediate adds TLS 1.2 with AEAD and forward
/// secrecy. No renegotiation, no compression.
enum class TlsProfile : std::uint8_t { kModern, kIntermediate };

/// Whether visitors are asked for a certificate. One that is shown must verify in both cases.
enum class ClientCertificates : std::uint8_t { kOff, kOptional, kRequired };

class ServerTlsPolicy {
 public:
  struct Options {
    std::string name;  // of what was configured: policies with the same name are the same
    TlsProfile profile = TlsProfile::kIntermediate;
    ClientCertificates clients = ClientCertificates::kOff;
    std::string_view ca_pem;  // who may sign them: roots, or intermediates as they are
    std::string_view
        crl_pem;  // not empty: a list of each of these CAs is needed, and must be fresh
  };
  /// kInvalid: PEM that is none, or lacks what it must have.
  static Result<std::shared_ptr<const ServerTlsPolicy>> create(const Options& options);
  ~ServerTlsPolicy();

  const std::string& name() const { return name_; }
  bool asks_for_certificates() const { return clients_ != ClientCertificates::kOff; }
  /// Puts it on a handshake whose ClientHello is being judged. False: see openssl_error().
  bool apply(SSL* ssl) const;
  /// What sessions made under it are bound to, contents of files included: a session does not
  /// outlive the list of revoked certificates that it was judged by.
  std::string_view binding() const { return binding_; }

 private:
  ServerTlsPolicy() = default;
  std::string name_, binding_;
  TlsProfile profile_ = TlsProfile::kIntermediate;
  ClientCertificates clients_ = ClientCertificates::kOff;
  struct Trust;
  std::unique_ptr<const Trust> trust_;  // null without client certificates
};

}  // namespace gatehouse::net
