#pragma once
// One request and its response on their way through the proxy: the junction of a frontend stream
// and a backend stream. It passes messages on, returns credit (bytes are acknowledged to one side
// when the other has taken them), judges the timers of DESIGN.md ("Timers") and decides what the
// client sees when something fails ("Own statuses"). Pure: it knows sessions and ids, no sockets.
//
//   kRouting --go_to_backend--> kWaiting --on_assigned--> kForwarding --response head-->
//   kResponding
//      kWaiting, kForwarding --try_again--> kWaiting, with what was kept of the request
//      any of the first three --reply--> kReplied;    on_closed ends each of them: kDone
//
// A 101 to a request with an upgrade makes it a tunnel: bodies in both directions, each with its
// own end, and timers of its own (exchange_tunnel.cc). It needs no more than that, so there is no
// class for it.
//
// Owned by the data plane's table; named by id from both streams (their token).

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "daemon/base/buffer.h"
#include "daemon/base/clock.h"
#include "daemon/base/loop_ref.h"
#include "daemon/base/slot_map.h"
#include "daemon/base/timer_queue.h"
#include "proxy/protocol/message.h"
#include "proxy/protocol/response_flags.h"
#include "proxy/protocol/session.h"

namespace gatehouse::proxy {

class Exchange;
class FrontendConnection;
class BackendConnection;
class BackendPool;
class Cluster;
struct CompiledRoute;
using ExchangeId = SlotId<Exchange>;
using FrontendId = SlotId<FrontendConnection>;
using BackendId = SlotId<BackendConnection>;
using PoolId = SlotId<BackendPool>;
using ClusterId = SlotId<Cluster>;

/// What one exchange may take; from the limits, the backend's timeouts and the route. 0: no bound.
struct ExchangeTimeouts {
  Duration response{};           // silence of the backend; none for gRPC and event streams
  Duration stall{};              // a client that takes nothing of what is ready for it
  Duration backend_stall{};      // the same for the backend; none for gRPC
  Duration per_try{};            // from the request's end, or the attempt's begin, to the head
  Duration whole{};              // from the request's end to the response's
  Duration deadline{};           // from the request's head to the response's end: grpc-timeout
  std::size_t replay_bytes = 0;  // of the request's body that are kept for another attempt
  Duration body_period{};        // body_rate is judged over each of these
  std::uint64_t body_rate = 0;   // bytes/s of a request body; 0: no bound
  std::uint64_t body_bytes = 0;  // of a request; 0: no bound
};

/// How one attempt at an endpoint ended: what its health is judged by.
enum class AttemptEnd : std::uint8_t {
  kAnswered,       // A whole response came, whatever its status.
  kCancelled,      // By us or by the client: says nothing of the endpoint.
  kConnectFailed,  // No connection.
  kReset,          // The backend reset the stream.
  kLost,           // It closed or broke the connection.
  kMalformed,      // It broke the protocol.
  kTimeout,        // It was too slow.
};

/// An attempt of which the client has seen nothing.
struct FailedAttempt {
  AttemptEnd end = AttemptEnd::kAnswered;
  int status = 0;                 // what came, or what the client would get
  int grpc_status = -1;           // the same for gRPC; -1: none
  bool may_have_effects = false;  // it was sent, and its method is not idempotent
};

/// What the choice of a host goes by: what the request brings, and where it was already.
struct HostWish {
  static constexpr std::size_t kTriedMax = 4;
  std::optional<std::uint64_t> hash;    // of the key that the backend balances by
  std::uint64_t sticky = 0;             // the host that the client's cookie names; 0: none
  std::uint64_t chosen = 0;             // the host that it was sent to, as a cookie names it
  std::uint32_t tried[kTriedMax] = {};  // hosts of attempts that are over
  std::uint8_t tried_count = 0;
  bool is_sticky = false;  // the client is to be told of `chosen`
  std::span<const std::uint32_t> already() const { return {tried, tried_count}; }
  void add_tried(std::uint32_t host) {
    if (tried_count < kTriedMax) tried[tried_count++] = host;
  }
};

/// What an exchange asks of the data plane. The sessions are found by id each time: null means
/// gone. Finding one also marks its connection to be flushed at the end of the turn.
class ExchangeHost {
 public:
  virtual ~ExchangeHost() = default;
  virtual ServerSession* frontend_of(const Exchange& exchange) = 0;
  virtual ClientSession* backend_of(const Exchange& exchange) = 0;
  /// Queues the exchange (it is in kWaiting) for another backend stream.
  virtual void retry(Exchange& exchange) = 0;
  /// The attempt failed. True: the host has called try_again(). False: the client is to be told.
  virtual bool wants_retry(Exchange& exchange, const FailedAttempt& failed) = 0;
  /// Takes the exchange out of a queue that it waits in.
  virtual void leave_queue(Exchange& exchange) = 0;
  /// The head of a backend's response, before the client sees it; the host may edit it. False: the
  /// host dropped this response for another attempt (the exchange is in kWaiting again).
  virtual bool on_response_head(Exchange& exchange, ResponseHead& head) = 0;
  /// The head of an answer of our own, before the client sees it; the host may edit it.
  virtual void on_own_response(Exchange&, ResponseHead&) {}
  /// The attempt that begin_attempt() announced is over. Once for each.
  virtual void on_attempt_over(Exchange& exchange, AttemptEnd end) = 0;
  /// The exchange is over: log it, then retire it at the end of the turn.
  virtual void on_exchange_done(Exchange& exchange) = 0;
};

class Exchange {
 public:
  enum class Phase : std::uint8_t { kRouting, kWaiting, kForwarding, kResponding, kReplied, kDone };

  Exchange(ExchangeHost& host, TimerQueue& timers);

  /// The owner's table has given it this id.
  void assign_id(ExchangeId id) { id_ = id; }
  /// Starts over with a request from that frontend stream. Swaps `head` out.
  void begin(FrontendId frontend, StreamId stream, RequestHead& head, bool ended);
  /// Ready to be used again: frees bodies, keeps the heads' memory.
  void recycle();

  // Commands of the router.
  void go_to_backend(const ExchangeTimeouts& timeouts);
  /// Answers by ourselves; from any phase before the response's head went out.
  void reply(ResponseHead& head, std::string_view body);
  /// The same with a status and the text for it, as gRPC when the request is gRPC.
  void reply(int status, ResponseFlag flag, std::string_view detail, std::string_view body = {});
  void set_timeouts(const ExchangeTimeouts& timeouts) { timeouts_ = timeouts; }
  /// An endpoint was chosen and is counted on: on_attempt_over() will tell how that ended.
  void begin_attempt() { is_attempt_open_ = true; }
  /// The host drops what this attempt has come to, and will be asked for another one by retry().
  /// From kWaiting and kForwarding, while is_replayable().
  void try_again(Duration after);
  void add_flag(ResponseFlag flag) { flags_.add(flag); }
  /// The attempt ended. Without one that is open: nothing.
  void end_attempt(AttemptEnd end);

  // Events of the frontend stream.
  void on_request_body(std::string_view bytes);
  void on_request_end(const Fields* trailers);
  void on_response_taken(std::size_t bytes);
  void on_closed(Reset reason);

  // Events of the backend stream.
  /// `is_reused`: the connection has served other requests before.
  void on_assigned(BackendId backend, ClientSession& session, bool is_reused);
  void on_interim(ResponseHead& head);
  void on_response(ResponseHead& head, bool ended);
  void on_response_body(std::string_view bytes);
  void on_response_end(const Fields* trailers);
  void on_request_taken(std::size_t bytes);
  void on_failed(const ClientEvents::Failure& failure);
  /// No connection could be made for it.
  void on_connect_failed(ResponseFlag flag, int status, std::string_view detail);

  // Facts.
  ExchangeId id() const { return id_; }
  FrontendId frontend() const { return frontend_; }
  StreamId frontend_stream() const { return frontend_stream_; }
  BackendId backend() const { return backend_; }
  StreamId backend_stream() const { return backend_stream_; }
  Phase phase() const { return phase_; }
  const RequestHead& request() const { return request_; }
  RequestHead& request() { return request_; }
  bool has_request_ended() const { return has_request_ended_; }
  /// All that was sent of the request can be sent once more.
  bool is_replayable() const {
    return request_sent_bytes_ == 0 || (timeouts_.replay_bytes > 0 && !is_replay_lost_);
  }
  /// Between two attempts: it will be sent by retry().
  bool is_backing_off() const { return is_backing_off_; }
  unsigned attempts() const { return attempts_; }
  int status() const { return status_; }
  ResponseFlags flags() const { return flags_; }
  std::string_view detail() const { return detail_; }
  std::uint64_t request_bytes() const { return request_bytes_; }
  std::uint64_t response_bytes() const { return response_bytes_; }
  SteadyTime started() const { return started_; }
  /// Our time to the response head; nothing when there was none from a backend.
  std::optional<Duration> backend_time() const { return backend_time_; }

  // The data plane's bookkeeping; not interpreted here.
  LoopRef<LoopShared> snapshot;          // what the request began with
  const CompiledRoute* route = nullptr;  // in the snapshot
  std::size_t target = 0;                // the backend, in the snapshot
  std::uint8_t retries = 0;              // that the route asked for
  bool is_counted = false;               // among the backend's open requests
  bool holds_retry = false;              // of the backend's budget
  bool awaits_handshake = false;         // of the client: goes to no host before
  std::uint32_t host_slot = 0;           // of that backend's hosts: where the attempt is
  std::uint8_t endpoints_failed = 0;     // that could not be connected to
  HostWish wish;
  PoolId pool;                     // where it waits, or was sent
  std::string endpoint;            // "ip:port" where it was sent, for the log
  std::string original_path;       // as received, when normalising or a rewrite changed it
  std::string original_authority;  // as received, when a rewrite changed it
  WallTime started_wall{};

 private:
  /// What a client is told that cannot get a response: an answer, or the reset of one that began.
  struct Ending {
    int status;
    ResponseFlag flag;
    std::string_view detail;
    int grpc_status = -1;  // -1: the one for the status
    Reset reset = Reset::kInternal;
  };

  void send_pending(ClientSession& session);
  void keep_for_replay(std::string_view bytes);
  void forget_replay();
  void rewind();
  void drop_backend(Reset reason);
  /// May be sent twice when nobody knows whether it arrived (RFC 9110 section 9.2.2).
  bool is_idempotent() const;
  bool is_before_head() const { return phase_ == Phase::kWaiting || phase_ == Phase::kForwarding; }
  void end_with(const Ending& ending);
  void reply_with(const Ending& ending);
  void finish();

  // Timers: exchange_timers.cc
  void arm_timer();
  void on_timer();
  bool is_overdue(SteadyTime now);

  // Tunnels: exchange_tunnel.cc
  bool is_upgrade() const { return !request_.upgrade.empty(); }
  bool would_open_tunnel(int status) const;
  void open_tunnel(ResponseHead& head);
  void on_tunnel_end();
  void fail_tunnel(ResponseFlag flag, std::string_view detail);
  void close_tunnel();
  std::optional<SteadyTime> tunnel_waits_since() const;
  void arm_tunnel_timer();
  void on_tunnel_timer();

  ExchangeHost& host_;
  TimerQueue& timers_;
  ExchangeId id_;
  FrontendId frontend_;
  BackendId backend_;
  StreamId frontend_stream_ = 0, backend_stream_ = 0;
  Phase phase_ = Phase::kDone;
  bool has_request_ended_ = false;     // all of it has come from the client
  bool has_request_sent_end_ = false;  // and was handed to the backend's session
  bool has_response_ended_ = false;    // all of it was handed to the frontend's session
  bool is_backend_reused_ = false;
  bool is_attempt_open_ = false;
  bool is_backing_off_ = false;  // in kWaiting, until retry_at_
  bool is_replay_lost_ = false;  // sent_body_ is not all that was sent
  bool is_tunnel_ = false;
  bool has_client_ended_ = false;  // it has nothing to say in the tunnel that is not open yet
  bool is_client_gone_ = false;    // the tunnel's last bytes are on their way to the backend
  std::uint8_t attempts_ = 0;
  int status_ = 0;
  ResponseFlags flags_;
  std::string_view detail_;  // static text
  ExchangeTimeouts timeouts_;
  RequestHead request_;
  std::unique_ptr<Fields> request_trailers_;
  Buffer pending_body_;  // request bytes that came before the backend stream
  Buffer sent_body_;     // what the stream got, for another attempt
  std::uint64_t request_bytes_ = 0, request_sent_bytes_ = 0;
  std::uint64_t response_bytes_ = 0;
  std::uint64_t request_untaken_ = 0, response_untaken_ = 0;
  std::uint64_t acknowledged_before_ = 0;  // request bytes of an earlier attempt, sent once more
  // The timer's view: what had moved when it was last looked at.
  std::uint64_t judged_request_bytes_ = 0;
  SteadyTime started_{}, last_request_progress_{}, last_response_progress_{}, last_judged_{};
  SteadyTime request_ended_{}, attempt_started_{}, retry_at_{};
  std::optional<Duration> backend_time_;
  Timer timer_;
};

}  // namespace gatehouse::proxy
