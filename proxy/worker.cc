#include "proxy/worker.h"

#include <pthread.h>

#include <csignal>
#include <string>

namespace gatehouse::proxy {

Worker::Worker(const Clock& clock, Neighbours& neighbours, std::size_t index)
    : index_(index),
      loop_(clock),
      poller_(loop_),
      resolver_(loop_, poller_),
      plane_(DataPlaneTools{loop_, poller_, resolver_, random_, metrics_, neighbours, index}) {}

Result<std::unique_ptr<Worker>> Worker::open(const Clock& clock, Neighbours& neighbours,
                                             std::size_t index) {
  std::unique_ptr<Worker> worker(new Worker(clock, neighbours, index));
  if (auto polling = worker->poller_.start(); !polling) return polling.error();
  if (auto resolving = worker->resolver_.start(); !resolving) return resolving.error();
  return worker;
}

Worker::~Worker() { stop(); }

void Worker::start() {
  // Signals are for the first loop: a new thread starts with the mask of the one that makes it.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

/// An exception that escapes ends the process: there is nobody to hand it to.
void Worker::run() noexcept {
  pthread_setname_np(pthread_self(), ("gatehouse-" + std::to_string(index_)).c_str());
  loop_.run();
}

void Worker::stop() {
  if (!thread_.joinable()) return;
  loop_.stop();
  thread_.join();
  resolver_.stop();
  poller_.stop();
}

}  // namespace gatehouse::proxy
