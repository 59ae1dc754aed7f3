#pragma once
// One request and its response on their way through the proxy: the junction of a frontend stream
// and a backend stream. It passes messages on, returns credit (bytes are acknowledged to one side
// when the other has taken them), judges the timers of DESIGN.md ("Timers") and decides what the
// client sees when something fails ("Own statuses"). Pure: it knows sessions and ids, no sockets.
//
//   kRouting --go_to_backend--> kWaiting --on_assigned--> kForwarding --response head-->
//   kResponding
//      any of the first three --reply--> kReplied;    on_closed ends each of them: kDone
//
// Owned by the data plane's table; named by id from both streams (their token).

#include <cstdint>
#include <memory>
#include <optional>
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
struct CompiledRoute;
using ExchangeId = SlotId<Exchange>;
using FrontendId = SlotId<FrontendConnection>;
using BackendId = SlotId<BackendConnection>;
using PoolId = SlotId<BackendPool>;

/// What the timers of one exchange allow; from the limits and the backend's timeouts.
struct ExchangeTimeouts {
  Duration response{};           // silence of the backend; 0: none (gRPC, event streams)
  Duration stall{};              // a peer that takes nothing of what is ready for it
  Duration body_period{};        // body_rate is judged over each of these
  std::uint64_t body_rate = 0;   // bytes/s of a request body; 0: no bound
  std::uint64_t body_bytes = 0;  // of a request; 0: no bound
};

/// What an exchange asks of the data plane. The sessions are found by id each time: null means
/// gone. Finding one also marks its connection to be flushed at the end of the turn.
class ExchangeHost {
 public:
  virtual ~ExchangeHost() = default;
  virtual ServerSession* frontend_of(const Exchange& exchange) = 0;
  virtual ClientSession* backend_of(const Exchange& exchange) = 0;
  /// Queues the exchange for another backend stream (it is in kWaiting). False: none can be had,
  /// the host has replied.
  virtual bool retry(Exchange& exchange) = 0;
  /// Takes the exchange out of a queue that it waits in.
  virtual void leave_queue(Exchange& exchange) = 0;
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
  std::size_t endpoint_index = 0;        // of that backend
  std::uint8_t endpoints_failed = 0;     // that could not be connected to
  PoolId pool;                           // where it waits, or was sent
  std::string endpoint;                  // "ip:port" where it was sent, for the log
  std::string original_path;             // as received, when normalising changed it
  WallTime started_wall{};

 private:
  void send_pending(ClientSession& session);
  void drop_backend(Reset reason);
  void fail_response(ResponseFlag flag, std::string_view detail);
  void arm_timer();
  void on_timer();
  void finish();
  bool is_replayable() const { return request_sent_bytes_ == 0; }

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
  std::uint8_t attempts_ = 0;
  int status_ = 0;
  ResponseFlags flags_;
  std::string_view detail_;  // static text
  ExchangeTimeouts timeouts_;
  RequestHead request_;
  std::unique_ptr<Fields> request_trailers_;
  Buffer pending_body_;  // request bytes that came before the backend stream
  std::uint64_t request_bytes_ = 0, request_sent_bytes_ = 0;
  std::uint64_t response_bytes_ = 0;
  std::uint64_t request_untaken_ = 0, response_untaken_ = 0;
  // The timer's view: what had moved when it was last looked at.
  std::uint64_t judged_request_bytes_ = 0;
  SteadyTime started_{}, last_request_progress_{}, last_response_progress_{}, last_judged_{};
  std::optional<Duration> backend_time_;
  Timer timer_;
};

}  // namespace gatehouse::proxy
