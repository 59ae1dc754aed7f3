#pragma once
// Everything the proxy room can be told: limits, vhosts, routes, backends. Plain structs with
// defaults; the roof fills them from YAML and they are valid by then (names resolved, regexes
// compile, hosts in normal form: lower case, IDNA A-labels, no trailing dot).

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/net/address.h"

namespace gatehouse::proxy {

/// Bounds of the data plane. 0 means no bound where DESIGN.md says so.
struct Limits {
  Duration handshake_timeout = std::chrono::seconds(5);
  Duration header_timeout = std::chrono::seconds(5);  // for the whole head
  Duration idle_timeout = std::chrono::seconds(60);   // client connection without an open request
  Duration stall_timeout = std::chrono::seconds(10);  // peer takes nothing of what is ready
  Duration drain_timeout = std::chrono::seconds(30);
  std::uint64_t body_rate = 500;  // bytes/s, judged over each header_timeout
  std::size_t header_bytes = 64 * 1024;
  std::size_t header_fields = 100;
  std::size_t uri_bytes = 16 * 1024;
  std::uint64_t body_bytes = 0;  // of a request; 0: no bound
  std::uint32_t streams = 100;   // concurrent, per HTTP/2 connection
  std::size_t connections = 20000;
  std::size_t connections_per_source = 0;

  // Not in the file: bounds nobody turns.
  std::size_t response_header_bytes = 256 * 1024;
  std::size_t stream_buffer_high = 256 * 1024;  // unacknowledged body bytes before we stop reading
  std::uint32_t stream_window = 256 * 1024;     // HTTP/2 windows that we offer
  std::uint32_t connection_window = 1024 * 1024;
  std::size_t trailer_bytes = 16 * 1024;
  std::uint32_t interim_responses = 16;
};

enum class BackendProtocol : std::uint8_t { kHttp1, kHttp2, kAuto };
enum class PlainPolicy : std::uint8_t { kRedirect, kServe, kRefuse };

/// One place to connect to. `host` is resolved when it is a name.
struct Endpoint {
  bool is_tls = false;
  std::string host;  // name or address literal; empty for a unix socket
  std::uint16_t port = 0;
  std::string unix_path;
};

struct BackendTls {
  std::string server_name;  // SNI and the name to verify; empty: the endpoint's host
  std::string ca_file;      // empty: the system's roots
};

struct Backend {
  std::string name;  // for logs and metrics: the key, or the URL of an inline one
  std::vector<Endpoint> endpoints;
  BackendProtocol protocol = BackendProtocol::kAuto;
  BackendTls tls;
  struct Timeouts {
    Duration connect = std::chrono::seconds(3);
    Duration response = std::chrono::seconds(60);
    Duration idle = std::chrono::seconds(90);
  } timeouts;
  struct Caps {
    std::size_t connections = 4096;
    std::size_t pending = 4096;
    std::size_t requests = 0;  // open at once; 0: no bound
  } limits;
};

struct PathMatch {
  enum class Kind : std::uint8_t { kAny, kPrefix, kExact, kRegex } kind = Kind::kAny;
  std::string text;  // prefix of whole segments, exact path, or RE2 pattern (anchored at both ends)
};

struct WeightedBackend {
  std::size_t backend = 0;  // index into Options::backends
  std::uint32_t weight = 1;
};

struct RedirectAction {
  std::string to;
  int status = 308;
};
struct RespondAction {
  int status = 200;
  std::string body;
};

/// Exactly one of split, redirect, respond is set.
struct Route {
  std::string name;  // for logs: "vhost/0"
  PathMatch match;
  std::vector<WeightedBackend> split;  // one entry for a plain `backend:`
  std::optional<RedirectAction> redirect;
  std::optional<RespondAction> respond;
};

struct Vhost {
  std::vector<std::string> hosts;  // exact names, "*.one.label" wildcards, addresses, or "*"
  PlainPolicy http = PlainPolicy::kRedirect;
  std::vector<Route> routes;  // first match wins
};

enum class TlsProfile : std::uint8_t { kModern, kIntermediate };
enum class AccessLogFormat : std::uint8_t { kOff, kEnvoy, kJson };

struct Options {
  std::vector<net::ListenAddress> https, http;
  std::vector<net::Network> trusted_proxies;
  TlsProfile tls_profile = TlsProfile::kIntermediate;
  AccessLogFormat access_log_format = AccessLogFormat::kEnvoy;
  std::string access_log_path = "stdout";
  Limits limits;
  std::vector<Backend> backends;
  std::vector<Vhost> vhosts;
};

}  // namespace gatehouse::proxy
