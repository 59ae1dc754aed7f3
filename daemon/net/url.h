#pragma once
// An absolute http or https URL, taken apart for a client (RFC 9110 section 4.2). Strict: no user
// information, no fragment, no bytes that a request line cannot carry.

#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/base/error.h"

namespace gatehouse::net {

struct Url {
  bool is_https = false;
  std::string host;  // lower case; an IPv6 address without its brackets
  std::uint16_t port = 0;
  std::string target;  // path and query; at least "/"

  static Result<Url> parse(std::string_view text);
  std::string authority() const;      // for Host: brackets as needed, no default port
  std::string host_and_port() const;  // for messages: the port always
  std::string origin() const;         // "https://host:port"
};

}  // namespace gatehouse::net
