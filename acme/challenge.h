#pragma once
// The seam between acme, which makes challenge answers, and whoever serves them (the proxy's
// ChallengeTables, joined by the roof). An answer is in place before the CA is told, and removed
// when the authorization is over.

#include <boost/asio/awaitable.hpp>
#include <string>
#include <string_view>

#include "daemon/base/error.h"
#include "daemon/net/certificate.h"

namespace gatehouse::acme {

class ChallengeSink {
 public:
  virtual ~ChallengeSink() = default;
  /// HTTP-01 (RFC 8555 section 8.3): GET /.well-known/acme-challenge/TOKEN answers this.
  virtual void put_http(const std::string& token, const std::string& key_authorization) = 0;
  virtual void remove_http(const std::string& token) = 0;
  /// TLS-ALPN-01 (RFC 8737): the certificate for a handshake with that SNI and only acme-tls/1.
  /// For an address, SNI is its reverse-mapping name (RFC 8738 section 6); the caller gives that.
  virtual void put_tls_alpn(const std::string& server_name, net::CredentialPtr credential) = 0;
  virtual void remove_tls_alpn(const std::string& server_name) = 0;
  /// Returns when whatever was put before is served, on every loop: then the CA may be told.
  virtual boost::asio::awaitable<void> settled() = 0;
};

}  // namespace gatehouse::acme
