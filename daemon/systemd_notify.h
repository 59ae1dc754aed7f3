#pragma once
// What systemd hears from us and hands to us: readiness, reloads, the watchdog, and sockets that it
// opened (sd_notify(3), sd_listen_fds(3)). Without systemd everything here does nothing.

#include <functional>
#include <string>
#include <vector>

#include "daemon/base/timer_queue.h"
#include "daemon/net/address.h"
#include "proxy/data_plane.h"

namespace gatehouse::daemon {

class SystemdNotify {
 public:
  explicit SystemdNotify(TimerQueue& timers);

  /// Before ready(): the watchdog hears of us only while this holds.
  void pet_only_while(std::function<bool()> holds) { holds_ = std::move(holds); }
  /// READY=1, and the watchdog's timer when the unit has one.
  void ready(const std::string& status);
  void reloading();
  /// After a reload, successful or not.
  void reloaded(const std::string& status);
  void stopping();

 private:
  void pet_watchdog();
  std::function<bool()> holds_;
  Timer watchdog_;
  Duration watchdog_period_{};
};

/// The sockets that we were started with, by the text of the listen address that each is bound to.
/// One that no address of the configuration asks for is closed and named in the log.
proxy::ListenSockets inherited_sockets(const std::vector<net::ListenAddress>& wanted);

}  // namespace gatehouse::daemon
