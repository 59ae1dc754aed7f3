#pragma once
// What the proxy has to know of gRPC over HTTP/2 beyond HTTP: its statuses, the deadline that a
// client sends along, and what a reset means. Pure functions.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/base/clock.h"
#include "proxy/protocol/session.h"

namespace gatehouse::proxy {

/// Those of gRPC's status codes that the proxy gives out or looks for.
enum class GrpcStatus : std::uint8_t {
  kCancelled = 1,
  kUnknown = 2,
  kDeadlineExceeded = 4,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kUnauthenticated = 16,
};
constexpr int code_of(GrpcStatus status) { return static_cast<int>(status); }

/// A grpc-timeout field: at most eight digits and a unit, H M S m u n. Nothing: malformed. What is
/// beyond ten years becomes ten years.
std::optional<Duration> parse_grpc_timeout(std::string_view text);
/// The same the other way, rounded up, in the finest unit that has room.
std::string format_grpc_timeout(Duration timeout);

/// A grpc-status field; -1 when it is none.
int parse_grpc_status(std::string_view text);

/// What a client without a proxy would make of a stream that ended like this before its head
/// ("HTTP2 Transport Mapping" of gRPC's protocol).
GrpcStatus grpc_status_of(Reset reason);

}  // namespace gatehouse::proxy
