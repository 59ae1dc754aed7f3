#pragma once
// A CertificateAuthority over ACME: one CA of the configuration. Owned by the roof; outlives the
// keeper and its tasks. Serves many names at once; orders that share a host run one after another.
//
// The life of an order. Each store write comes before the step that it announces, so that a new
// process knows what may have happened; GATEHOUSE_KILL_AT=acme.order.<step>.before or .after kills
// around each of them.
//
//    1  account_key  store  the account's key is kept               once per CA
//    2  account_new  CA     newAccount                              once per CA
//    3  account_url  store  the account's URL is kept               once per CA
//    4  key          store  kKeyKept: the certificate's key is kept
//    5  new_order    CA     newOrder
//    6  ordered      store  kOrdered: the order's URL is kept
//    7  answers      store  kAnswersReady: the answers are in place (ChallengeSink)
//    8  challenge    CA     each challenge is sent
//    9  challenged   store  kChallengesSent
//   10  validation   CA     authorizations are polled
//   11  authorized   store  kAuthorized
//   12  finalize     CA     the CSR is sent
//   13  finalized    store  kFinalized
//   14  processing   CA     the order is polled
//   15  issued       store  kIssued: the certificate's URL is kept
//   16  download     CA     the chain is fetched and checked
//   17  finish       store  the keeper: certificate kept and order ended in one transaction
//
// In a cluster the next holder knows what was shared: the account with 1 and 3, the order with 6.
// Each step at the CA asks the Fleet first, and is not taken by a node that does not hold the
// Lease.
//
// Resuming: with an order URL the CA is asked (step `fetch`) and the order goes on by its real
// status, whatever we had noted; without one (killed around 5) a new order is placed with the same
// key: at most one order too many. An order that the CA does not know any more is placed afresh.

#include <memory>
#include <string>
#include <vector>

#include "acme/authority.h"
#include "acme/challenge.h"
#include "acme/fleet.h"
#include "acme/options.h"
#include "acme/transport.h"
#include "daemon/net/job_thread.h"
#include "daemon/net/loop.h"
#include "store/account_store.h"
#include "store/certificate_store.h"

namespace gatehouse::acme {

class Issuer final : public CertificateAuthority {
 public:
  /// What it uses; all of them outlive it.
  struct Parts {
    net::Loop& loop;
    net::JobThread& compute;  // key generation, RSA signatures
    store::AccountStore& accounts;
    ChallengeSink& challenges;
    Transport& transport;
    Fleet* fleet = nullptr;  // null: this node is alone
  };
  /// What the store knew at start.
  struct Past {
    /// Accounts at this CA's directory under e-mails that no CA of the configuration has any more:
    /// the first usable one is kept with its contact changed, rather than a new one made.
    std::vector<store::Account> former_accounts;
    /// Tells how often validation failed for a certificate, and so which challenge type is next.
    store::RenewalState renewal;
  };
  Issuer(Parts parts, Ca ca, Past past);
  ~Issuer() override;

  const std::string& name() const override;
  boost::asio::awaitable<AttemptResult> issue(IssueTask task) override;
  boost::asio::awaitable<Result<AriAnswer>> renewal_info(std::string ari_id) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gatehouse::acme
