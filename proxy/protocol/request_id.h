#pragma once
// X-Request-Id values: UUIDs of version 4 (RFC 9562 section 5.4), as Envoy makes them. Not secrets.

#include <string_view>

#include "daemon/base/random.h"

namespace gatehouse::proxy {

/// The text of one id, without the heap.
struct RequestId {
  char text[36];
  std::string_view view() const { return {text, sizeof text}; }
};

RequestId make_request_id(Random& random);

}  // namespace gatehouse::proxy
