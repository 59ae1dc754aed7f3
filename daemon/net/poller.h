#pragma once
// The hot sockets of one loop: an epoll set that Asio watches as one descriptor. Level-triggered;
// sockets are registered once for reading and only ask for writability after EAGAIN. One
// epoll_wait round of up to 512 events per wake-up (PERFORMANCE.md section 7: "nested-1").
// A socket is named by the sink that handles it and a token that the sink made up (an id with a
// generation), so an event for a socket that is gone finds nobody.

#include <cstdint>
#include <memory>

#include "daemon/base/error.h"

namespace gatehouse::net {

class Loop;

struct Ready {
  bool readable = false;  // also set on error and hang-up, so that a read finds out
  bool writable = false;
  bool peer_closed = false;  // EPOLLRDHUP or EPOLLHUP or EPOLLERR
};

class ReadySink {
 public:
  virtual ~ReadySink() = default;
  /// `token` as given to add(): 56 bits.
  virtual void on_ready(std::uint64_t token, Ready ready) = 0;
  /// Its turn comes soon, after others': a chance to prefetch(). First `kFar`, so that `kNear` can
  /// follow a pointer.
  enum class Distance : std::uint8_t { kFar, kNear };
  virtual void expect(std::uint64_t /*token*/, Distance) {}
};

class Poller {
 public:
  /// The loop outlives the poller.
  explicit Poller(Loop& loop);
  ~Poller();

  /// Creates the epoll set and starts watching.
  Result<void> start();
  void stop();

  /// Sinks outlive the poller's run; at most 255 of them.
  std::uint8_t add_sink(ReadySink& sink);

  enum class Interest : std::uint8_t { kNone, kRead, kWrite, kReadWrite };
  Result<void> add(int descriptor, std::uint8_t sink, std::uint64_t token, Interest interest);
  void change(int descriptor, std::uint8_t sink, std::uint64_t token, Interest interest);
  /// Before close(2), when the descriptor might be shared (duplicated); else close is enough.
  void remove(int descriptor);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gatehouse::net
