#pragma once
// A connection towards the mesh: connect, TLS, HTTP session, glued together. Belongs to one pool,
// which hands out its streams, or is a health check's (health_probe); owned by the data plane's
// table. Its exchanges are named by their
// tokens.
//
//   kConnecting --> kHandshake (TLS) --> kSettings (HTTP/2) --> kOpen --> retired
//
// An HTTP/2 connection is open once the backend's SETTINGS say how many streams it takes, and
// whether extended CONNECT: so no stream is sent that it would refuse. Its upkeep: a PING after
// each silence, a maximum age.

#include <memory>
#include <optional>
#include <string>

#include "daemon/net/address.h"
#include "daemon/net/tls_context.h"
#include "proxy/connection/channel.h"
#include "proxy/connection/connection_host.h"
#include "proxy/connection/socket_watch.h"

namespace gatehouse::proxy {

class BackendConnection : public ClientEvents {
 public:
  struct Settings {
    BackendProtocol protocol = BackendProtocol::kAuto;
    const net::ClientTlsContext* tls = nullptr;  // null: no TLS; else outlives the connection
    std::string server_name;
    Duration connect_timeout{};  // for connect and TLS together
    Duration idle_timeout{};
    Backend::Http2 http2;
    bool is_for_upgrade = false;  // TLS offers HTTP/1.1 alone
    std::string address;          // "ip:port", for the log
    std::string proxy_header;     // before all else; empty: none
  };

  BackendConnection(ConnectionHost& host, PoolId pool, int descriptor, Settings settings);
  ~BackendConnection() override;

  /// Registers the socket, whose connect(2) is under way. False: to be destroyed.
  bool start(BackendId id, std::uint8_t sink);
  void on_ready(net::Ready ready);
  void flush();
  void resume();
  /// Ends at once; streams fail, the pool is told.
  void close();
  /// No new streams; ends when the open ones are done.
  void drain();

  BackendId id() const { return id_; }
  PoolId pool() const { return pool_; }
  const std::string& address() const { return settings_.address; }
  ClientSession* session() const { return session_.get(); }
  /// Takes new streams, if the session has room for them.
  bool is_open() const { return phase_ == Phase::kOpen && !is_retired && !is_draining_; }
  /// Whether a request was sent on it before.
  bool is_reused() const { return streams_opened_ > 0; }
  bool is_for_upgrade() const { return settings_.is_for_upgrade; }
  /// Opens a stream for the exchange.
  void assign(Exchange& exchange);
  /// Whose stream was opened last: over HTTP/1.1 the one that is open.
  ExchangeId last_exchange() const { return last_exchange_; }
  void prefetch_session() const;

  bool is_dirty = false;
  bool is_retired = false;
  bool is_single = false;            // one stream at a time: nothing to gather for a write
  bool is_offered = false;           // in the pool's list of connections with capacity
  bool counts_as_connecting = true;  // the pool's bookkeeping

 protected:
  ConnectionHost& host() { return host_; }
  bool is_tls() const { return settings_.tls != nullptr; }
  // Whom it belongs to is told: the pool.
  virtual void tell_connected();
  virtual void tell_connect_failed(const std::string& reason);
  virtual void tell_closed();

 private:
  enum class Phase : std::uint8_t { kConnecting, kHandshake, kSettings, kOpen };

  // ClientEvents
  void on_interim(StreamToken token, ResponseHead& head) override;
  void on_response(StreamToken token, ResponseHead& head, bool ended) override;
  void on_response_body(StreamToken token, std::string_view bytes) override;
  void on_response_end(StreamToken token, const Fields* trailers) override;
  void on_request_taken(StreamToken token, std::size_t bytes) override;
  void on_failed(StreamToken token, const Failure& failure) override;

  void on_connected();
  void handshake();
  void begin_session(bool is_h2);
  void open();
  void fail_connect(std::string_view detail);
  void read_some();
  void tell_of_alert();
  void lose();
  void settle();
  void update_timer(bool moved);
  void on_timer();
  void begin_upkeep();
  void keep_up();

  // What each request touches stands first.
  ConnectionHost& host_;
  PoolId pool_;
  BackendId id_;
  ExchangeId last_exchange_;
  std::unique_ptr<ClientSession> session_;
  Phase phase_ = Phase::kConnecting;
  enum class Waiting : std::uint8_t {
    kNothing,
    kConnect,
    kIdle,
    kStall
  } waiting_ = Waiting::kNothing;
  bool wants_write_ = false;
  bool is_ending_ = false;
  bool is_draining_ = false;
  bool has_read_paused_ = false;
  bool is_shrunk_ = false;  // in this idle time
  std::uint64_t streams_opened_ = 0;
  SteadyTime last_input_{};
  SocketWatch watch_;
  FlatBuffer out_;
  Channel channel_;
  Timer timer_;
  Settings settings_;
  std::optional<SteadyTime> drain_at_, ping_sent_;
  Timer upkeep_timer_;  // only of HTTP/2, and only when asked for
};

}  // namespace gatehouse::proxy
