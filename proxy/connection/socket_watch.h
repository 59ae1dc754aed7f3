#pragma once
// Remembers what a connection asked the poller for, so that only changes cost a system call.

#include "daemon/net/poller.h"

namespace gatehouse::proxy {

class SocketWatch {
 public:
  Result<void> start(net::Poller& poller, int descriptor, std::uint8_t sink, std::uint64_t token,
                     bool read, bool write) {
    poller_ = &poller;
    descriptor_ = descriptor;
    sink_ = sink;
    token_ = token;
    interest_ = interest_of(read, write);
    return poller.add(descriptor, sink, token, interest_);
  }
  void want(bool read, bool write) {
    const auto interest = interest_of(read, write);
    if (interest == interest_ || !poller_) return;
    interest_ = interest;
    poller_->change(descriptor_, sink_, token_, interest);
  }

 private:
  static net::Poller::Interest interest_of(bool read, bool write) {
    if (read) return write ? net::Poller::Interest::kReadWrite : net::Poller::Interest::kRead;
    return write ? net::Poller::Interest::kWrite : net::Poller::Interest::kNone;
  }
  net::Poller* poller_ = nullptr;
  int descriptor_ = -1;
  std::uint8_t sink_ = 0;
  std::uint64_t token_ = 0;
  net::Poller::Interest interest_ = net::Poller::Interest::kNone;
};

}  // namespace gatehouse::proxy
