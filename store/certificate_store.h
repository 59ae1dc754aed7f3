#pragma once
// Certificates with their keys, what is known about their renewal, and the roots of built-in CAs.
// The last two certificates of a name are kept beside the current one. Schedules live here, so
// that a restart repeats nothing. What the times mean is decided in acme/renewal.h, not here.
//
// All awaitable methods run on the store's JobThread and answer on the loop; the load_ methods are
// for the start, before the loop runs. An error leaves nothing half-written.

#include <boost/asio/awaitable.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/net/certificate.h"

namespace gatehouse::net {
class JobThread;
}

namespace gatehouse::store {

class Database;

/// What save() keeps.
struct CertificateRecord {
  std::string name;                // of the certificate, as in the configuration
  std::vector<std::string> names;  // that were asked for
  std::string chain_pem, key_pem;
  std::string ca;  // name of the CA that issued it
  WallTime issued_at{};
};

/// A row that was read back and proven usable: key and chain match, names and dates are known.
struct LoadedCertificate {
  net::CredentialPtr credential;
  std::string ca;
  WallTime issued_at{};
};

/// The last thing that went wrong for a name.
struct LastError {
  std::string problem_type;  // the CA's problem type, or empty
  std::string message;       // for people
  std::string ca;
  WallTime at{};
};

/// What the CA suggests (RFC 9773) for one leaf. Keyed by its ARI id: a new leaf starts without.
struct AriFacts {
  std::string ari_id;
  std::optional<WallTime> start, end;  // the window; absent before the first answer
  std::optional<WallTime> chosen;      // our random moment inside it, kept over restarts
  std::optional<WallTime> next_poll;
  int failures = 0;  // polls failed in a row
  std::string explanation_url;
};

/// What is known about the renewal of one certificate, its ARI row apart.
struct RenewalFacts {
  std::string name;
  std::optional<WallTime> next_try;  // the one next attempt
  int attempts = 0;                  // failed in a row, over all CAs
  std::string ca;                    // the CA whose turn it is; empty: the first
  int ca_attempts = 0;               // failed in a row at that CA
  std::optional<LastError> last_error;
  std::optional<WallTime> last_issued;
  std::string replaces_refused;  // ARI id that a CA answered with alreadyReplaced
};

/// A CA's Retry-After. An empty name holds every certificate of that CA back.
struct Hold {
  std::string ca;
  std::string name;
  WallTime not_before{};
};

/// Everything about renewal, read at start.
struct RenewalState {
  std::map<std::string, RenewalFacts> facts;  // by certificate name
  std::map<std::string, AriFacts> ari;        // by certificate name
  std::vector<Hold> holds;
};

/// Root of a built-in CA.
struct Root {
  std::string ca;  // its name in the configuration
  std::string chain_pem, key_pem;
};

class CertificateStore {
 public:
  CertificateStore(Database& database, net::JobThread& jobs) : database_(database), jobs_(jobs) {}

  /// At start: the newest usable certificate per name: valid at `now` before any other, then the
  /// one that was saved last. A row that does not parse is logged (store.row_unusable) and skipped.
  Result<std::vector<LoadedCertificate>> load_all(WallTime now);
  Result<RenewalState> load_renewal();
  Result<std::vector<Root>> load_roots();

  /// Keeps a certificate (from an import, or one that a full disk refused before).
  boost::asio::awaitable<Result<void>> save(CertificateRecord certificate);
  /// Ends an order in one transaction: the certificate is kept, its order in flight is deleted,
  /// ARI rows of older leaves go, the renewal facts are replaced.
  boost::asio::awaitable<Result<void>> finish_order(CertificateRecord certificate,
                                                    RenewalFacts facts);
  boost::asio::awaitable<Result<void>> save_facts(RenewalFacts facts);
  boost::asio::awaitable<Result<void>> save_ari(std::string name, AriFacts ari);
  /// Inserts or replaces the hold of that CA and name.
  boost::asio::awaitable<Result<void>> save_hold(Hold hold);
  /// Everything of one name, when an operator removes it.
  boost::asio::awaitable<Result<void>> forget(std::string name);

  /// Keeps the root of a built-in CA unless there is one; gives the one that is kept.
  boost::asio::awaitable<Result<Root>> keep_root(Root root);

 private:
  Database& database_;
  net::JobThread& jobs_;
};

}  // namespace gatehouse::store
