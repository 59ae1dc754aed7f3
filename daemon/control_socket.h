#pragma once
// How the commands talk to the daemon: one HTTP request over the control socket, waited for.

#include <string>

#include "daemon/base/error.h"

namespace gatehouse::daemon {

struct ControlReply {
  unsigned status = 0;
  std::string body;
};

/// `target` is percent-encoded: "/certificates/renew?name=www.example.com". kNotFound and
/// kConnection say in the message that no daemon answers there; kPermission that it is not ours.
Result<ControlReply> ask_daemon(const std::string& socket_path, const std::string& method,
                                const std::string& target);

/// For values in a query.
std::string percent_encoded(std::string_view text);

}  // namespace gatehouse::daemon
