#pragma once
// A connection towards the mesh: connect, TLS, HTTP session, glued together. Belongs to one pool,
// which hands out its streams; owned by the data plane's table. Its exchanges are named by their
// tokens.
//
//   kConnecting --> kHandshake (TLS) --> kOpen --> retired

#include <memory>
#include <string>

#include "daemon/net/address.h"
#include "daemon/net/tls_context.h"
#include "proxy/connection/channel.h"
#include "proxy/connection/connection_host.h"
#include "proxy/connection/socket_watch.h"

namespace gatehouse::proxy {

class BackendConnection final : public ClientEvents {
 public:
  struct Settings {
    BackendProtocol protocol = BackendProtocol::kAuto;
    const net::ClientTlsContext* tls = nullptr;  // null: no TLS; else outlives the connection
    std::string server_name;
    Duration connect_timeout{};  // for connect and TLS together
    Duration idle_timeout{};
    std::string address;  // "ip:port", for the log
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
  bool is_open() const { return phase_ == Phase::kOpen && !is_retired; }
  /// Whether a request was sent on it before.
  bool is_reused() const { return streams_opened_ > 0; }
  /// Opens a stream for the exchange.
  void assign(Exchange& exchange);

  bool is_dirty = false;
  bool is_retired = false;
  bool is_offered = false;           // in the pool's list of connections with capacity
  bool counts_as_connecting = true;  // the pool's bookkeeping

 private:
  enum class Phase : std::uint8_t { kConnecting, kHandshake, kOpen };

  // ClientEvents
  void on_interim(StreamToken token, ResponseHead& head) override;
  void on_response(StreamToken token, ResponseHead& head, bool ended) override;
  void on_response_body(StreamToken token, std::string_view bytes) override;
  void on_response_end(StreamToken token, const Fields* trailers) override;
  void on_request_taken(StreamToken token, std::size_t bytes) override;
  void on_failed(StreamToken token, const Failure& failure) override;

  void on_connected();
  void handshake();
  void open_session(bool is_h2);
  void fail_connect(std::string_view detail);
  void read_some();
  void lose();
  void settle();
  void update_timer(bool moved);
  void on_timer();

  ConnectionHost& host_;
  PoolId pool_;
  Settings settings_;
  BackendId id_;
  Channel channel_;
  SocketWatch watch_;
  std::unique_ptr<ClientSession> session_;
  FlatBuffer out_;
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
  Timer timer_;
};

}  // namespace gatehouse::proxy
