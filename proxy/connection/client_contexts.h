#pragma once
// The TLS contexts towards backends, one for each distinct configuration. A context outlives
// changes of its files: pools and their connections go on, and what begins from then on uses the
// new contents. Owned by the data plane.

#include <map>
#include <memory>
#include <string>

#include "daemon/net/tls_context.h"
#include "proxy/options.h"

namespace gatehouse::proxy {

class ClientContexts {
 public:
  /// The context of that backend. When its files have changed, the new contents are ready for
  /// commit(); on failure nothing has changed.
  Result<std::shared_ptr<net::ClientTlsContext>> prepare(const Backend& backend);
  /// Contexts that no backend uses any more are dropped, too.
  void commit();
  void abandon() { renewals_.clear(); }

 private:
  struct Entry {
    std::shared_ptr<net::ClientTlsContext> context;
    BackendTls made_from;
  };
  std::map<std::string, Entry> entries_;  // by what is configured
  std::map<std::string, Entry> renewals_;
};

}  // namespace gatehouse::proxy
