#pragma once
// Everything the proxy room can be told: limits, vhosts, routes, backends. Plain structs with
// defaults; the roof fills them from YAML and they are valid by then (names resolved, regexes
// compile, hosts in normal form: lower case, IDNA A-labels, no trailing dot).

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/net/address.h"
#include "daemon/net/certificate.h"

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
  // What a response begins with; doubles up to stream_buffer_high as its client takes bytes.
  std::size_t response_credit = 64 * 1024;
  std::uint32_t stream_window = 256 * 1024;       // HTTP/2 windows that we offer to clients
  std::uint32_t connection_window = 1024 * 1024;  // to a client; backends are bounded by stream
  std::size_t trailer_bytes = 16 * 1024;
  std::uint32_t interim_responses = 16;
  std::size_t replay_bytes = 64 * 1024;  // of a request body, kept where the route has retries
};

enum class BackendProtocol : std::uint8_t { kHttp1, kHttp2, kAuto };
enum class PlainPolicy : std::uint8_t { kRedirect, kServe, kRefuse };

/// One place to connect to. `host` is resolved when it is a name.
struct Endpoint {
  bool is_tls = false;
  std::string host;  // name or address literal; empty for a unix socket
  std::uint16_t port = 0;
  std::string unix_path;
  bool is_srv = false;  // `host` is the name of SRV records, which say hosts and ports
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

struct BackendTls {
  std::string server_name;  // SNI and the name to verify; empty: the endpoint's host
  std::string ca_file;      // empty: the system's roots
  std::shared_ptr<const std::string> ca_pem;  // what is in ca_file, as the roof has read it
  std::string certificate_file, key_file;     // our own, when the backend asks; empty: none
  net::CredentialPtr credential;              // what is in them
  std::string verify_san;  // a SAN that must be there instead of server_name, such as a SPIFFE URI
  /// The same files; what is in them may change under their names.
  friend bool operator==(const BackendTls& a, const BackendTls& b) {
    return a.server_name == b.server_name && a.ca_file == b.ca_file &&
           a.certificate_file == b.certificate_file && a.key_file == b.key_file &&
           a.verify_san == b.verify_san;
  }
};

/// Which host gets the next request: each address that an endpoint resolves to is a host.
struct Balance {
  enum class Policy : std::uint8_t {
    kRoundRobin,
    kLeastRequests,
    kHash
  } policy = Policy::kRoundRobin;
  enum class Key : std::uint8_t { kHeader, kCookie, kSource } key = Key::kSource;  // of kHash
  std::string key_name;  // of the header (lower case) or cookie
  friend bool operator==(const Balance&, const Balance&) = default;
};

/// Active checks: HTTP when there is a path, gRPC's health service when is_grpc, else TCP.
struct HealthCheck {
  std::string path;
  bool is_grpc = false;
  std::string grpc_service;
  Duration interval = std::chrono::seconds(5);
  Duration timeout = std::chrono::seconds(1);
  std::uint32_t unhealthy_after = 3, healthy_after = 2;  // checks in a row
  friend bool operator==(const HealthCheck&, const HealthCheck&) = default;
};

/// Passive ejection.
struct Ejection {
  std::uint32_t consecutive_errors = 5;
  Duration time = std::chrono::seconds(30);  // the first one; longer each time it comes back
  unsigned at_most_percent = 50;             // of the hosts at once; see Outlier
  friend bool operator==(const Ejection&, const Ejection&) = default;
};

enum class ProxyProtocol : std::uint8_t { kOff, kV1, kV2 };

struct Backend {
  std::string name;  // for logs and metrics: the key, or the URL of an inline one
  std::vector<Endpoint> endpoints;
  BackendProtocol protocol = BackendProtocol::kAuto;
  BackendTls tls;
  struct Timeouts {
    Duration connect = std::chrono::seconds(3);
    Duration response = std::chrono::seconds(60);
    Duration idle = std::chrono::seconds(90);
    friend bool operator==(const Timeouts&, const Timeouts&) = default;
  } timeouts;
  /// Over all hosts of the backend and all event loops.
  struct Caps {
    std::size_t connections = 4096;
    std::size_t pending = 4096;
    std::size_t requests = 0;  // open at once, those that wait included; 0: no bound
    friend bool operator==(const Caps&, const Caps&) = default;
  } limits;
  Balance balance;
  std::optional<HealthCheck> health;
  std::optional<Ejection> eject;
  struct Http2 {
    Duration ping{};     // of a silent connection, idle or not; 0: none
    Duration max_age{};  // of a connection, with jitter; 0: no bound
    friend bool operator==(const Http2&, const Http2&) = default;
  } http2;
  std::string sticky_cookie;  // empty: not sticky
  Duration slow_start{};
  unsigned panic_percent = 0;  // below this share of healthy hosts, health is ignored
  ProxyProtocol send_proxy_protocol = ProxyProtocol::kOff;
  /// The same configuration: what is known of the hosts survives a reload.
  friend bool operator==(const Backend&, const Backend&) = default;
};

struct PathMatch {
  enum class Kind : std::uint8_t { kAny, kPrefix, kExact, kRegex } kind = Kind::kAny;
  std::string text;  // prefix of whole segments, exact path, or RE2 pattern (anchored at both ends)
};

/// Beside the path; all that are given must hold.
struct RequestMatch {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  std::vector<std::string> methods{};   // any of them
  Pairs headers{};                      // lower-case name, exact value
  Pairs query{};                        // name and exact value, both decoded
  std::vector<net::Network> sources{};  // client addresses: any of them
  bool empty() const {
    return methods.empty() && headers.empty() && query.empty() && sources.empty();
  }
};

/// Of a request on its way to a backend.
struct Rewrite {
  std::string path{};  // replaces the matched prefix, or the whole path; empty: kept
  std::string host{};  // empty: kept
};

/// Applied in this order. Values may hold variables.
struct HeaderEdits {
  std::vector<std::string> remove{};
  std::vector<std::pair<std::string, std::string>> set{}, add{};
  bool empty() const { return remove.empty() && set.empty() && add.empty(); }
};

struct Retries {
  std::uint32_t attempts = 2;  // beyond the first
  bool on_connect = false, on_reset = false;
  bool on_5xx = false;              // any status of 500 and above
  std::vector<int> on_status;       // of the response
  std::vector<int> on_grpc_status;  // of a trailers-only response, or in the head
  Duration per_try{};               // from the request's end to the response's head; 0: none
  unsigned budget_percent = 20;     // of the backend's open requests
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

/// What few routes have, so that the others need not carry it.
struct RouteRules {
  RequestMatch match{};
  Rewrite rewrite{};
  HeaderEdits request_headers{}, response_headers{};
  std::optional<std::uint64_t> body_bytes{};  // instead of Limits::body_bytes
};

/// Exactly one of split, redirect, respond is set.
struct Route {
  std::string name;  // for logs: "vhost/0"
  PathMatch match;
  std::vector<WeightedBackend> split;  // one entry for a plain `backend:`
  std::optional<RedirectAction> redirect;
  std::optional<RespondAction> respond;
  std::shared_ptr<const RouteRules> rules;  // null: none
  std::optional<Retries> retries;
  Duration timeout{};  // from the request's end until the response is whole; 0: none
  bool allows_upgrade = true;
  bool allows_early_data = false;
};

enum class TlsProfile : std::uint8_t { kModern, kIntermediate };

/// What vhosts ask of TLS beside the certificate; one for all that ask for the same.
struct TlsPolicy {
  TlsProfile profile = TlsProfile::kIntermediate;
  enum class Clients : std::uint8_t { kOff, kOptional, kRequired } clients = Clients::kOff;
  std::string ca_file, crl_file;                       // of clients' certificates
  std::shared_ptr<const std::string> ca_pem, crl_pem;  // what is in them, as the roof has read it
};

struct Vhost {
  std::vector<std::string> hosts;  // exact names, "*.one.label" wildcards, addresses, or "*"
  PlainPolicy http = PlainPolicy::kRedirect;
  std::optional<std::size_t> tls_policy;  // in Options::tls_policies; none: Options::tls_profile
  std::vector<net::Network> allow, deny;  // by client address; empty `allow`: all
  std::vector<Route> routes;              // first match wins
};

enum class AccessLogFormat : std::uint8_t { kOff, kEnvoy, kJson };

struct Options {
  std::vector<net::ListenAddress> https, http;
  std::vector<net::Network> trusted_proxies;
  std::vector<net::Network> proxy_protocol_from;  // peers whose PROXY header is required
  std::size_t workers = 1;                        // event loops; 0: one per core
  TlsProfile tls_profile = TlsProfile::kIntermediate;
  std::vector<TlsPolicy> tls_policies;  // of vhosts
  AccessLogFormat access_log_format = AccessLogFormat::kEnvoy;
  std::string access_log_path = "stdout";
  Limits limits;
  std::vector<Backend> backends;
  std::vector<Vhost> vhosts;
};

}  // namespace gatehouse::proxy
