#pragma once
// Files of TLS beside the certificates that are served: roots and lists of revoked certificates for
// clients, roots and our own certificates for backends. They are read again when they change; what
// does not check then leaves in use what was there before.

#include <memory>

#include "daemon/config.h"
#include "daemon/file_watch.h"

namespace gatehouse::daemon {

/// The configuration with what its changed files hold now; null: none has changed, or none of them
/// is usable, which is logged. Blocking; for the compute thread.
std::shared_ptr<const Config> with_changed_tls_files(FileWatch& watch, const Config& config);

}  // namespace gatehouse::daemon
