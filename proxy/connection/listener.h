#pragma once
// A listening socket: bound here or inherited (systemd, or the previous configuration). Accepts in
// batches, pauses at the connection limit and when descriptors run out, and never spins. Owns the
// descriptor.

#include <functional>
#include <string>

#include "daemon/base/timer_queue.h"
#include "daemon/net/address.h"
#include "daemon/net/poller.h"

namespace gatehouse::proxy {

class Listener {
 public:
  /// A connection that came in; the callee owns the descriptor.
  using OnAccept = std::function<void(Listener&, int descriptor, const net::SocketAddress& peer)>;

  Listener(net::Poller& poller, TimerQueue& timers, net::ListenAddress address, bool is_tls);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Binds, unless a listening descriptor is handed over, and begins to accept.
  Result<void> start(std::uint8_t sink, std::uint64_t token, int inherited, OnAccept on_accept);
  void on_ready();
  /// Stops and starts accepting; the socket keeps its queue.
  void pause();
  void resume();
  /// Closes the socket: no more connections, the port is free.
  void stop();

  const net::ListenAddress& address() const { return address_; }
  bool is_tls() const { return is_tls_; }
  /// The port that was bound, for a configured port 0.
  net::SocketAddress bound() const;

 private:
  Result<int> bind() const;
  void watch(bool is_on);

  net::Poller& poller_;
  net::ListenAddress address_;
  bool is_tls_;
  int descriptor_ = -1;
  int reserve_ = -1;  // given up for a moment to accept and close when descriptors run out
  std::uint8_t sink_ = 0;
  std::uint64_t token_ = 0;
  bool is_paused_ = false, is_out_of_descriptors_ = false;
  OnAccept on_accept_;
  Timer retry_;
};

}  // namespace gatehouse::proxy
