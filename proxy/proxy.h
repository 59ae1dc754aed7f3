#pragma once
// The front door of the proxy room: what the roof starts, gives snapshots to and drains. Today one
// data plane on the caller's loop; a second one gets its own loop and the same snapshots.

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proxy/data_plane.h"

namespace gatehouse::proxy {

class Proxy {
 public:
  explicit Proxy(const DataPlaneTools& tools) : plane_(tools), loop_(tools.loop) {}

  /// Binds or takes over the listeners and begins to serve. Before it: use() for certificates, so
  /// that no handshake finds none.
  Result<void> start(std::shared_ptr<const Options> options, const InheritedSockets& inherited);
  /// Swaps the configuration: nothing in flight is touched. On failure everything stays as it was.
  Result<void> use(std::shared_ptr<const Options> options);
  /// Swaps the certificates: effective with the next handshake.
  void use(std::shared_ptr<const CertificateTable> certificates) {
    plane_.use(std::move(certificates));
  }
  const std::shared_ptr<const CertificateTable>& certificates() const {
    return plane_.certificates();
  }
  /// Where challenge answers are put. On the loop only.
  ChallengeTable& challenges() { return plane_.challenges(); }

  void drain(std::function<void()> done) { plane_.drain(std::move(done)); }
  Result<void> reopen_log() { return plane_.reopen_log(); }

  std::size_t connections() const { return plane_.frontend_count(); }
  std::size_t requests() const { return plane_.exchange_count(); }
  /// Address (with the port really bound) and whether it speaks TLS.
  std::vector<std::pair<std::string, bool>> listening() const { return plane_.listening(); }

 private:
  void rotate_tickets();

  DataPlane plane_;
  net::Loop& loop_;
  std::shared_ptr<net::TicketKeys> tickets_;
  std::unique_ptr<Timer> ticket_timer_;
};

}  // namespace gatehouse::proxy
