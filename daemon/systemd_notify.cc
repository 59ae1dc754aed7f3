#include "daemon/systemd_notify.h"

#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include <chrono>

#include "daemon/base/log.h"

namespace gatehouse::daemon {

SystemdNotify::SystemdNotify(TimerQueue& timers) : watchdog_(timers, [this] { pet_watchdog(); }) {
  std::uint64_t period_us = 0;
  if (sd_watchdog_enabled(0, &period_us) > 0)
    watchdog_period_ = std::chrono::microseconds(period_us / 2);
}

void SystemdNotify::ready(const std::string& status) {
  sd_notify(0, ("READY=1\nSTATUS=" + status).c_str());
  if (watchdog_period_ > Duration::zero()) watchdog_.arm(watchdog_period_);
}

void SystemdNotify::pet_watchdog() {
  if (!holds_ || holds_()) sd_notify(0, "WATCHDOG=1");
  watchdog_.arm(watchdog_period_);
}

void SystemdNotify::reloading() {
  // Type=notify-reload wants the time with it (sd_notify(3)).
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto microseconds = std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
  sd_notify(0, ("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(microseconds)).c_str());
}

void SystemdNotify::reloaded(const std::string& status) {
  sd_notify(0, ("READY=1\nSTATUS=" + status).c_str());
}

void SystemdNotify::stopping() { sd_notify(0, "STOPPING=1"); }

proxy::ListenSockets inherited_sockets(const std::vector<net::ListenAddress>& wanted) {
  proxy::ListenSockets sockets;
  const int count = sd_listen_fds(/*unset_environment=*/1);
  for (int i = 0; i < count; ++i) {
    const int descriptor = SD_LISTEN_FDS_START + i;
    sockaddr_storage where{};
    socklen_t size = sizeof where;
    if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&where), &size) != 0) continue;
    const auto bound = net::SocketAddress::from_native(reinterpret_cast<sockaddr*>(&where), size);
    bool is_wanted = false;
    for (const net::ListenAddress& address : wanted) {
      if (!(address.address == bound) || sockets.contains(address.text)) continue;
      sockets[address.text] = descriptor;
      is_wanted = true;
      break;
    }
    if (is_wanted) continue;
    log(Level::kWarn, "systemd.socket_unused")
        .with("address", bound.to_string())
        .with("hint", "no address under listen: in the configuration is the same");
    ::close(descriptor);
  }
  return sockets;
}

}  // namespace gatehouse::daemon
