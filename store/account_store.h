#pragma once
// ACME accounts and the orders in flight. Everything that a CA counts is written here before it is
// asked for: the account key before newAccount, the certificate's key before newOrder, each URL as
// soon as it is known. So a kill at any point loses no key and repeats no order.
//
// All awaitable methods run on the store's JobThread and answer on the loop. Finishing an order is
// CertificateStore::finish_order(), because the certificate and the order end in one transaction.

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"

namespace gatehouse::net {
class JobThread;
}

namespace gatehouse::store {

class Database;

/// An account at one CA directory for one contact.
struct Account {
  std::string directory;     // URL; with email, the key
  std::string email;         // may be empty
  std::string key_pem;       // PKCS#8; saved before newAccount is sent, never replaced
  std::string url;           // empty until the CA told it
  std::string status;        // the CA's word: "valid", "deactivated", "revoked"; empty before
  std::string terms_agreed;  // the terms-of-service URL that was agreed to
  WallTime created_at{};
};

/// How far an order came. The numbers are stored; add at the end, never renumber.
enum class OrderStep : std::uint8_t {
  kKeyKept = 1,         // key made and kept; newOrder may have been sent, its URL is not known
  kOrdered = 2,         // order_url and finalize_url are known
  kAnswersReady = 3,    // challenge answers are in place, the CA is about to be told
  kChallengesSent = 4,  // the CA was told; authorizations are being validated
  kAuthorized = 5,      // the order is ready; finalize may have been sent
  kFinalized = 6,       // the CSR was accepted; waiting for the certificate
  kIssued = 7,          // certificate_url is known; only the download is left
};
std::string_view to_string(OrderStep step);

/// One order in flight; at most one per certificate.
struct Order {
  std::string certificate;         // name of the certificate, the key
  std::string ca;                  // name of the CA in the configuration
  std::string directory;           // its URL: a CA of that name may have moved meanwhile
  std::vector<std::string> names;  // identifiers, as ordered
  OrderStep step = OrderStep::kKeyKept;
  std::string key_pem;  // of the certificate to come
  std::string order_url, finalize_url, certificate_url;
  std::string replaces;  // ARI id sent in newOrder; empty: none
  WallTime created_at{}, updated_at{};
  std::optional<WallTime> expires_at;  // the CA's
};

class AccountStore {
 public:
  AccountStore(Database& database, net::JobThread& jobs) : database_(database), jobs_(jobs) {}

  /// The account of that directory and contact; nothing when there is none.
  boost::asio::awaitable<Result<std::optional<Account>>> find_account(std::string directory,
                                                                      std::string email);
  /// Inserts or updates url, status and terms. kConflict when another key is kept already: an
  /// account key is never overwritten.
  boost::asio::awaitable<Result<void>> save_account(Account account);
  /// Forgets an account, key included; only after the CA said that it does not exist.
  boost::asio::awaitable<Result<void>> delete_account(std::string directory, std::string email);

  boost::asio::awaitable<Result<std::optional<Order>>> find_order(std::string certificate);
  /// Inserts or replaces the order of that certificate.
  boost::asio::awaitable<Result<void>> save_order(Order order);
  /// For an order that failed or expired. Deleting nothing is fine.
  boost::asio::awaitable<Result<void>> delete_order(std::string certificate);

  /// At start, before the loop runs: all orders in flight. Unusable rows are logged and skipped.
  Result<std::vector<Order>> load_orders();
  /// At start: all accounts, for status.
  Result<std::vector<Account>> load_accounts();

 private:
  Database& database_;
  net::JobThread& jobs_;
};

/// Accounts that were made elsewhere, before anything else uses the database: all of them or none.
/// Of one whose key is kept already all stays as it is. kConflict: another key is kept.
Result<void> add_accounts(Database& database, std::span<const Account> accounts);

}  // namespace gatehouse::store
