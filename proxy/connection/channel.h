#pragma once
// A connected, non-blocking stream socket with or without TLS on it: what both kinds of connection
// read from and write to. Owns the descriptor.

#include <optional>
#include <string>

#include "proxy/connection/tls_engine.h"
#include "proxy/protocol/session.h"

namespace gatehouse::proxy {

class Channel {
 public:
  explicit Channel(int descriptor) : descriptor_(descriptor) {}
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// The first bytes on a connected socket, before start_tls(). False: it did not take them all.
  bool send_first(std::string_view bytes);
  /// Puts TLS on the socket; the handshake follows.
  bool start_tls(net::SslPtr ssl);
  bool is_tls() const { return tls_.has_value(); }
  TlsEngine* tls() { return tls_ ? &*tls_ : nullptr; }

  /// Without TLS: kDone at once.
  Io handshake() { return tls_ ? tls_->handshake() : Io::kDone; }
  Io read(char* to, std::size_t size, std::size_t& got);
  /// Looks at what the socket has without taking it. Before start_tls() only.
  Io peek(char* to, std::size_t size, std::size_t& got);
  /// What became of a turn's output: how it ended, whether the session has more to say, and whether
  /// anything went out.
  struct Written {
    Io io = Io::kDone;
    bool has_more = true, has_moved = false;
  };
  /// Writes what the session has to say, behind what `out` holds, until the socket takes no more or
  /// the connection has had its share of the turn.
  Written write_output(Session& session, FlatBuffer& out);
  /// There is more to read although the socket may not become readable again.
  bool has_pending() const { return tls_ && tls_->has_pending(); }

  /// Frees what a silent connection does not need.
  void shrink() {
    if (tls_) tls_->shrink();
  }
  /// After a failure of TLS, which has sent its alert: what follows is read as it comes.
  void drop_tls() { tls_.reset(); }
  /// Says goodbye: close_notify, then FIN; the peer's last bytes may still be read.
  void end_output();
  /// The peer must not take the end for a goodbye: closing will reset the connection.
  void break_off();
  int descriptor() const { return descriptor_; }
  /// For the log, after kFailed.
  std::string failure() const;

 private:
  Io write(FlatBuffer& from, bool has_more);
  Io receive(char* to, std::size_t size, int flags, std::size_t& got);
  int descriptor_;
  int errno_ = 0;
  bool is_output_ended_ = false;
  std::optional<TlsEngine> tls_;
};

}  // namespace gatehouse::proxy
