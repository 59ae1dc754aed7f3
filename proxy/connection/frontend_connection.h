#pragma once
// A visitor's connection: socket, TLS and HTTP session glued together. It reads when the session
// wants input, is flushed once per turn, and keeps the connection's timers (handshake, head, idle,
// stall, linger). Owned by the data plane's table; names its exchanges by their tokens.
//
//   kProxyHeader --> kHandshake --TLS done--> kOpen --session finished--> kLingering
//     (with early data it is open before TLS is done: is_early())
//     --EOF or 2 s--> retired
//   Where TLS fails it lingers, too, so that our alert is read. Any other failure retires at once,
//   after the open streams were told.

#include <memory>
#include <string>
#include <vector>

#include "daemon/net/address.h"
#include "daemon/net/tls_context.h"
#include "proxy/connection/channel.h"
#include "proxy/connection/connection_host.h"
#include "proxy/connection/socket_watch.h"

namespace gatehouse::proxy {

class FrontendConnection final : public ServerEvents {
 public:
  struct Facts {
    net::SocketAddress peer, local;  // the client's, when a PROXY header said so
    std::string peer_ip;             // text, for headers and logs
    bool is_tls = false;
    bool is_trusted = false;  // peer is in listen.trusted_proxies
    bool is_counted = false;  // among its source's connections
    bool awaits_proxy_header = false;
  };

  FrontendConnection(ConnectionHost& host, int descriptor, Facts facts);
  ~FrontendConnection() override;

  /// Registers the socket and begins: with the PROXY header, the handshake, or HTTP/1.1.
  /// False: it could not begin, and is to be destroyed.
  bool start(FrontendId id, std::uint8_t sink);
  void on_ready(net::Ready ready);
  /// The end of a turn in which something was enqueued.
  void flush();
  /// A later turn, after resume_later(): reads on what the last turn left.
  void resume();
  /// See ServerSession::drain(); connections in their handshake are closed.
  void drain();
  /// Ends a connection that may_be_shed(). False: it had ended, and only lingered.
  bool shed();
  /// Ends at once, streams are told.
  void close();

  FrontendId id() const { return id_; }
  const Facts& facts() const { return facts_; }
  Facts& facts() { return facts_; }
  ServerSession* session() const { return session_.get(); }
  /// The server name of the handshake; empty without TLS or SNI.
  std::string_view server_name() const;
  const net::Credential* credential() const;
  /// Null: no TLS.
  const TlsEngine* tls() const { return const_cast<Channel&>(channel_).tls(); }
  /// Tells this connection from all others, for those behind us; made when first asked for.
  const std::string& unique_id();
  /// Whether the handshake was held to this policy (null: the listener's own settings).
  bool meets(const net::ServerTlsPolicy* policy) const;
  /// The element of X-Forwarded-Client-Cert; empty without a certificate.
  std::string_view client_certificate() const {
    return client_certificate_ ? std::string_view(*client_certificate_) : std::string_view();
  }
  /// The handshake goes on: what comes may be somebody's repetition (RFC 8470 section 3).
  bool is_early() const { return held_ != nullptr; }
  /// The exchange waits for the handshake's end.
  void hold(ExchangeId exchange) { held_->push_back(exchange); }
  /// Nobody waits for an answer on it.
  bool may_be_shed() const {
    if (is_retired || phase_ != Phase::kOpen) return !is_retired;
    return !is_ending_ && session_->open_streams() == 0;
  }
  /// When it began to wait for what it waits for; long ago when only its end is waited for.
  SteadyTime waits_since() const {
    return phase_ == Phase::kLingering ? SteadyTime{} : waits_since_;
  }

  bool is_dirty = false;    // in the data plane's list
  bool is_retired = false;  // waits for the end of the turn

 private:
  enum class Phase : std::uint8_t { kProxyHeader, kHandshake, kOpen, kLingering };
  enum class Waiting : std::uint8_t {
    kNothing,
    kProxyHeader,
    kHandshake,
    kHead,
    kIdle,
    kStall,
    kLinger
  };

  // ServerEvents
  StreamToken on_request(StreamId stream, RequestHead& head, bool ended) override;
  void on_request_body(StreamToken token, std::string_view bytes) override;
  void on_request_end(StreamToken token, const Fields* trailers) override;
  void on_response_taken(StreamToken token, std::size_t bytes) override;
  void on_closed(StreamToken token, Reset reason) override;
  void on_refused(const RequestHead& head, int status, std::string_view detail) override;

  bool begin();
  void read_proxy_header();
  void refuse_proxy_header(std::string_view reason);
  void handshake();
  void begin_early();
  void go_on_early();
  void on_handshake_done();
  void open_session(bool is_h2);
  void read_some();
  void on_end_of_input();
  void lose();
  void linger();
  void linger_behind_alert();
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
  std::unique_ptr<std::string> proxy_header_;     // the part that has come
  const net::ServerTlsPolicy* policy_ = nullptr;  // of the handshake, which keeps it
  std::unique_ptr<const std::string> client_certificate_;
  std::unique_ptr<const std::string> unique_id_;
  std::unique_ptr<std::vector<ExchangeId>> held_;  // while is_early()
  Phase phase_ = Phase::kHandshake;
  Waiting waiting_ = Waiting::kNothing;
  bool wants_write_ = false;
  bool is_ending_ = false;        // the session refused its input: close after the output
  bool has_read_paused_ = false;  // data may wait inside TLS
  bool has_ended_input_ = false;
  bool is_shrunk_ = false;  // in this idle time
  std::size_t lingered_bytes_ = 0;
  SteadyTime waits_since_{};
  std::uint64_t timed_head_ = 0;  // what kHead waits for
  Timer timer_;
};

}  // namespace gatehouse::proxy
