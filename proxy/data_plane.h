#pragma once
// The data plane of one loop: its listeners, connections, exchanges and pools, and the turn in
// which they are flushed and reaped. Share-nothing: what it gets from outside is an immutable
// snapshot (Router, CertificateTable) or a call on its loop. It decides for each request where it
// goes (data_plane_requests.cc); how bytes move is the connections' business.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/base/loop_ref.h"
#include "daemon/net/tls_context.h"
#include "proxy/access_log.h"
#include "proxy/connection/backend_pool.h"
#include "proxy/connection/connection_host.h"
#include "proxy/connection/frontend_connection.h"
#include "proxy/connection/listener.h"
#include "proxy/routing/balancer.h"
#include "proxy/routing/certificate_table.h"
#include "proxy/routing/challenge_table.h"
#include "proxy/routing/router.h"

namespace gatehouse::proxy {

/// What a data plane works with; all outlive it.
struct DataPlaneTools {
  net::Loop& loop;
  net::Poller& poller;
  net::Resolver& resolver;
  Random& random;
  Metrics& metrics;
};

/// Listening sockets that were opened before us, by the text of their address ("[::]:443").
using InheritedSockets = std::map<std::string, int>;

class DataPlane final : public ConnectionHost, public ExchangeHost {
 public:
  explicit DataPlane(const DataPlaneTools& tools);
  ~DataPlane() override;

  /// Before start(): the keys for session tickets.
  void use_tickets(std::shared_ptr<net::TicketKeys> tickets) { tickets_ = std::move(tickets); }
  /// Takes a snapshot: opens its listeners and log first, so that a failure changes nothing, then
  /// swaps. Connections, pools and listeners that did not change go on. Also the first start.
  Result<void> use(std::shared_ptr<const Router> router, const InheritedSockets& inherited);
  /// Effective with the next handshake.
  void use(std::shared_ptr<const CertificateTable> certificates);
  const std::shared_ptr<const CertificateTable>& certificates() const { return chooser_.table(); }
  ChallengeTable& challenges() { return challenges_; }

  /// Stops accepting and lets connections end: GOAWAY twice, "connection: close"; all is over, and
  /// `done` called, when none is left or limits.drain_timeout has passed.
  void drain(std::function<void()> done);
  Result<void> reopen_log();

  std::size_t frontend_count() const { return frontends_.size(); }
  std::size_t exchange_count() const { return exchanges_.size(); }
  /// Addresses that are listened on, with the ports that were really bound.
  std::vector<std::pair<std::string, bool>> listening() const;

 private:
  struct Target {
    const Backend* backend;
    Balancer balancer;
    std::vector<PoolId> pools;  // one for each endpoint
  };
  /// The loop's own view of a snapshot: requests hold it without atomics.
  struct View final : LoopShared {
    std::shared_ptr<const Router> router;
    std::vector<Target> targets;
  };
  struct FrontendSink;
  struct BackendSink;
  struct ListenerSink;

  // ConnectionHost
  net::Poller& poller() override { return tools_.poller; }
  net::Resolver& resolver() override { return tools_.resolver; }
  TimerQueue& timers() override { return tools_.loop.timers(); }
  const Clock& clock() const override { return tools_.loop.clock(); }
  Random& random() override { return tools_.random; }
  const Limits& limits() const override { return limits_; }
  ConnectionMetrics& metrics() override { return connection_metrics_; }
  std::span<char> scratch() override { return {scratch_.get(), kScratchBytes}; }
  void mark_dirty(FrontendConnection& connection) override;
  void mark_dirty(BackendConnection& connection) override;
  void resume_later(FrontendConnection& connection) override;
  void resume_later(BackendConnection& connection) override;
  void retire(FrontendConnection& connection) override;
  void retire(BackendConnection& connection) override;
  StreamToken on_request(FrontendConnection& from, StreamId stream, RequestHead& head,
                         bool ended) override;
  void on_refused(FrontendConnection& from, const RequestHead& head, int status,
                  std::string_view detail) override;
  Exchange* find_exchange(StreamToken token) override;
  BackendPool* find_pool(PoolId id) override { return pools_.find(id); }
  void on_connect_failed(Exchange& exchange, ResponseFlag flag, std::string_view detail) override;
  FrontendConnection* find(FrontendId id) override { return frontends_.find(id); }
  BackendConnection* find(BackendId id) override { return backends_.find(id); }
  BackendConnection* adopt(std::unique_ptr<BackendConnection> connection) override;

  // ExchangeHost
  ServerSession* frontend_of(const Exchange& exchange) override;
  ClientSession* backend_of(const Exchange& exchange) override;
  bool retry(Exchange& exchange) override;
  void leave_queue(Exchange& exchange) override;
  void on_exchange_done(Exchange& exchange) override;

  // Requests: data_plane_requests.cc
  Exchange& new_exchange();
  void dispatch(Exchange& exchange, FrontendConnection& from);
  bool answer_challenge(Exchange& exchange);
  void act(Exchange& exchange, const CompiledRoute& route);
  void redirect(Exchange& exchange, int status, std::string location);
  void send_to_endpoint(Exchange& exchange);
  void log_exchange(const Exchange& exchange);
  void count_response(int status);

  // The turn and the snapshot: data_plane.cc
  void end_turn();
  void reap();
  void on_accept(Listener& listener, int descriptor, const net::SocketAddress& peer);
  void update_accepting();
  Result<LoopRef<View>> make_view(std::shared_ptr<const Router> router);
  Result<std::shared_ptr<net::ClientTlsContext>> client_tls(const Backend& backend);
  Result<void> open_listeners(const Options& options, const InheritedSockets& inherited);
  void retire_unused_pools(const View& view);
  void finish_drain();

  DataPlaneTools tools_;
  ConnectionMetrics connection_metrics_;
  Gauge& open_frontends_;
  Counter* responses_[6];  // by the first digit of the status; [0]: none was sent
  Histogram& durations_;
  std::unique_ptr<char[]> scratch_;
  std::unique_ptr<FrontendSink> frontend_sink_;
  std::unique_ptr<BackendSink> backend_sink_;
  std::unique_ptr<ListenerSink> listener_sink_;
  std::uint8_t frontend_sink_id_, backend_sink_id_, listener_sink_id_;

  LoopRef<View> view_;
  Limits limits_;  // of view_; connections refer to them for as long as they live
  ChallengeTable challenges_;
  CertificateChooser chooser_;
  std::shared_ptr<net::TicketKeys> tickets_;
  std::shared_ptr<net::ServerTlsContext> server_tls_;
  TlsProfile server_tls_profile_ = TlsProfile::kIntermediate;
  std::map<std::string, std::shared_ptr<net::ClientTlsContext>> client_tls_;
  std::unique_ptr<AccessLog> access_log_;
  AccessLogFormat access_log_format_ = AccessLogFormat::kOff;
  std::string access_log_path_;

  std::vector<std::unique_ptr<Listener>> listeners_;  // by the token; null: closed
  SlotMap<BackendPool> pools_;
  std::map<std::string, PoolId> pools_by_key_;
  std::vector<PoolId> retiring_pools_;
  SlotMap<Exchange> exchanges_;
  std::vector<std::unique_ptr<Exchange>> spare_exchanges_;
  SlotMap<BackendConnection> backends_;
  SlotMap<FrontendConnection> frontends_;
  std::unordered_map<std::string, std::size_t> sources_;  // connections by peer address

  std::vector<FrontendId> dirty_frontends_, later_frontends_, retired_frontends_;
  std::vector<BackendId> dirty_backends_, later_backends_, retired_backends_;
  std::vector<ExchangeId> done_exchanges_;
  bool is_draining_ = false;
  std::function<void()> on_drained_;
  Timer drain_timer_;
  int drain_step_ = 0;
};

}  // namespace gatehouse::proxy
