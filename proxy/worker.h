#pragma once
// A further loop of the process: a thread with a loop, a data plane on it, and whatever that works
// with. Made and destroyed on the first loop's thread; between start() and stop() all of it belongs
// to the worker's own thread, and others post. Owned by Proxy.

#include <memory>
#include <thread>

#include "daemon/base/metrics.h"
#include "daemon/base/random.h"
#include "daemon/net/loop.h"
#include "daemon/net/poller.h"
#include "daemon/net/resolver.h"
#include "proxy/data_plane.h"

namespace gatehouse::proxy {

class Worker {
 public:
  /// `index`: of the loop in the process; the first one is 0 and no worker's. What is given
  /// outlives the worker.
  static Result<std::unique_ptr<Worker>> open(const Clock& clock, Neighbours& neighbours,
                                              std::size_t index);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void start();
  /// Ends the loop, whatever is open, and joins the thread.
  void stop();

  net::Loop& loop() { return loop_; }
  /// On the worker's thread while that runs.
  DataPlane& plane() { return plane_; }

 private:
  Worker(const Clock& clock, Neighbours& neighbours, std::size_t index);
  void run() noexcept;

  const std::size_t index_;
  SeededRandom random_;
  Metrics metrics_;
  net::Loop loop_;
  net::Poller poller_;
  net::Resolver resolver_;
  DataPlane plane_;
  std::thread thread_;
};

}  // namespace gatehouse::proxy
