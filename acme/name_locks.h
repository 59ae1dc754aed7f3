#pragma once
// Names of which one coroutine at a time may hold each: the account of a CA while it is made, a
// host while its challenge answers are in place (two orders that share a host would overwrite each
// other's TLS-ALPN-01 certificate). All names are taken at once, so nobody waits in a circle.
// One loop; control plane only.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "daemon/net/loop.h"

namespace gatehouse::acme {

class NameLocks {
 public:
  /// Releases its names when it goes. Does not outlive the NameLocks.
  class Held {
   public:
    Held(NameLocks& locks, std::vector<std::string> names)
        : locks_(&locks), names_(std::move(names)) {}
    Held(Held&& other) noexcept
        : locks_(std::exchange(other.locks_, nullptr)), names_(std::move(other.names_)) {}
    Held& operator=(Held&&) = delete;
    ~Held() {
      if (locks_) locks_->release(names_);
    }

   private:
    NameLocks* locks_;  // null: moved from
    std::vector<std::string> names_;
  };

  explicit NameLocks(net::Loop& loop);

  /// Waits until all names are free, and takes them. Nothing: cancelled.
  boost::asio::awaitable<std::optional<Held>> hold(std::vector<std::string> names);

 private:
  void release(const std::vector<std::string>& names);

  boost::asio::steady_timer released_;  // never due; cancelled to wake all who wait
  std::set<std::string> held_;
};

}  // namespace gatehouse::acme
