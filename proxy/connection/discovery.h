#pragma once
// Where the hosts of a backend are: asks DNS for the names in its endpoints, again when the answer
// is outdated, and keeps the last good answer while DNS fails. Addresses and unix sockets are their
// own answer. Names of a backend that nobody uses are not asked for: the first request after some
// quiet waits for a fresh answer. Part of a cluster, which decides what a change means.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "daemon/net/resolver.h"
#include "proxy/connection/connection_host.h"

namespace gatehouse::proxy {

/// One host, as it was found.
struct Place {
  net::SocketAddress address;
  std::size_t endpoint = 0;  // of the backend, which it was found by
  std::string name;          // that the address was found by: for TLS
  std::uint32_t weight = 1;
  std::uint16_t priority = 0;
};

class Discovery {
 public:
  /// The shortest time between two questions, and the longest after failures.
  static constexpr Duration kShortest = std::chrono::seconds(1);

  Discovery(ConnectionHost& host, const Backend& backend, ClusterId cluster);

  /// Whether there is anything to ask for at all.
  bool has_names() const { return has_names_; }
  /// Asks for everything now, and from then on without being used, too.
  void watch();
  void stop();
  /// A request comes: see may_use_hosts().
  void touch() {
    is_used_ = true;
    if (is_asleep_) wake();
  }
  /// False: what is known may be outdated for long, and DNS was asked.
  bool may_use_hosts() const { return !is_waking_; }
  bool is_asking() const { return asking_ > 0; }
  /// Gives up waiting for a slow answer: the old one is used.
  void stop_waiting() { is_waking_ = false; }
  /// All that is known now, from all endpoints.
  std::vector<Place> places() const;

  // Answers, by the number of the endpoint.
  void on_addresses(std::size_t endpoint, const Result<net::Resolver::Found>& answer);
  void on_services(std::size_t endpoint, const Result<net::Resolver::Services>& answer);
  void on_service_addresses(std::size_t endpoint, std::uint32_t round,
                            const net::Resolver::Service& service,
                            const Result<net::Resolver::Found>& answer);

 private:
  struct Source {
    std::string name;  // empty: nothing to ask for
    std::uint16_t port = 0;
    bool is_srv = false;
    bool is_asked = false;
    std::uint32_t failures = 0;
    SteadyTime until{};  // when it is asked for again
    std::vector<Place> places;
    // Of an SRV answer, while its hosts are looked up.
    std::uint32_t round = 0;
    std::size_t open = 0;
    SteadyTime gathered_until{};
    std::vector<Place> gathered;
  };

  void wake();
  void on_timer();
  void ask(std::size_t endpoint);
  void ask_due();
  void take(std::size_t endpoint, std::vector<Place> places, SteadyTime until);
  void fail(std::size_t endpoint, const std::string& reason);
  void tell();
  void arm();

  ConnectionHost& host_;
  const std::string backend_name_;
  const ClusterId cluster_;
  std::vector<Source> sources_;  // by endpoint
  std::size_t asking_ = 0;
  bool has_names_ = false;
  bool is_watched_ = false;
  bool is_used_ = false;  // since the last answer
  bool is_asleep_ = false, is_waking_ = false;
  std::unique_ptr<Timer> timer_;  // only when there are names
};

}  // namespace gatehouse::proxy
