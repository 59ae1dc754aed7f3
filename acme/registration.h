#pragma once
// Our account at one CA: found in the store, else made; registered once, however many orders ask at
// the same time. Its key is kept before the CA hears of it and is never replaced. Contacts follow
// the configuration. Owned by the Issuer.
//
// A kill between two steps costs nothing: newAccount with the same key gives the same account
// (RFC 8555 section 7.3.1).

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "acme/client.h"
#include "acme/fleet.h"
#include "acme/name_locks.h"
#include "acme/options.h"
#include "store/account_store.h"

namespace gatehouse::acme {

class Registration {
 public:
  /// `former`: accounts of the same directory whose e-mail no CA of the configuration has any more;
  /// when ours does not exist yet, such an account is kept and its contact changed.
  Registration(net::Loop& loop, net::JobThread& compute, Client& client,
               store::AccountStore& accounts, const Ca& ca, std::vector<store::Account> former,
               Fleet* fleet);

  /// The account, ready to sign.
  boost::asio::awaitable<Call<Signer>> signer();
  /// The CA said accountDoesNotExist about that URL: registers the same key again. Does nothing
  /// when another order did that meanwhile.
  boost::asio::awaitable<Call<Signer>> register_again(std::string lost_url);

 private:
  boost::asio::awaitable<Call<Signer>> open();
  boost::asio::awaitable<Call<store::Account>> find_or_make();
  boost::asio::awaitable<Call<store::Account>> adopt_former(store::Account former);
  /// newAccount with the kept key; `is_kept_before`: its answer may have been lost, look it up
  /// first.
  boost::asio::awaitable<Call<Signer>> register_key(store::Account account, bool is_kept_before);
  boost::asio::awaitable<Call<Answer>> send_new_account(AccountKey key, Directory directory,
                                                        bool is_kept_before);
  boost::asio::awaitable<Call<void>> update_contact(Signer signer);
  boost::asio::awaitable<Call<void>> keep(store::Account account);

  net::Loop& loop_;
  net::JobThread& compute_;
  Client& client_;
  store::AccountStore& accounts_;
  const Ca& ca_;
  std::vector<store::Account> former_;
  NameLocks lock_;
  Fleet* const fleet_;  // null: this node is alone
  std::optional<Signer> signer_;
};

}  // namespace gatehouse::acme
