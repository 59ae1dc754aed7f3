#pragma once
// The seam between issuing and a fleet of nodes that share certificates: one of them, the holder,
// issues for all. Without a cluster there is no Fleet, and whoever wants to issue does. Implemented
// by the roof over Kubernetes (daemon/cluster), by a fake in tests.
//
// What the next holder has to know to go on where this one ended is shared before the step that it
// belongs to, as it is written down in the store of this node before: the account's key before
// newAccount, an order's URL and key before anything is validated.

#include <boost/asio/awaitable.hpp>
#include <string>

#include "daemon/base/error.h"
#include "store/account_store.h"

namespace gatehouse::acme {

class Fleet {
 public:
  virtual ~Fleet() = default;

  /// True while this node is the holder and knows what is shared: by the steady clock, at this
  /// moment. Asked before each step that a CA counts, so that a node that was paused takes none.
  virtual bool may_issue() const = 0;
  /// Why it may not, for people: "node-2 issues certificates for this cluster".
  virtual std::string reason() const = 0;

  /// The key of the fleet's accounts, PEM: new ones at other CAs use it, too, so that one
  /// thumbprint answers for all of them. Empty: there is none yet.
  virtual std::string account_key() const = 0;
  /// Returns when all nodes can be expected to answer challenges for the account.
  virtual boost::asio::awaitable<Result<void>> share_account(store::Account account) = 0;
  virtual boost::asio::awaitable<Result<void>> share_order(store::Order order) = 0;
  /// The order is over without a certificate. (With one, it goes when the certificate is shared.)
  virtual boost::asio::awaitable<Result<void>> end_order(std::string certificate) = 0;
};

}  // namespace gatehouse::acme
