#include "daemon/config_urls.h"

#include <algorithm>

#include "daemon/base/text.h"
#include "daemon/net/address.h"

namespace gatehouse::daemon {

std::optional<UrlParts> split_url(std::string_view url) {
  const auto colon = url.find("://");
  if (colon == url.npos || colon == 0) return std::nullopt;
  UrlParts parts;
  parts.scheme = url.substr(0, colon);
  url.remove_prefix(colon + 3);
  const auto end = std::min(url.find_first_of("/?#"), url.size());
  std::string_view authority = url.substr(0, end);
  parts.rest = url.substr(end);
  if (const auto at = authority.rfind('@'); at != authority.npos) {
    parts.userinfo = authority.substr(0, at);
    authority.remove_prefix(at + 1);
  }
  if (authority.starts_with('[')) {
    const auto bracket = authority.find(']');
    if (bracket == authority.npos) return std::nullopt;
    parts.is_v6 = true;
    parts.host = authority.substr(1, bracket - 1);
    authority.remove_prefix(bracket + 1);
    if (authority.starts_with(':'))
      parts.port = authority.substr(1);
    else if (!authority.empty())
      return std::nullopt;
    return parts;
  }
  const auto port = authority.find(':');
  parts.host = authority.substr(0, port);
  if (port != authority.npos) parts.port = authority.substr(port + 1);
  return parts;
}

namespace {

/// Names inside a network are freer than public ones: Compose has underscores.
bool is_host(const UrlParts& parts) {
  if (parts.is_v6) {
    const auto address = net::IpAddress::parse(parts.host);
    return address && parts.host.find(':') != parts.host.npos;
  }
  const auto is_allowed = [](char c) {
    return is_alpha(c) || is_digit(c) || c == '-' || c == '_' || c == '.';
  };
  if (parts.host.empty() || parts.host.size() > 253 || parts.host.starts_with('.') ||
      parts.host.find("..") != parts.host.npos ||
      !std::all_of(parts.host.begin(), parts.host.end(), is_allowed))
    return false;
  const std::string_view last = parts.host.substr(parts.host.rfind('.') + 1);
  const bool is_number = !last.empty() && std::all_of(last.begin(), last.end(), is_digit);
  return !is_number || net::IpAddress::parse(parts.host).has_value();
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  const auto port = parse_decimal(text);
  if (!port || *port == 0 || *port > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(*port);
}

/// Host, port and userinfo: what is wrong with them in any URL of ours.
bool check_authority(Reader& reader, const Field& field, std::string_view given,
                     const UrlParts& parts) {
  const auto wrong = [&](std::string why, std::string hint = {}) {
    reader.error(field.mark(), in_quotes(given) + std::move(why), std::move(hint));
    return false;
  };
  if (parts.userinfo) return wrong(" has a user name in it", "leave out what stands before the @");
  if (!is_host(parts))
    return wrong(parts.host.empty() ? " has no host"
                                    : ": " + in_quotes(parts.host) + " is not a host");
  if (parts.port && !parse_port(*parts.port))
    return wrong(": port " + in_quotes(*parts.port) + " is out of range", "from 1 to 65535");
  return true;
}

std::string without_rest(std::string_view url, const UrlParts& parts) {
  return in_quotes(url.substr(0, url.size() - parts.rest.size()));
}

bool complain_of_scheme(Reader& reader, const Field& field, std::string_view given,
                        const std::optional<UrlParts>& parts) {
  const bool looks_like_host = !parts && given.find("://") == given.npos &&
                               given.find_first_of(" /") == given.npos && !given.empty();
  reader.error(field.mark(), in_quotes(given) + " is not a URL of a backend",
               looks_like_host ? "did you mean " + in_quotes("http://" + std::string(given)) + "?"
                               : "http://host:port, https://host:port or unix:/path");
  return false;
}

/// The ports of srv+ endpoints are in DNS, and so are their hosts.
bool check_srv(Reader& reader, const Field& field, std::string_view given, const UrlParts& parts) {
  if (parts.port)
    reader.error(field.mark(), in_quotes(given) + " has a port",
                 "SRV records say the ports: write only the name");
  const bool is_address = parts.is_v6 || net::IpAddress::parse(parts.host).has_value();
  if (!parts.port && is_address)
    reader.error(field.mark(), in_quotes(given) + ": an address has no SRV records",
                 "such as srv+http://_http._tcp.shop.svc.cluster.local");
  return !parts.port && !is_address;
}

}  // namespace

bool read_endpoint(Reader& reader, const Field& field, proxy::Endpoint& into) {
  const auto given = reader.scalar(field, "a URL");
  if (!given) return false;
  if (given->starts_with("unix:")) {
    const std::string_view path = given->substr(5);
    into.unix_path = reader.resolve(path);
    if (!path.empty() && into.unix_path.size() <= 107 && path.find('\0') == path.npos) return true;
    reader.error(field.mark(), in_quotes(*given) + (path.empty() ? " has no path" : " is too long"),
                 "unix:/path, the path at most 107 bytes");
    return false;
  }
  auto parts = split_url(*given);
  into.is_srv = parts && parts->scheme.starts_with("srv+");
  if (into.is_srv) parts->scheme.remove_prefix(4);
  if (!parts || (parts->scheme != "http" && parts->scheme != "https"))
    return complain_of_scheme(reader, field, *given, parts);
  if (!check_authority(reader, field, *given, *parts)) return false;
  if (into.is_srv && !check_srv(reader, field, *given, *parts)) return false;
  if (!parts->rest.empty()) {
    const char first = parts->rest.front();
    reader.error(field.mark(),
                 in_quotes(*given) + (first == '/'   ? " has a path"
                                      : first == '?' ? " has a query"
                                                     : " has a fragment"),
                 "a backend is only scheme, host and port: " + without_rest(*given, *parts));
    return false;
  }
  into.is_tls = parts->scheme == "https";
  into.host = to_lower(parts->host);
  into.port = into.is_tls ? 443 : 80;
  if (parts->port) into.port = *parse_port(*parts->port);
  return true;
}

bool read_https_url(Reader& reader, const Field& field, std::string& into) {
  const auto given = reader.scalar(field, "a URL");
  if (!given) return false;
  const auto parts = split_url(*given);
  if (!parts || parts->scheme != "https") {
    const bool is_plain = parts && parts->scheme == "http";
    reader.error(field.mark(), in_quotes(*given) + " is not an https URL",
                 is_plain ? "ACME is only spoken over TLS (RFC 8555 section 6.1)"
                          : "such as https://acme-v02.api.letsencrypt.org/directory");
    return false;
  }
  if (!check_authority(reader, field, *given, *parts)) return false;
  into = *given;
  return true;
}

bool read_web_url(Reader& reader, const Field& field, std::string& into) {
  const auto given = reader.scalar(field, "a URL");
  if (!given) return false;
  const auto parts = split_url(*given);
  if (!parts || (parts->scheme != "https" && parts->scheme != "http")) {
    reader.error(field.mark(), in_quotes(*given) + " is not an http or https URL");
    return false;
  }
  if (!check_authority(reader, field, *given, *parts)) return false;
  into = *given;
  return true;
}

bool read_host_and_port(Reader& reader, const Field& field, std::string& host,
                        std::uint16_t& port) {
  const auto given = reader.scalar(field, "host:port");
  if (!given) return false;
  const std::string url = "tls://" + std::string(*given);
  const auto parts = split_url(url);
  if (!parts || !parts->port || !parts->rest.empty()) {
    reader.error(field.mark(), in_quotes(*given) + " is not host:port", "such as gateway:443");
    return false;
  }
  if (!check_authority(reader, field, *given, *parts)) return false;
  host = to_lower(parts->host);
  port = *parse_port(*parts->port);
  return true;
}

}  // namespace gatehouse::daemon
