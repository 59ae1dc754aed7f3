#pragma once
// What connections ask of the data plane that owns them. The data plane implements it; connections
// know no more of it than this.

#include <memory>
#include <span>

#include "daemon/base/clock.h"
#include "daemon/base/metrics.h"
#include "daemon/base/random.h"
#include "daemon/base/timer_queue.h"
#include "daemon/net/loop.h"
#include "daemon/net/poller.h"
#include "proxy/connection/backend_commons.h"
#include "proxy/options.h"
#include "proxy/protocol/exchange.h"

namespace gatehouse::net {
class Resolver;
class ServerTlsContext;
}  // namespace gatehouse::net

namespace gatehouse::proxy {

/// Counters of one loop's connections.
struct ConnectionMetrics {
  Counter& accepted;
  Counter& refused_by_limit;
  Counter& handshakes;
  Counter& handshake_failures;
  Counter& stalled;
  Counter& header_timeouts;
  Counter& proxy_header_failures;
  Counter& backend_connects;
  Counter& backend_connect_failures;
  Counter& backend_overflows;
  Counter& backend_ejections;
  Counter& health_check_failures;
};

class ConnectionHost {
 public:
  virtual ~ConnectionHost() = default;

  // The loop's shared things.
  virtual net::Poller& poller() = 0;
  virtual net::Resolver& resolver() = 0;
  virtual TimerQueue& timers() = 0;
  virtual const Clock& clock() const = 0;
  virtual Random& random() = 0;
  virtual const Limits& limits() const = 0;
  virtual ConnectionMetrics& metrics() = 0;
  /// For series of single backends; what is on the hot path is in metrics().
  virtual Metrics& registry() = 0;
  /// One per loop: only valid inside one call, never across feed() of another connection.
  virtual std::span<char> scratch() = 0;

  /// Flush at the end of this turn, an HTTP/1.1 backend behind this event. Cheap to repeat.
  virtual void mark_dirty(FrontendConnection& connection) = 0;
  virtual void mark_dirty(BackendConnection& connection) = 0;
  /// Flush (and read on) in a later turn: the connection had its share of this one.
  virtual void resume_later(FrontendConnection& connection) = 0;
  virtual void resume_later(BackendConnection& connection) = 0;
  /// Destroy at the end of this turn.
  virtual void retire(FrontendConnection& connection) = 0;
  virtual void retire(BackendConnection& connection) = 0;

  /// For handshakes that begin now.
  virtual const net::ServerTlsContext& server_tls() const = 0;
  /// Whether some route takes requests that come before the handshake's end.
  virtual bool allows_early_data() const = 0;
  /// The handshake is over that this exchange had to wait for.
  virtual void on_handshake_done(Exchange& exchange) = 0;
  /// Who the client is turned out only now (a PROXY header). False: it has too many connections.
  virtual bool admit(FrontendConnection& connection) = 0;
  /// A request came in. Returns the token of the new exchange.
  virtual StreamToken on_request(FrontendConnection& from, StreamId stream, RequestHead& head,
                                 bool ended) = 0;
  /// A client did something that it should not: counted, and logged within bounds.
  virtual void note(Offence offence, const FrontendConnection& from) = 0;
  /// The session refused a request by itself: for the log.
  virtual void on_refused(FrontendConnection& from, const RequestHead& head, int status,
                          std::string_view detail) = 0;
  /// Null: the exchange is over.
  virtual Exchange* find_exchange(StreamToken token) = 0;
  virtual BackendPool* find_pool(PoolId id) = 0;
  virtual Cluster* find_cluster(ClusterId id) = 0;
  /// Of this loop in its process.
  virtual std::size_t loop_index() const = 0;
  /// Posts to the cluster of that backend on another loop.
  virtual void tell(std::size_t loop, std::shared_ptr<BackendCommons> commons,
                    const ClusterNews& news) = 0;
  /// The exchange's host could not be connected to: another is tried, or the client is told.
  virtual void on_connect_failed(Exchange& exchange, ResponseFlag flag,
                                 std::string_view detail) = 0;
  virtual FrontendConnection* find(FrontendId id) = 0;
  virtual BackendConnection* find(BackendId id) = 0;

  /// Takes ownership of a new connection and starts it. Null: it could not start, and is gone.
  virtual BackendConnection* adopt(std::unique_ptr<BackendConnection> connection) = 0;
  virtual PoolId adopt(std::unique_ptr<BackendPool> pool) = 0;
  /// Closes what is idle in it, lets the rest finish, then destroys it.
  virtual void retire_pool(PoolId id) = 0;
};

/// Ids as poller tokens: 24 bits of slot, 32 of generation.
template <class T>
std::uint64_t poll_token(SlotId<T> id) {
  check(id.slot < (1u << 24), "more than 2^24 sockets");
  return std::uint64_t{id.generation} << 24 | id.slot;
}
template <class T>
SlotId<T> from_poll_token(std::uint64_t token) {
  return {static_cast<std::uint32_t>(token & 0xffffff), static_cast<std::uint32_t>(token >> 24)};
}

/// The poller's sinks of one loop, and its scratch memory.
inline constexpr std::size_t kScratchBytes = 128 * 1024;

}  // namespace gatehouse::proxy
