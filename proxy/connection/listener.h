#pragma once
// A listening socket, bound by bind() or inherited from systemd. Accepts in batches, pauses at the
// connection limit and when descriptors run out, and never spins. Owns the descriptor.

#include <string>

#include "daemon/base/timer_queue.h"
#include "daemon/net/address.h"
#include "daemon/net/poller.h"

namespace gatehouse::proxy {

class Listener;

/// Whoever the connections are for.
class ListenerHost {
 public:
  virtual ~ListenerHost() = default;
  /// Before each accept. False: there are enough; pause us.
  virtual bool reserve_place() = 0;
  /// Nothing was accepted after all.
  virtual void release_place() = 0;
  /// A connection came in and has its place; the callee owns the descriptor.
  virtual void on_accept(Listener& listener, int descriptor, const net::SocketAddress& peer) = 0;
};

class Listener {
 public:
  /// The host outlives the listener.
  Listener(ListenerHost& host, net::Poller& poller, TimerQueue& timers, net::ListenAddress address,
           bool is_tls);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// A listening socket for the address; the caller owns it. With `shares_port` bind_beside() may
  /// follow; others are refused the port all the same.
  static Result<int> bind(const net::ListenAddress& address, bool shares_port);
  /// Another one at the same address, with a queue of its own: the kernel spreads connections over
  /// them. -1: it cannot be had.
  static int bind_beside(int descriptor);

  /// Takes over a listening descriptor, also when this fails. Paused at first.
  Result<void> start(std::uint8_t sink, std::uint64_t token, int descriptor);
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
  void on_out_of_descriptors();
  void watch(bool is_on);

  ListenerHost& host_;
  net::Poller& poller_;
  net::ListenAddress address_;
  bool is_tls_;
  int descriptor_ = -1;
  int reserve_ = -1;  // given up for a moment to accept and close when descriptors run out
  std::uint8_t sink_ = 0;
  std::uint64_t token_ = 0;
  bool is_paused_ = true, is_out_of_descriptors_ = false;
  Timer retry_;
};

}  // namespace gatehouse::proxy
