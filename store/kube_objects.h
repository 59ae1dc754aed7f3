#pragma once
// What we read from and write to a Kubernetes apiserver, as values: Secrets, and what went wrong.
// Pure: JSON in, JSON out. The facts behind it (what the server answers when) are those of
// server-side apply: https://kubernetes.io/docs/reference/using-api/server-side-apply/

#include <boost/system/result.hpp>
#include <compare>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"

namespace gatehouse::store {

/// The manager of our fields in every object that we apply.
inline constexpr std::string_view kFieldManager = "gatehouse";
inline constexpr std::string_view kTlsSecretType = "kubernetes.io/tls";

struct SecretName {
  std::string name_space, name;

  std::string to_string() const { return name_space + "/" + name; }
  friend auto operator<=>(const SecretName&, const SecretName&) = default;
};

struct Secret {
  SecretName at;
  std::string type{kTlsSecretType};
  std::map<std::string, std::string> labels, annotations;
  std::map<std::string, std::string> data;  // bytes, not base64
  bool is_immutable = false;
  /// Of what was read. Given to apply(), they are a precondition; empty: none.
  std::string resource_version, uid;
  /// Read only: who manages something in `data`, us included ("cert-manager-certificates-issuing").
  std::vector<std::string> data_managers;

  /// Null: it has no such key.
  const std::string* find(std::string_view key) const;
  std::string label(const std::string& key) const;       // empty: absent
  std::string annotation(const std::string& key) const;  // empty: absent
};

/// What went wrong at an apiserver, or on the way to it. By `error.fault`:
///   kNotFound      there is no such object
///   kConflict      `owners` not empty: others own fields that we wanted to change. Else our
///                  resourceVersion is old: read again
///   kPermission    our role does not allow it
///   kUnauthorized  the server does not know us (a token that expired)
///   kInvalid       the server refuses what we want (422): no use to repeat it
///   kRateLimited   too many requests, and waiting as told did not help
///   kUnavailable   5xx
///   kConnection, kResolve, kTls, kTimeout, kProtocol, kTooLarge, kCancelled: no complete answer
struct KubeError {
  Error error;
  unsigned status = 0;              // of HTTP; 0: no answer
  std::vector<std::string> owners;  // field managers, by name
  std::optional<Duration> retry_after;
  bool is_expired = false;  // 410: our resourceVersion is too old, list again

  KubeError in(std::string_view doing) && {
    error = std::move(error).in(doing);
    return std::move(*this);
  }
};

/// Only so that boost::system::result accepts KubeError: nobody calls .value().
[[noreturn]] inline void throw_exception_from_error(const KubeError& failure,
                                                    const boost::source_location& where) {
  gatehouse::throw_exception_from_error(failure.error, where);
}

template <class T>
using KubeResult = boost::system::result<T, KubeError>;

Result<Secret> parse_secret(std::string_view json);
/// The whole of what we want, for server-side apply.
std::string apply_body(const Secret& secret);

struct SecretList {
  std::vector<Secret> secrets;
  std::string resource_version;
  std::string next;  // token of the next page; empty: this was the last
};
Result<SecretList> parse_secret_list(std::string_view json);

/// One line of a watch.
struct WatchEvent {
  enum class Kind : std::uint8_t { kAdded, kModified, kDeleted, kBookmark, kError };
  Kind kind = Kind::kBookmark;
  Secret secret;     // kAdded, kModified, kDeleted; of a bookmark only its resource_version
  KubeError failed;  // kError
};
Result<WatchEvent> parse_watch_event(std::string_view line);

/// From an answer that is no success. The body is a Status when it is JSON, and else only text.
KubeError kube_error(unsigned status, std::string_view body, const std::string* retry_after);

/// Of a namespace or an object, as RFC 1123 has it: what may stand in a path.
bool is_dns_subdomain(std::string_view name);

}  // namespace gatehouse::store
