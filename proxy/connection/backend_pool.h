#pragma once
// The connections to one endpoint, and the exchanges that wait for one. HTTP/1.1 connections are
// reused last in, first out; HTTP/2 connections carry many streams, the fullest first, and another
// is opened when none has room. Connects to the addresses of the endpoint's name in turn. Survives
// a reload as long as its key stays in the configuration. Owned by the data plane's table.

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "proxy/connection/backend_connection.h"
#include "proxy/connection/connection_host.h"

namespace gatehouse::proxy {

class BackendPool {
 public:
  BackendPool(ConnectionHost& host, const Backend& backend, const Endpoint& endpoint,
              std::shared_ptr<net::ClientTlsContext> tls);

  /// What makes two configured endpoints the same pool.
  static std::string key_of(const Backend& backend, const Endpoint& endpoint);

  void start(PoolId id) { id_ = id; }
  /// Gives the exchange (in kWaiting) a stream now, queues it, or replies 503 UO.
  void acquire(Exchange& exchange);
  /// The exchange is not waiting any more.
  void leave(const Exchange& exchange);

  // Told by its connections.
  void on_connected(BackendConnection& connection);
  void on_connect_failed(BackendConnection& connection, const std::string& reason);
  void on_closed(BackendConnection& connection);
  /// The connection has capacity again.
  void offer(BackendConnection& connection);

  /// Closes what is idle, lets the rest finish. Done when is_empty().
  void retire();
  bool is_retiring() const { return is_retiring_; }
  bool is_empty() const { return connections_ == 0 && waiting_.empty(); }
  std::size_t connections() const { return connections_; }
  std::size_t waiting() const { return waiting_.size(); }
  const std::string& backend_name() const { return backend_name_; }
  /// The endpoint as configured: "host:port" or "unix:/path".
  const std::string& text() const { return text_; }

 private:
  void connect_for_waiting();
  void resolve();
  bool connect();
  void serve_waiting(BackendConnection& connection);
  void fail_waiting(ResponseFlag flag, std::string_view detail);
  BackendConnection* take_offered();

  ConnectionHost& host_;
  std::string backend_name_;
  Endpoint endpoint_;
  BackendConnection::Settings settings_;
  Backend::Caps caps_;
  std::shared_ptr<net::ClientTlsContext> tls_;
  PoolId id_;
  std::string text_;
  std::vector<BackendId> offered_;  // with capacity, the next one last; may hold ids of the dead
  std::deque<ExchangeId> waiting_;
  std::vector<net::SocketAddress> addresses_;
  std::size_t next_address_ = 0;
  std::size_t failed_in_a_row_ = 0;  // connects, since one succeeded
  std::size_t connections_ = 0, connecting_ = 0;
  SteadyTime resolved_at_{};
  bool is_literal_ = false;  // an address or a path: nothing to resolve
  bool is_resolving_ = false;
  bool speaks_h2_ = false;  // what the last connection turned out to speak
  bool is_retiring_ = false;
};

}  // namespace gatehouse::proxy
