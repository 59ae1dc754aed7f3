#pragma once
// The facts of a running daemon: as JSON for programs (status --json, /status.json), as a page, and
// as text made from that JSON by the commands.

#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/error.h"
#include "proxy/proxy.h"

namespace gatehouse::daemon {

class Gatehouse;
using LoopFacts = std::vector<proxy::Proxy::LoopFacts>;

/// Everything. `certificates` only: its array, for `certificates list`.
std::string status_json(const Gatehouse& gatehouse, const LoopFacts& loops);
std::string certificates_json(const Gatehouse& gatehouse);
/// One certificate with its chain (never its key), by its name or a covered host; kNotFound.
Result<std::string> certificate_json(const Gatehouse& gatehouse, std::string_view name);
/// The PEM chain that is served for it.
Result<std::string> certificate_pem(const Gatehouse& gatehouse, std::string_view name);
std::string status_page(const Gatehouse& gatehouse, const LoopFacts& loops);

/// From the JSON above to what a person reads in a terminal.
Result<std::string> status_text(std::string_view json);
Result<std::string> certificates_text(std::string_view json);
Result<std::string> certificate_text(std::string_view json);

}  // namespace gatehouse::daemon
