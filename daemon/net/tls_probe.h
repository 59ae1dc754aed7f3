#pragma once
// Which certificate a server shows for a name: one TLS handshake and no request. That the server
// has the key of what it shows is proven by the handshake; whom the certificate is from is not
// looked at: the caller knows which one it expects. For the control plane.

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "daemon/base/error.h"
#include "daemon/net/certificate.h"

namespace boost::asio {
class io_context;
}

namespace gatehouse::net {

class Resolver;

struct ProbeRequest {
  std::string host;
  std::uint16_t port = 443;
  std::string server_name;                                       // SNI; empty: none
  std::chrono::milliseconds deadline = std::chrono::seconds(5);  // for all of it
};

/// Of the leaf. Errors: kResolve, kConnection, kTls, kTimeout, kCancelled.
boost::asio::awaitable<Result<CertificateFacts>> probe_certificate(boost::asio::io_context& context,
                                                                   Resolver& resolver,
                                                                   ProbeRequest request);

/// The same, with whatever it needs bound to it; a fake in tests.
using CertificateProbe =
    std::function<boost::asio::awaitable<Result<CertificateFacts>>(ProbeRequest)>;

}  // namespace gatehouse::net
