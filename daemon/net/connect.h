#pragma once
// A TCP connection to a name, for coroutines of the control plane: looked up and connected, with
// one deadline over both. Includes Asio and Beast.

#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "daemon/base/error.h"

namespace boost::asio {
class io_context;
}

namespace gatehouse::net {

class Resolver;

struct ConnectRequest {
  std::string host;  // a name, or an address without brackets
  std::uint16_t port = 0;
  /// Null: the C library's getaddrinfo is asked, on a thread of Asio's. Outlives the request.
  Resolver* resolver = nullptr;
  std::chrono::steady_clock::time_point deadline;

  std::string host_and_port() const;
};

/// The first address that takes the connection. Errors: kResolve, kConnection, kTimeout,
/// kCancelled; Asio's exception for a cancelled wait has to be off. A peer that is gone without a
/// word is noticed within a minute.
boost::asio::awaitable<Result<std::unique_ptr<boost::beast::tcp_stream>>> connect_to(
    boost::asio::io_context& context, ConnectRequest request);

}  // namespace gatehouse::net
