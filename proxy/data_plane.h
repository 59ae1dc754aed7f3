#pragma once
// The data plane of one loop: its listeners, connections, exchanges and pools, and the turn in
// which they are flushed and reaped. Share-nothing: what it gets from outside is an immutable
// snapshot (Router, CertificateTable) or a call on its loop; only the census of connections and the
// commons of each backend count over all loops. It decides for each request where it goes
// (data_plane_requests.cc); how bytes move is the connections' business.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/loop_ref.h"
#include "daemon/base/process_memory.h"
#include "daemon/net/tls_context.h"
#include "proxy/access_log.h"
#include "proxy/connection/client_contexts.h"
#include "proxy/connection/cluster.h"
#include "proxy/connection/connection_host.h"
#include "proxy/connection/frontend_connection.h"
#include "proxy/connection/listener.h"
#include "proxy/neighbours.h"
#include "proxy/offence_log.h"
#include "proxy/routing/certificate_table.h"
#include "proxy/routing/challenge_table.h"
#include "proxy/routing/overload.h"
#include "proxy/routing/retry_policy.h"
#include "proxy/routing/router.h"

namespace gatehouse::proxy {

/// What a data plane works with; all outlive it.
struct DataPlaneTools {
  net::Loop& loop;
  net::Poller& poller;
  net::Resolver& resolver;
  Random& random;
  Metrics& metrics;
  Neighbours& neighbours;
  std::size_t index = 0;  // of the loop in its process
};

/// Listening sockets, by the text of their address ("[::]:443").
using ListenSockets = std::map<std::string, int>;

/// Attempts beyond the first, of one loop.
struct RetryMetrics {
  explicit RetryMetrics(Metrics& metrics);
  Counter*
      made[kRetryReasons];  // by RetryReason; [kNone]: always safe, so nobody has to ask for it
  Counter* no_attempts;     // what was wanted and not made, and why
  Counter* no_budget;
  Counter* no_body;
};

class DataPlane final : public ConnectionHost, public ExchangeHost, public ListenerHost {
 public:
  explicit DataPlane(const DataPlaneTools& tools);
  ~DataPlane() override;

  /// Before start(): the keys for session tickets.
  void use_tickets(std::shared_ptr<net::TicketKeys> tickets) { tickets_ = std::move(tickets); }
  /// A snapshot is taken in two steps, so that a failure changes nothing, here and elsewhere:
  /// prepare() does all that can fail, with a socket for each address not yet listened on (owned by
  /// us from here on); commit() swaps. Connections, pools and listeners that did not change go on.
  /// New clusters take what they share with those on other loops from `commons`.
  Result<void> prepare(std::shared_ptr<const Router> router, SnapshotCommons& commons,
                       const ListenSockets& sockets);
  void commit();
  /// Forgets what was prepared, if anything.
  void abandon();
  /// Effective with the next handshake.
  void use(std::shared_ptr<const CertificateTable> certificates);
  const std::shared_ptr<const CertificateTable>& certificates() const { return chooser_.table(); }
  ChallengeTable& challenges() { return challenges_; }

  /// Stops accepting and lets connections end: GOAWAY twice, "connection: close"; all is over, and
  /// `done` called, when none is left or limits.drain_timeout has passed.
  void drain(std::function<void()> done);
  Result<void> reopen_log();
  /// Lines of other loops, when only the first may write.
  void write_log_lines(std::string_view lines);
  /// A connection that was accepted here or on another loop, and is to live here.
  void welcome(const Visitor& visitor);
  /// There is a place again after one was refused.
  void accept_again();
  /// Another loop's cluster of that backend has something to say.
  void on_news(const std::shared_ptr<BackendCommons>& commons, const ClusterNews& news);

  std::size_t frontend_count() const { return frontends_.size(); }
  std::size_t exchange_count() const { return exchanges_.size(); }
  const Metrics& metrics_of_loop() const { return tools_.metrics; }
  /// Addresses that are listened on, with the ports that were really bound.
  std::vector<std::pair<std::string, bool>> listening() const;
  /// The hosts of each backend that has any.
  std::vector<BackendStatus> backends();
  bool listens_on(const std::string& address_text, bool is_tls) const;

 private:
  struct Target {
    const Backend* backend;
    ClusterId cluster;
    std::shared_ptr<BackendCommons> commons;
  };
  /// The loop's own view of a snapshot: requests hold it without atomics.
  struct View final : LoopShared {
    std::shared_ptr<const Router> router;
    std::vector<Target> targets;
    std::vector<RetryBudget> budgets;       // of each target
    std::vector<ClusterId> naming_clients;  // clusters whose connections are each client's own
  };
  /// A snapshot before it is taken.
  struct Prepared {
    LoopRef<View> view;
    std::shared_ptr<net::ServerTlsContext> server_tls;
    std::unique_ptr<AccessLog> access_log;             // null: the one in use goes on
    std::vector<std::unique_ptr<Listener>> listeners;  // paused
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
  Metrics& registry() override { return tools_.metrics; }
  std::span<char> scratch() override { return {scratch_.get(), kScratchBytes}; }
  void mark_dirty(FrontendConnection& connection) override;
  void mark_dirty(BackendConnection& connection) override;
  void resume_later(FrontendConnection& connection) override;
  void resume_later(BackendConnection& connection) override;
  void retire(FrontendConnection& connection) override;
  void retire(BackendConnection& connection) override;
  const net::ServerTlsContext& server_tls() const override { return *server_tls_; }
  bool allows_early_data() const override { return view_->router->allows_early_data(); }
  void on_handshake_done(Exchange& exchange) override;
  bool admit(FrontendConnection& connection) override;
  StreamToken on_request(FrontendConnection& from, StreamId stream, RequestHead& head,
                         bool ended) override;
  void note(Offence offence, const FrontendConnection& from) override;
  void on_refused(FrontendConnection& from, const RequestHead& head, int status,
                  std::string_view detail) override;
  Exchange* find_exchange(StreamToken token) override;
  BackendPool* find_pool(PoolId id) override { return pools_.find(id); }
  Cluster* find_cluster(ClusterId id) override { return clusters_.find(id); }
  std::size_t loop_index() const override { return tools_.index; }
  void tell(std::size_t loop, std::shared_ptr<BackendCommons> commons,
            const ClusterNews& news) override {
    tools_.neighbours.tell(loop, std::move(commons), news);
  }
  void on_connect_failed(Exchange& exchange, ResponseFlag flag, std::string_view detail) override;
  FrontendConnection* find(FrontendId id) override { return frontends_.find(id); }
  BackendConnection* find(BackendId id) override { return backends_.find(id); }
  BackendConnection* adopt(std::unique_ptr<BackendConnection> connection) override;
  PoolId adopt(std::unique_ptr<BackendPool> pool) override;
  void retire_pool(PoolId id) override;

  // ExchangeHost
  ServerSession* frontend_of(const Exchange& exchange) override;
  ClientSession* backend_of(const Exchange& exchange) override;
  void retry(Exchange& exchange) override;
  bool wants_retry(Exchange& exchange, const FailedAttempt& failed) override;
  void leave_queue(Exchange& exchange) override;
  bool on_response_head(Exchange& exchange, ResponseHead& head) override;
  void on_own_response(Exchange& exchange, ResponseHead& head) override {
    edit_response(exchange, head);
  }
  void on_attempt_over(Exchange& exchange, AttemptEnd end) override;
  void on_exchange_done(Exchange& exchange) override;

  // ListenerHost
  bool reserve_place() override;
  void release_place() override { tools_.neighbours.census().release(); }
  void on_accept(Listener& listener, int descriptor, const net::SocketAddress& peer) override;

  // Requests: data_plane_requests.cc
  Exchange& new_exchange();
  void dispatch(Exchange& exchange, FrontendConnection& from);
  bool answer_challenge(Exchange& exchange);
  void act(Exchange& exchange, const CompiledRoute& route, FrontendConnection& from);
  void redirect(Exchange& exchange, int status, std::string location);

  // Attempts beyond the first: data_plane_retries.cc
  void bound_attempts(Exchange& exchange, ExchangeTimeouts& timeouts);
  bool drops_response(Exchange& exchange, const ResponseHead& head);
  void end_retry(Exchange& exchange);
  RetryBudget& budget_of(const Exchange& exchange);
  RetryReserve& reserve_of(const Exchange& exchange);
  void log_exchange(const Exchange& exchange);
  void count_response(int status);

  // What routes change: data_plane_edits.cc
  VariableSource variables(const Exchange& exchange) const;
  void edit_request(Exchange& exchange);
  void edit_response(Exchange& exchange, ResponseHead& head) const;
  std::string location_of(const Exchange& exchange) const;

  // Defence: data_plane_defence.cc
  void look_at_load();
  void count_sockets();
  std::size_t share_of_loops() const;
  void act_on_load(bool has_changed);
  void close_idle();
  void note_refusal(const FrontendConnection& from, int status);
  void note_spoiled(const Exchange& exchange);

  // The turn and the snapshot: data_plane.cc
  void flush_singles();
  void end_turn();
  void reap();
  void close_retired_backends();
  void end_drain();
  bool admit(FrontendConnection::Facts& facts);
  void pause_accepting();
  Result<std::vector<std::unique_ptr<Listener>>> take_sockets(const Options& options,
                                                              const ListenSockets& sockets);
  void finish_drain();

  // Backends: data_plane_backends.cc
  Result<LoopRef<View>> make_view(std::shared_ptr<const Router> router, SnapshotCommons& commons);
  void take_clusters(const View* before);
  void drop_clusters(const View& view);
  Cluster* cluster_of(const Exchange& exchange);
  void read_wish(Exchange& exchange, const Backend& backend);
  void set_sticky_cookie(const Exchange& exchange, ResponseHead& head);
  void send_to_host(Exchange& exchange);
  void reap_backends();

  DataPlaneTools tools_;
  ConnectionMetrics connection_metrics_;
  OffenceLog offences_;
  Overload overload_;
  ProcessMemory memory_;
  Counter& shed_connections_;
  Counter& shed_requests_;
  Gauge& overload_gauge_;
  SteadyTime load_looked_at_{}, idle_closed_at_{};
  std::size_t descriptors_max_ = 0;  // as of load_looked_at_
  Timer load_timer_;                 // while there is something to be shed
  Gauge& open_frontends_;
  Counter* responses_[6];  // by the first digit of the status; [0]: none was sent
  Histogram& durations_;
  RetryMetrics retry_metrics_;
  std::unique_ptr<char[]> scratch_;
  std::unique_ptr<FrontendSink> frontend_sink_;
  std::unique_ptr<BackendSink> backend_sink_;
  std::unique_ptr<ListenerSink> listener_sink_;
  std::uint8_t frontend_sink_id_, backend_sink_id_, listener_sink_id_;

  LoopRef<View> view_;
  std::optional<Prepared> prepared_;
  Limits limits_;  // of view_; connections refer to them for as long as they live
  ChallengeTable challenges_;
  CertificateChooser chooser_;
  std::shared_ptr<net::TicketKeys> tickets_;
  std::shared_ptr<net::ServerTlsContext> server_tls_;
  TlsProfile server_tls_profile_ = TlsProfile::kIntermediate;
  ClientContexts client_tls_;
  std::unique_ptr<AccessLog> access_log_;
  AccessLogFormat access_log_format_ = AccessLogFormat::kOff;
  std::string access_log_path_;

  std::vector<std::unique_ptr<Listener>> listeners_;  // by the token; null: closed
  SlotMap<Cluster> clusters_;
  std::vector<ClusterId> retiring_clusters_;
  SlotMap<BackendPool> pools_;
  std::vector<PoolId> retiring_pools_;
  SlotMap<Exchange> exchanges_;
  std::vector<std::unique_ptr<Exchange>> spare_exchanges_;
  SlotMap<BackendConnection> backends_;
  SlotMap<FrontendConnection> frontends_;

  std::vector<FrontendId> dirty_frontends_, later_frontends_, retired_frontends_;
  std::vector<BackendId> dirty_backends_, single_backends_, later_backends_;
  std::deque<BackendId> retired_backends_;
  std::vector<ExchangeId> done_exchanges_;
  bool is_draining_ = false;
  std::function<void()> on_drained_;
  Timer drain_timer_;
  int drain_step_ = 0;
};

}  // namespace gatehouse::proxy
