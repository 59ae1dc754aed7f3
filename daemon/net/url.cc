#include "daemon/net/url.h"

#include <algorithm>

#include "daemon/base/text.h"
#include "daemon/net/address.h"

namespace gatehouse::net {

namespace {

constexpr std::size_t kUrlBytesMax = 8192;

Error bad(std::string_view url, std::string_view why) {
  return Error{Fault::kInvalid, "URL \"" + std::string(url) + "\" " + std::string(why)};
}

bool is_host(std::string_view host) {
  return !host.empty() && host.size() <= 253 && std::all_of(host.begin(), host.end(), [](char c) {
    return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_';
  });
}

/// Splits "host", "host:port" and "[v6]:port". False: malformed.
bool read_authority(std::string_view text, Url& url) {
  std::string_view host = text, port;
  bool has_port = false;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == text.npos) return false;
    host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    has_port = !port.empty();
    if (has_port && port.front() != ':') return false;
    if (has_port) port.remove_prefix(1);
    const auto ip = IpAddress::parse(host);
    if (!ip || host.find(':') == host.npos) return false;
  } else {
    if (const std::size_t colon = text.find(':'); colon != text.npos) {
      host = text.substr(0, colon);
      port = text.substr(colon + 1);
      has_port = true;
    }
    if (!is_host(host)) return false;
  }
  url.host = to_lower(host);
  url.port = url.is_https ? 443 : 80;
  if (!has_port) return true;
  const auto number = parse_decimal(port);
  if (!number || *number == 0 || *number > 65535) return false;
  url.port = static_cast<std::uint16_t>(*number);
  return true;
}

}  // namespace

Result<Url> Url::parse(std::string_view text) {
  if (text.size() > kUrlBytesMax) return Error{Fault::kTooLarge, "URL is over 8 KiB"};
  if (std::any_of(text.begin(), text.end(), [](char c) { return c <= ' ' || c >= 0x7f; }))
    return Error{Fault::kInvalid, "URL has a byte that must be escaped"};
  Url url;
  std::string_view rest = text;
  if (starts_with_ignoring_case(text, "https://")) {
    url.is_https = true;
    rest.remove_prefix(8);
  } else if (starts_with_ignoring_case(text, "http://")) {
    rest.remove_prefix(7);
  } else {
    return bad(text, "begins with neither https:// nor http://");
  }
  if (text.find('#') != text.npos) return bad(text, "has a fragment");
  const std::size_t end = rest.find_first_of("/?");
  const std::string_view authority = rest.substr(0, end);
  if (authority.find('@') != authority.npos)
    return Error{Fault::kInvalid,
                 "URL has a user name in it"};  // Not shown: a password may follow.
  if (!read_authority(authority, url)) return bad(text, "has no valid host and port");
  url.target = end == rest.npos ? "/" : std::string(rest.substr(end));
  if (url.target.front() == '?') url.target.insert(0, "/");
  return url;
}

std::string Url::authority() const {
  const bool is_default = port == (is_https ? 443 : 80);
  if (!is_default) return host_and_port();
  return host.find(':') == host.npos ? host : "[" + host + "]";
}

std::string Url::host_and_port() const {
  const bool is_v6 = host.find(':') != host.npos;
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string Url::origin() const { return (is_https ? "https://" : "http://") + host_and_port(); }

}  // namespace gatehouse::net
