#pragma once
// What a data plane may ask of the others in its process. Nothing is called across loops: what goes
// there is posted. Implemented by Proxy; a process with one loop has no neighbours to be asked.

#include <cstddef>
#include <memory>
#include <string>

#include "daemon/net/address.h"
#include "proxy/connection/backend_commons.h"
#include "proxy/connection_census.h"

namespace gatehouse::proxy {

/// A connection that was accepted and lives on no loop yet. Its place is taken in the census.
struct Visitor {
  int descriptor = -1;
  net::SocketAddress peer;
  bool is_tls = false;
};

class Neighbours {
 public:
  virtual ~Neighbours() = default;
  virtual ConnectionCensus& census() = 0;
  /// The visitor is to live on that loop (ConnectionCensus::settle).
  virtual void hand_over(std::size_t loop, const Visitor& visitor) = 0;
  /// Lines for an access log that only the first loop may write to.
  virtual void pass_log_lines(std::string lines) = 0;
  /// For the cluster of that backend on that loop.
  virtual void tell(std::size_t loop, std::shared_ptr<BackendCommons> commons,
                    const ClusterNews& news) = 0;
};

}  // namespace gatehouse::proxy
