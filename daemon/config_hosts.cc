#include "daemon/config_hosts.h"

#include <algorithm>

#include "daemon/base/text.h"
#include "daemon/diagnostic.h"
#include "daemon/net/address.h"

namespace gatehouse::daemon {

namespace {

bool is_label(std::string_view label) {
  const auto is_allowed = [](char c) { return is_alpha(c) || is_digit(c) || c == '-'; };
  return !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
         std::all_of(label.begin(), label.end(), is_allowed);
}

bool is_all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

/// What people write when they mean a host. Nullopt: nothing of that kind.
std::optional<HostProblem> find_habit(std::string_view given) {
  const std::string host = in_quotes(given);
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (!std::all_of(given.begin(), given.end(), is_ascii))
    return HostProblem{host + " has letters that DNS does not carry",
                       "write the form that begins with xn-- (punycode)"};
  if (const auto scheme = given.find("://"); scheme != given.npos) {
    const std::string_view rest = given.substr(scheme + 3);
    return HostProblem{host + " is a URL, not a host",
                       "write only " + in_quotes(rest.substr(0, rest.find_first_of(":/?#")))};
  }
  if (const auto slash = given.find('/'); slash != given.npos)
    return HostProblem{host + " has a path", "write only " + in_quotes(given.substr(0, slash)) +
                                                 "; paths are matched under routes"};
  const auto colon = given.find(':');
  if (colon != given.npos && colon == given.rfind(':') && is_all_digits(given.substr(colon + 1)))
    return HostProblem{host + " has a port", "write only " + in_quotes(given.substr(0, colon)) +
                                                 "; ports are under listen"};
  return std::nullopt;
}

std::optional<HostProblem> find_bad_wildcard(std::string_view given) {
  const std::string_view rest = given.starts_with("*.") ? given.substr(2) : given;
  if (rest.find('*') == rest.npos) return std::nullopt;
  return HostProblem{
      in_quotes(given) + " is not a wildcard that certificates know",
      "a wildcard is the whole first label and stands once, as in \"*.example.com\""};
}

}  // namespace

std::optional<std::string> normal_host(std::string_view given, HostProblem& problem) {
  std::string_view bare = given;
  if (bare.starts_with('[') && bare.ends_with(']')) bare = bare.substr(1, bare.size() - 2);
  const std::string_view last_label = bare.substr(bare.rfind('.') + 1);
  const bool looks_like_v6 = std::count(bare.begin(), bare.end(), ':') > 1 && bare.size() < 64;
  if (looks_like_v6 || is_all_digits(last_label)) {
    if (const auto address = net::IpAddress::parse(bare)) return address->to_string();
    if (given.find('/') == given.npos) {
      problem = {in_quotes(given) + " is not an IP address", ""};
      return std::nullopt;
    }
  }
  if (auto habit = find_habit(given)) {
    problem = std::move(*habit);
    return std::nullopt;
  }
  if (auto wildcard = find_bad_wildcard(given)) {
    problem = std::move(*wildcard);
    return std::nullopt;
  }
  std::string host = to_lower(given);
  if (host.ends_with('.')) host.pop_back();
  const std::string_view name = std::string_view(host).substr(is_wildcard(host) ? 2 : 0);
  const auto labels = split(name, '.');
  if (host.size() > 253 || !std::all_of(labels.begin(), labels.end(), is_label)) {
    problem = {in_quotes(given) + " is not a host name",
               "letters, digits and hyphens between dots, at most 63 in a row"};
    return std::nullopt;
  }
  return host;
}

bool is_wildcard(std::string_view host) { return host.starts_with("*."); }

bool is_address(std::string_view host) {
  return host.find(':') != host.npos || is_all_digits(host.substr(host.rfind('.') + 1));
}

bool is_local(std::string_view host) {
  return host == "localhost" || host.ends_with(".localhost") || is_address(host);
}

bool is_covered(const std::unordered_set<std::string>& names, const std::string& host) {
  if (names.contains(host)) return true;
  if (is_wildcard(host) || is_address(host)) return false;
  const auto dot = host.find('.');
  return dot != host.npos && names.contains("*" + host.substr(dot));
}

}  // namespace gatehouse::daemon
