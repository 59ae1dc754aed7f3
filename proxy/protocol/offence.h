#pragma once
// What a client can do to us, by name: for the limits, the metrics and the log. Pure values.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gatehouse::proxy {

enum class Offence : std::uint8_t {
  // Frames of HTTP/2 that cost us more than the peer: http2_limits.h.
  kRapidReset,     // The peer cancelled a stream before our response head.
  kProvokedReset,  // We had to reset a stream for an error of the peer.
  kPing,
  kSettings,
  kPriority,
  kEmptyData,  // DATA with neither content nor END_STREAM.
  kWindowUpdate,
  kUnknownFrame,  // Of a type without a meaning here; repeated GOAWAY too.
  kTableSize,     // Changes of a HPACK table's size.
  kLateFrame,     // For a stream that is over.
  kRefusedHead,   // A head beyond the limits, answered by the session itself.
  kContinuation,  // Too many CONTINUATION frames, or too large a header block. Ends the connection.
  kHeadTimeout,   // A head, or a frame, was left half sent. Ends the connection.
  kProtocolError,  // Of the connection, as nghttp2 or our rules found it.
  kStalledStream,  // A stream whose window stayed shut, so that we gave it up.
  // Of both versions.
  kMalformedHead,  // A request that breaks the rules.
  kHeadTooLarge,   // Or the limits.
  kMalformedBody,
  kSlowBody,
  kSlowReader,  // Took nothing of a response.
  kSlowHandshake,
  kConnectionsPerSource,
};
inline constexpr std::size_t kOffences = 22;

inline constexpr std::array<std::string_view, kOffences> kOffenceTexts = {
    "rapid_reset",    "provoked_reset",        "ping",           "settings",       "priority",
    "empty_data",     "window_update",         "unknown_frame",  "table_size",     "late_frame",
    "refused_head",   "continuation",          "head_timeout",   "protocol_error", "stalled_stream",
    "malformed_head", "head_too_large",        "malformed_body", "slow_body",      "slow_reader",
    "slow_handshake", "connections_per_source"};

/// Stable names in snake_case.
constexpr std::string_view to_string(Offence offence) {
  return kOffenceTexts[static_cast<std::size_t>(offence)];
}

}  // namespace gatehouse::proxy
