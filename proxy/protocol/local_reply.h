#pragma once
// Our own answers: statuses that no backend has sent, and redirects. Plain text for browsers and
// curl, trailers-only for gRPC. Pure; the session adds framing and Date.

#include <string>
#include <string_view>

#include "proxy/protocol/message.h"

namespace gatehouse::proxy {

struct LocalReply {
  ResponseHead head;
  std::string body;
};

/// Envoy's text for a 503 without a healthy endpoint, which people search for.
inline constexpr std::string_view kNoHealthyUpstream = "no healthy upstream";

/// An answer with that status. `body` empty: the text for the status. `is_grpc`: HTTP 200 with
/// grpc-status and grpc-message and no body, as gRPC clients want it ("trailers-only").
LocalReply make_local_reply(int status, std::string_view body, bool is_grpc);

/// An answer to gRPC alone, "trailers-only" with that grpc-status.
LocalReply make_grpc_reply(int grpc_status, std::string_view message);

/// 301, 302, 303, 307 or 308 to that place. `location` is a valid field value.
LocalReply make_redirect(int status, std::string_view location);

/// "Not Found" for 404; empty for statuses without a registered phrase.
std::string_view reason_of(int status);

/// The gRPC status for an HTTP status: the table of gRPC's "HTTP to gRPC Status Code Mapping".
int grpc_status_of(int http_status);

/// grpc-message's percent-encoding: everything but printable ASCII, and "%".
std::string encode_grpc_message(std::string_view text);

}  // namespace gatehouse::proxy
