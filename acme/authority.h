#pragma once
// Who can issue: the seam between the keeper, which decides when, and those who know how
// (AcmeAuthority for a CA's directory, InternalCa for local names, a fake in tests). Owned by the
// roof, outlives the keeper. One authority serves many names at once.

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "acme/attempt.h"
#include "acme/options.h"
#include "daemon/base/clock.h"
#include "daemon/base/error.h"

namespace gatehouse::acme {

/// One certificate to be issued now. Passed by value into the coroutine.
struct IssueTask {
  ManagedCertificate certificate;
  std::string replaces;  // ARI id of the leaf that this one replaces; empty: none
  /// Tells the step now begun, for status: "ordering", "waiting for validation", ... May be empty.
  std::function<void(std::string_view step)> on_step;
};

/// A CA's answer about one leaf (RFC 9773 section 4.2).
struct AriAnswer {
  WallTime start{}, end{};
  std::string explanation_url;
  std::optional<Duration> retry_after;
};

class CertificateAuthority {
 public:
  virtual ~CertificateAuthority() = default;
  virtual const std::string& name() const = 0;
  /// Issues by itself on each node, so that a cluster has nothing to share: the built-in CA.
  virtual bool is_local() const { return false; }

  /// Gets a certificate for exactly these names, resuming an order that is in flight for it.
  /// On success the order in flight stays in the AccountStore: the keeper ends it together with
  /// saving the certificate (CertificateStore::finish_order). On a failure that ends the order the
  /// authority deletes it. Cancellation is that of the coroutine (kCancelled, or never resumed).
  virtual boost::asio::awaitable<AttemptResult> issue(IssueTask task) = 0;

  /// kUnsupported: this CA has no renewal information. kNotFound and kInvalid: long-term errors.
  virtual boost::asio::awaitable<Result<AriAnswer>> renewal_info(std::string ari_id) = 0;
};

}  // namespace gatehouse::acme
