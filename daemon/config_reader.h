#pragma once
// From the file to a Config (DESIGN.md "Configuration"), with every error at once. What the schema
// knows and this version does not do is refused with "not supported yet", never ignored. Reads the
// files that the configuration names (certificates, keys, roots), opens no socket, prints nothing.

#include <optional>
#include <string>
#include <string_view>

#include "daemon/base/clock.h"
#include "daemon/config.h"
#include "daemon/diagnostic.h"

namespace gatehouse::daemon {

inline constexpr const char* kDefaultConfigFile = "/etc/gatehouse/gatehouse.yaml";

struct ConfigReading {
  std::optional<Config> config;  // absent exactly when there are errors
  ConfigReport report;           // warnings also beside a config
};

/// `now` decides whether certificates in files have expired. What `before` holds of files that were
/// not touched since is taken from there, and shared.
ConfigReading read_config(const std::string& path, WallTime now = std::chrono::system_clock::now(),
                          const Config* before = nullptr);
/// As if `text` stood in `path`: relative paths start at its directory, messages name it.
ConfigReading read_config_text(std::string_view text, const std::string& path,
                               WallTime now = std::chrono::system_clock::now(),
                               const Config* before = nullptr);

/// Only what the commands need of a file that may be wrong otherwise: the path of the control
/// socket, its default when the file does not name one.
Result<std::string> read_control_socket(const std::string& path);

}  // namespace gatehouse::daemon
