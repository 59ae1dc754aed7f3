#pragma once
// One line per exchange: Envoy's default format, field for field, or JSON with Istio's keys
// (DESIGN.md "Access log"). Formatting only; AccessLog writes. What clients send cannot forge a
// line or a field: quotes and backslashes are escaped, and so is every byte that is not printable
// ASCII (in JSON: every control byte; what is not UTF-8 becomes U+FFFD).

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/base/clock.h"
#include "proxy/options.h"
#include "proxy/protocol/message.h"
#include "proxy/protocol/response_flags.h"

namespace gatehouse::proxy {

/// What is known of an exchange when it is over. Views need to live only during the call; an empty
/// one is printed as "-" (JSON: null).
struct AccessRecord {
  WallTime start{};
  std::string_view method;
  std::string_view path;  // as received, with its query
  HttpVersion version = HttpVersion::kHttp11;
  int status = 0;  // 0: nothing was sent
  ResponseFlags flags;
  std::uint64_t request_body_bytes = 0;
  std::uint64_t response_body_bytes = 0;
  Duration duration{};
  std::optional<Duration> backend_time;  // our time to the response head
  std::string_view forwarded_for;        // X-Forwarded-For as Envoy logs it
  std::string_view user_agent;
  std::string_view request_id;
  std::string_view authority;
  std::string_view endpoint;  // "ip:port" or "unix:/path"

  // Only in JSON.
  std::string_view code_details;           // why this status: "via_upstream", "route_not_found"
  std::string_view termination_details;    // why the connection was ended
  std::string_view backend_name;           // upstream_cluster
  std::string_view backend_local_address;  // ours, towards the endpoint
  std::string_view local_address;          // where the client connected to
  std::string_view remote_address;         // the client
  std::string_view server_name;            // SNI
  std::string_view route_name;
  std::string_view transport_failure;  // TLS or connect trouble with the endpoint
};

/// Keeps the text of the current second, so that a line costs no calendar. One per AccessLog.
class AccessLogLine {
 public:
  /// Appends the line with its newline. kOff appends nothing.
  void append(AccessLogFormat format, const AccessRecord& record, std::string& out);

 private:
  void append_envoy(const AccessRecord& record, std::string& out);
  void append_json(const AccessRecord& record, std::string& out);
  void append_time(WallTime time, std::string& out);

  std::optional<std::chrono::seconds> second_;  // since the epoch
  std::string second_text_;                     // "2026-08-01T10:00:00."
};

}  // namespace gatehouse::proxy
