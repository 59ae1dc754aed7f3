#pragma once
// Names to addresses and services (SRV), without blocking: c-ares, its sockets in the Poller, its
// timeouts on the loop's TimerQueue. Answers are kept for their TTL. The system's configuration is
// honoured
// (/etc/hosts, the servers and search domains of /etc/resolv.conf, also when that changes), except
// that localhost is loopback, whatever DNS says (RFC 6761 section 6.3).

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/net/address.h"

namespace gatehouse::net {

class Loop;
class Poller;

struct ResolverOptions {
  std::string servers;                         // "127.0.0.1:5300,[::1]:5300"; empty: the system's
  Duration timeout = std::chrono::seconds(2);  // of the first attempt; further ones take longer
  int attempts = 3;                            // for each server
};

class Resolver {
 public:
  using Addresses = std::vector<SocketAddress>;
  /// Not empty when it is no error. In the order in which they should be tried: RFC 6724, with the
  /// families taking turns (RFC 8305 section 4).
  using Done = std::function<void(Result<Addresses>)>;
  /// An answer, and when it is to be asked for again.
  struct Found {
    Addresses addresses;
    SteadyTime until;
  };
  using FoundDone = std::function<void(Result<Found>)>;
  /// One line of an SRV answer (RFC 2782).
  struct Service {
    std::string host;  // lower case, no dot at its end
    std::uint16_t port = 0, priority = 0, weight = 0;
    friend bool operator==(const Service&, const Service&) = default;
  };
  struct Services {
    std::vector<Service> services;  // not empty
    SteadyTime until;
  };
  using ServicesDone = std::function<void(Result<Services>)>;

  /// Loop and poller outlive the resolver.
  Resolver(Loop& loop, Poller& poller, ResolverOptions options = {});
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  Result<void> start();
  /// Forgets every question: their callbacks are never called.
  void stop();

  /// Calls done in a later turn. An address literal is its own answer. The same question asked
  /// twice goes out once. Whoever asks and may go before the answer hands in an id, not itself.
  void resolve(const std::string& name, std::uint16_t port, Done done);
  /// The same, for who wants to know how long the answer holds.
  void find(const std::string& name, std::uint16_t port, FoundDone done);
  /// The services of a name such as _http._tcp.mesh.example. Not kept: who asks again asks DNS.
  void find_services(const std::string& name, ServicesDone done);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gatehouse::net
