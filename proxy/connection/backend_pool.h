#pragma once
// The connections to one host (an address) of a backend, and the exchanges that wait for one.
// HTTP/1.1 connections are reused last in, first out; HTTP/2 connections carry many streams, the
// fullest first, and another is opened when none has room. Where ALPN chooses, an upgrade has a
// connection of its own that offers HTTP/1.1 alone: few backends of HTTP/2 know extended CONNECT.
// Made by the cluster that its host belongs to, owned by the data plane's table.

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/connection/backend_commons.h"
#include "proxy/connection/backend_connection.h"
#include "proxy/connection/connection_host.h"

namespace gatehouse::proxy {

/// How a backend's host is connected to. `tls` outlives the connections.
BackendConnection::Settings connection_settings(const Backend& backend, const Endpoint& endpoint,
                                                const net::SocketAddress& address,
                                                const net::ClientTlsContext* tls);

/// Begins to connect: the descriptor, or why not even that worked.
Result<int> begin_connect(const net::SocketAddress& address);

/// The backend has room for one more connection, and it is the turn of loop `to`: of the cluster
/// here, or somebody who is told. When nobody needs it any more, the place is free.
void hand_on_place(ConnectionHost& host, const std::shared_ptr<BackendCommons>& commons,
                   std::optional<std::size_t> to);

class BackendPool {
 public:
  /// `endpoint.host` is the name that the address was found by; `tls` is null without TLS. `id` is
  /// the host's.
  BackendPool(ConnectionHost& host, ClusterId cluster, const Backend& backend,
              const Endpoint& endpoint, const net::SocketAddress& address,
              std::shared_ptr<net::ClientTlsContext> tls, std::shared_ptr<BackendCommons> commons,
              std::uint64_t id);
  ~BackendPool();

  void start(PoolId id) { id_ = id; }
  /// Its connections begin with this header, which names the client whose alone they are. Before
  /// it is used.
  void belong_to_client(std::string proxy_header);
  /// Gives the exchange (in kWaiting) a stream now, queues it, or replies 503 UO.
  void acquire(Exchange& exchange);
  /// The exchange is not waiting any more.
  void leave(const Exchange& exchange);
  /// Nobody waits here any more: those who did.
  std::deque<ExchangeId> dismiss_waiting();
  /// Opens connections for those who wait, as far as the backend's cap allows.
  void connect_for_waiting();
  /// The same with a place that another connection has left. Before it: needs_connection().
  void connect_in_place();
  /// Somebody waits for whom no connection was begun.
  bool needs_connection() const;

  // Told by its connections.
  void on_connected(BackendConnection& connection);
  void on_connect_failed(BackendConnection& connection, const std::string& reason);
  void on_closed(BackendConnection& connection);
  /// The connection has capacity again.
  void offer(BackendConnection& connection);

  /// Closes one connection without requests, if there is any.
  bool close_idle();
  /// Closes what is idle, lets the rest finish. Done when is_empty().
  void retire();
  bool is_retiring() const { return is_retiring_; }
  bool is_empty() const { return connections_ == 0 && waiting() == 0; }
  std::size_t connections() const { return connections_; }
  std::size_t waiting() const { return waiting_.size() + waiting_upgrades_.size(); }
  const std::string& backend_name() const { return backend_name_; }
  /// "ip:port" or "unix:/path".
  const std::string& text() const { return settings_.address; }

 private:
  bool take_place();
  bool connect();
  bool gives_way();
  void reuse(BackendConnection& connection);
  void count_closed();
  std::size_t& connecting(const BackendConnection& connection) {
    return connection.is_for_upgrade() ? connecting_upgrades_ : connecting_;
  }
  void serve_waiting(BackendConnection& connection);
  void fail_waiting(ResponseFlag flag, std::string_view detail);
  BackendConnection* take_offered();

  ConnectionHost& host_;
  ClusterId cluster_;
  std::string backend_name_;
  net::SocketAddress address_;
  std::shared_ptr<net::ClientTlsContext> tls_;
  BackendConnection::Settings settings_;
  std::shared_ptr<BackendCommons> commons_;
  const std::uint64_t host_id_;
  const std::size_t loop_;
  PoolId id_;
  std::vector<BackendId> offered_;  // with capacity, the next one last; may hold ids of the dead
  std::deque<ExchangeId> waiting_;
  std::deque<ExchangeId> waiting_upgrades_;  // for a connection of their own
  std::size_t connections_ = 0, connecting_ = 0, connecting_upgrades_ = 0;
  bool speaks_h2_ = false;  // what the last connection turned out to speak
  bool is_retiring_ = false;
  bool is_clients_own_ = false;
};

}  // namespace gatehouse::proxy
