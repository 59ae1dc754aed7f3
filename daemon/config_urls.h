#pragma once
// URLs in the configuration: endpoints of backends, directories of CAs. Parsed once, here.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/config_fields.h"
#include "proxy/options.h"

namespace gatehouse::daemon {

/// Views into the text of the URL (RFC 3986 section 3).
struct UrlParts {
  std::string_view scheme;
  std::string_view host;  // without brackets
  std::optional<std::string_view> port, userinfo;
  std::string_view rest;  // path, query and fragment
  bool is_v6 = false;
};
/// Splits, checks nothing but the shape "scheme://authority...".
std::optional<UrlParts> split_url(std::string_view url);

/// http://host[:port], https://host[:port], srv+http(s)://name or unix:/path. Complains when it is
/// something else.
bool read_endpoint(Reader& reader, const Field& field, proxy::Endpoint& into);

/// An https URL with host and path. Complains when it is something else.
bool read_https_url(Reader& reader, const Field& field, std::string& into);
/// http and https, with a host. Complains when it is something else.
bool read_web_url(Reader& reader, const Field& field, std::string& into);

/// "host:port". Complains when it is something else.
bool read_host_and_port(Reader& reader, const Field& field, std::string& host, std::uint16_t& port);

}  // namespace gatehouse::daemon
