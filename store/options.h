#pragma once
// What the store room is told. Filled by the roof.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "store/kube_objects.h"

namespace gatehouse::store {

struct Options {
  std::string state_directory = "/var/lib/gatehouse";  // 0700; gatehouse.db lives here, 0600
};

/// A Secret that a certificate is mirrored into.
struct MirrorTarget {
  SecretName secret;
  std::string certificate;         // its name, as in the configuration
  std::vector<std::string> names;  // that a certificate must cover to be written there
  bool adopts = false;             // takes over a Secret that is not ours, once
  std::map<std::string, std::string> labels, annotations;  // beside our own

  friend bool operator==(const MirrorTarget&, const MirrorTarget&) = default;
};

/// A Secret that a certificate is read from.
struct SourceTarget {
  SecretName secret;
  std::string certificate;
  std::vector<std::string> names;  // of the vhosts that are served with it
};

/// Where a mirrored certificate is to be seen, and how soon.
struct GatewayTarget {
  std::string certificate;
  std::string host;  // without brackets
  std::uint16_t port = 443;
  Duration within = std::chrono::seconds(60);

  friend bool operator==(const GatewayTarget&, const GatewayTarget&) = default;
};

}  // namespace gatehouse::store
