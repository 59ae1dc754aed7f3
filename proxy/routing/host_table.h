#pragma once
// Hosts: out of an authority, and to a value. The rules by which Router and CertificateTable find
// what belongs to a name are the same, so they are here once: exact name or address, then one-label
// wildcard, then "*". The cost does not depend on the number of hosts.

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace gatehouse::proxy {

/// The host of "host[:port]": no port, no brackets around an IPv6 address, no trailing dot.
std::string_view host_of(std::string_view authority);

/// The host with brackets when it needs them, and without port: what a URL takes.
std::string_view bracketed_host_of(std::string_view authority);

/// IPv6 addresses in RFC 5952 form; anything else as it is. `room` holds the text when it changed.
std::string_view canonical_host(std::string_view host, std::string& room);

/// Patterns are "name", "*.name", an address, or "*". The first value of a pattern stays.
template <class Value>
class HostTable {
 public:
  /// False: the pattern was there already.
  bool add(std::string_view pattern, Value value) {
    if (pattern == "*") {
      if (fallback_) return false;
      fallback_ = std::move(value);
      return true;
    }
    std::string room;
    if (pattern.starts_with("*."))
      return wildcards_.try_emplace(std::string(pattern.substr(2)), std::move(value)).second;
    return exact_.try_emplace(std::string(canonical_host(host_of(pattern), room)), std::move(value))
        .second;
  }
  void reserve(std::size_t hosts) { exact_.reserve(hosts); }

  /// Exact, then wildcard; null otherwise. `host` comes from host_of(), in lower case.
  const Value* find(std::string_view host) const {
    std::string room;
    if (host.find(':') != host.npos) host = canonical_host(host, room);
    if (const auto it = exact_.find(host); it != exact_.end()) return &it->second;
    if (wildcards_.empty()) return nullptr;
    const auto dot = host.find('.');
    if (dot == 0 || dot == host.npos) return nullptr;
    const auto it = wildcards_.find(host.substr(dot + 1));
    return it == wildcards_.end() ? nullptr : &it->second;
  }
  /// The value of "*", or null.
  const Value* fallback() const { return fallback_ ? &*fallback_ : nullptr; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  using Map = std::unordered_map<std::string, Value, Hash, std::equal_to<>>;
  Map exact_, wildcards_;
  std::optional<Value> fallback_;
};

}  // namespace gatehouse::proxy
