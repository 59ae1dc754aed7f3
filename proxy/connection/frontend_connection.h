#pragma once
// A visitor's connection: socket, TLS and HTTP session glued together. It reads when the session
// wants input, is flushed once per turn, and keeps the connection's timers (handshake, head, idle,
// stall, linger). Owned by the data plane's table; names its exchanges by their tokens.
//
//   kHandshake --TLS done--> kOpen --session finished--> kLingering --EOF or 2 s--> retired
//   Any failure retires at once, after the open streams were told.

#include <memory>
#include <string>

#include "daemon/net/address.h"
#include "daemon/net/tls_context.h"
#include "proxy/connection/channel.h"
#include "proxy/connection/connection_host.h"
#include "proxy/connection/socket_watch.h"

namespace gatehouse::proxy {

class FrontendConnection final : public ServerEvents {
 public:
  struct Facts {
    net::SocketAddress peer, local;
    std::string peer_ip;  // text, for headers and logs
    bool is_tls = false;
    bool is_trusted = false;  // peer is in listen.trusted_proxies
  };

  FrontendConnection(ConnectionHost& host, int descriptor, Facts facts);
  ~FrontendConnection() override;

  /// Registers the socket and begins: the handshake when `tls` is given, else HTTP/1.1.
  /// False: it could not begin, and is to be destroyed.
  bool start(FrontendId id, std::uint8_t sink, const net::ServerTlsContext* tls);
  void on_ready(net::Ready ready);
  /// The end of a turn in which something was enqueued.
  void flush();
  /// A later turn, after resume_later(): reads on what the last turn left.
  void resume();
  /// See ServerSession::drain(); connections in their handshake are closed.
  void drain();
  /// Ends at once, streams are told.
  void close();

  FrontendId id() const { return id_; }
  const Facts& facts() const { return facts_; }
  ServerSession* session() const { return session_.get(); }
  /// The server name of the handshake; empty without TLS or SNI.
  std::string_view server_name() const;
  const net::Credential* credential() const;
  bool is_idle() const { return session_ && session_->open_streams() == 0; }

  bool is_dirty = false;    // in the data plane's list
  bool is_retired = false;  // waits for the end of the turn

 private:
  enum class Phase : std::uint8_t { kHandshake, kOpen, kLingering };
  enum class Waiting : std::uint8_t { kNothing, kHandshake, kHead, kIdle, kStall, kLinger };

  // ServerEvents
  StreamToken on_request(StreamId stream, RequestHead& head, bool ended) override;
  void on_request_body(StreamToken token, std::string_view bytes) override;
  void on_request_end(StreamToken token, const Fields* trailers) override;
  void on_response_taken(StreamToken token, std::size_t bytes) override;
  void on_closed(StreamToken token, Reset reason) override;
  void on_refused(const RequestHead& head, int status, std::string_view detail) override;

  void handshake();
  void open_session(bool is_h2);
  void read_some();
  void on_end_of_input();
  void lose();
  void linger();
  void discard_input();
  void wait_for(Waiting waiting);
  void update_waiting(bool moved);
  void on_timer();
  void shrink();

  ConnectionHost& host_;
  Facts facts_;
  FrontendId id_;
  Channel channel_;
  SocketWatch watch_;
  std::unique_ptr<ServerSession> session_;
  FlatBuffer out_;
  Phase phase_ = Phase::kHandshake;
  Waiting waiting_ = Waiting::kNothing;
  bool wants_write_ = false;
  bool is_ending_ = false;        // the session refused its input: close after the output
  bool has_read_paused_ = false;  // data may wait inside TLS
  bool has_ended_input_ = false;
  bool is_shrunk_ = false;  // in this idle time
  std::size_t lingered_bytes_ = 0;
  Timer timer_;
};

}  // namespace gatehouse::proxy
