#pragma once
// Hosts of vhosts and names of certificates in normal form: lower case, no trailing dot, addresses
// as RFC 5952 writes them and without brackets. Pure.

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

namespace gatehouse::daemon {

/// Why a text is no host.
struct HostProblem {
  std::string message;
  std::string hint;  // may be empty
};

/// A DNS name, a wildcard of one whole label ("*.shop.example"), or an IP address. "*" alone is
/// none of these: it means any host, and only some callers take it.
std::optional<std::string> normal_host(std::string_view given, HostProblem& problem);

bool is_wildcard(std::string_view host);
/// `host` is in normal form.
bool is_address(std::string_view host);
/// localhost, what is below it, and addresses: names that no public CA is asked for by itself.
bool is_local(std::string_view host);

/// Whether a certificate with these names serves `host`: exactly, or by a one-label wildcard (RFC
/// 9525 section 6.3). All in normal form; a wildcard is only covered by itself.
bool is_covered(const std::unordered_set<std::string>& names, const std::string& host);

}  // namespace gatehouse::daemon
