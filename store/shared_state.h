#pragma once
// What the nodes of a cluster share, in the form of Secrets: the state (accounts, orders in flight,
// keys of session tickets) in one, each certificate in one of its own. Pure: Secrets in, values
// out, and back. What does not check is an error, never half-read.

#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "store/account_store.h"
#include "store/certificate_store.h"
#include "store/kube_objects.h"

namespace gatehouse::store {

/// A key for session tickets: name, AES and HMAC key in one piece, and when it begins to encrypt.
struct SharedTicketKey {
  std::string secret;
  WallTime from{};
};

struct SharedState {
  std::vector<Account> accounts;
  std::vector<Order> orders;
  std::vector<SharedTicketKey> tickets;  // newest first

  const Account* find_account(std::string_view directory, std::string_view email) const;
  /// Replaces the one of the same directory and e-mail, or of the same certificate.
  void put(Account account);
  void put(Order order);
  void remove_order(std::string_view certificate);
};

/// Which cluster of a namespace: the objects' names and their label.
struct ClusterNames {
  std::string name_space, lease, state_secret, secret_prefix;

  /// For a list or a watch of everything that is shared.
  std::string label_selector() const;
  /// `secret_prefix` and the certificate's name; a name that cannot be one of an object's ("*.a.b",
  /// an IPv6 address) is made one, with a digest so that no two are the same.
  SecretName certificate_secret(std::string_view certificate) const;
  SecretName state() const { return {name_space, state_secret}; }

  friend bool operator==(const ClusterNames&, const ClusterNames&) = default;
};

/// Without resource_version and uid: those are of what was read.
Secret to_secret(const SharedState& state, const ClusterNames& names);
Result<SharedState> parse_shared_state(const Secret& secret);

/// Shared by whoever gets it: the certificate's name is the credential's. `node` is for people.
Result<Secret> to_secret(const LoadedCertificate& certificate, const ClusterNames& names,
                         const std::string& node);
/// Checks that key and chain belong together. Dates and names are the keeper's to judge.
Result<LoadedCertificate> parse_shared_certificate(const Secret& secret);

}  // namespace gatehouse::store
