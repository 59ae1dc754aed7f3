#pragma once
// The hosts of one backend on one loop: each address that an endpoint stands for is a host with a
// pool of its own. It keeps them as DNS says (discovery), chooses one for each attempt (balancer),
// and judges them by how attempts end. New hosts join, vanished ones drain. What it must hold or
// know together with its likes on other loops is in the backend's commons. Survives a reload as
// long as the backend's configuration stays the same. Owned by the data plane's table.

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "proxy/connection/backend_commons.h"
#include "proxy/connection/backend_pool.h"
#include "proxy/connection/backend_status.h"
#include "proxy/connection/client_pools.h"
#include "proxy/connection/discovery.h"
#include "proxy/connection/health_checker.h"
#include "proxy/routing/balancer.h"

namespace gatehouse::proxy {

class Cluster {
 public:
  /// `backend` keeps alive what it is part of. `tls` is null when no endpoint speaks it.
  Cluster(ConnectionHost& host, std::shared_ptr<const Backend> backend,
          std::shared_ptr<net::ClientTlsContext> tls, std::shared_ptr<BackendCommons> commons);
  ~Cluster();

  void start(ClusterId id);
  bool has_started() const { return discovery_ != nullptr; }
  /// A reload has the same backend in another snapshot.
  void adopt(std::shared_ptr<const Backend> same) { backend_ = std::move(same); }
  /// The configuration has it no more. Destroyed when is_over().
  void retire();
  void stop_checks();
  bool is_over() const { return is_retired_ && balancer_.active() == 0 && waiting_.empty(); }

  /// Chooses a host for an exchange (in kWaiting) and hands it to the host's pool; the exchange
  /// waits when no host is known yet, and is answered when there is none to have.
  void send(Exchange& exchange);
  /// The exchange does not wait any more, neither here nor in a pool.
  void leave(const Exchange& exchange);
  void on_attempt_over(Exchange& exchange, AttemptEnd end);
  /// A place for a connection has come to this loop. False: nobody here needs it.
  bool use_place();
  /// A pool waits for a place: whoever has an idle connection, here or on other loops, closes it.
  void ask_for_room();
  void make_room();
  /// Some pool waits for a connection that was not begun.
  bool needs_connection();
  /// The client's connection is over, and with it those that name it.
  void forget_client(FrontendId client);
  /// An active check is over.
  void on_checked(std::uint32_t slot, std::uint64_t round, bool passed, const std::string& reason);
  /// Another loop has judged that host.
  void learn(std::uint64_t host);
  /// DNS has answered, or failed.
  void on_places();

  const Backend& backend() const { return *backend_; }
  Discovery& discovery() { return *discovery_; }
  std::size_t size() const { return balancer_.size(); }
  BackendStatus status();
  const std::shared_ptr<BackendCommons>& commons() const { return commons_; }

 private:
  struct Seat {  // of a slot
    Place place;
    PoolId pool;
    std::string reason;  // of its last failed check
  };
  struct Waiter {
    ExchangeId exchange;
    SteadyTime until;
  };

  std::uint64_t id_of(const Place& place) const;
  void take_places();
  void add(std::uint64_t id, Place place);
  std::vector<PoolId> remove(std::uint32_t slot);
  void send_elsewhere(PoolId left);
  void watch(std::uint32_t slot);
  void publish();
  Endpoint endpoint_of(const Place& place) const;
  void wait_for_hosts(Exchange& exchange);
  void serve_waiting();
  void on_wait_timer();
  bool enter_request() { return backend_->limits.requests == 0 || commons_->enter_request(); }
  void leave_request() {
    if (backend_->limits.requests != 0) commons_->leave_request();
  }
  void place(Exchange& exchange);
  void on_return_timer();
  void arm_return();
  bool is_home() const { return commons_->home() == host_.loop_index(); }
  void tell_others(const ClusterNews& news);
  bool take_facts(std::uint32_t slot);
  BackendPool* neediest();
  bool close_idle();
  BackendPool* pool_of(std::uint32_t slot, const Exchange& exchange);
  PoolId make_pool(std::uint32_t slot);
  void refuse(Exchange& exchange, ResponseFlag flag, std::string_view detail);

  ConnectionHost& host_;
  std::shared_ptr<const Backend> backend_;
  std::shared_ptr<net::ClientTlsContext> tls_;
  ClusterId id_;
  std::shared_ptr<BackendCommons> commons_;
  Balancer balancer_;
  std::unique_ptr<Discovery> discovery_;
  std::unique_ptr<HealthChecker> checker_;     // only with `health`, on the home loop
  std::unique_ptr<ClientPools> client_pools_;  // only with `send_proxy_protocol`: instead of Seat's
  Gauge* hosts_gauge_ = nullptr;               // with `health` or `eject`, until retired
  Gauge* usable_gauge_ = nullptr;
  std::vector<Seat> seats_;      // by slot
  std::vector<Waiter> waiting_;  // for DNS, the oldest first
  bool is_retired_ = false;
  bool has_had_hosts_ = false;
  std::unique_ptr<Timer> wait_timer_;    // only while somebody waits for DNS for the first time
  std::unique_ptr<Timer> return_timer_;  // only with `eject`
};

}  // namespace gatehouse::proxy
