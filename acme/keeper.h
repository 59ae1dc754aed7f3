#pragma once
// Keeps every configured certificate in place: compares what must be covered with what the store
// has, and acts: issue, renew, try again, next CA, write down. Exactly one next time per name, kept
// in the store; exactly one job per name at a time; a few per CA. Start-up never waits for a CA.
//
// Owned by the roof and used on the control loop only. Everything in Parts outlives it. It does not
// know how certificates are made (CertificateAuthority does) nor who serves them (on_certificate),
// and makes no temporary certificates.

#include <boost/asio/awaitable.hpp>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "acme/authority.h"
#include "acme/fleet.h"
#include "acme/kept_certificate.h"
#include "acme/options.h"
#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/base/metrics.h"
#include "daemon/base/random.h"
#include "daemon/base/timer_queue.h"
#include "daemon/net/certificate.h"
#include "daemon/net/loop.h"
#include "daemon/net/task_group.h"
#include "store/account_store.h"
#include "store/certificate_store.h"

namespace gatehouse::acme {

/// What an operator wants to know of one certificate.
struct CertificateStatus {
  enum class State : std::uint8_t {
    kNone,     // nothing yet: a temporary certificate is served
    kValid,    // in order
    kLate,     // valid, but half of the time for renewing it is used up
    kExpired,  // still served, because nothing better exists
  };
  std::string name;
  std::vector<std::string> names;
  State state = State::kNone;
  std::string ca;  // that issued what is served
  std::string key_kind, serial;
  std::optional<WallTime> not_before, not_after, last_issued;

  std::string next_action;  // "issue", "renew", "retry", "resume"
  WallTime next_time{};
  std::string next_ca;
  std::string next_reason;  // for people

  int failures = 0;  // in a row
  std::optional<store::LastError> last_error;

  bool is_in_progress = false;
  std::string step;  // of the order in progress
  std::string step_ca;
  WallTime step_since{};

  std::string not_saved;        // why the store does not have it yet; empty: it has
  std::string explanation_url;  // the CA's page about its window
};
std::string_view to_string(CertificateStatus::State state);

class Keeper {
 public:
  struct Parts {
    net::Loop& loop;
    Random& random;
    Metrics& metrics;
    store::CertificateStore& certificates;
    store::AccountStore& orders;
    const Fleet* fleet = nullptr;  // null: this node is alone
  };
  /// Called on the loop for each certificate to be served, at start and after each issuance. It
  /// may not call back into the keeper.
  using OnCertificate = std::function<void(net::CredentialPtr)>;

  Keeper(Parts parts, OnCertificate on_certificate);
  ~Keeper();

  /// Reads the store; once, before the loop runs. After an error it goes on with what was read.
  Result<void> load();
  /// The wanted state, at start and at each reload: new names begin, names that are gone stop (an
  /// order in flight is cancelled), the others are not disturbed. An authority that was given once
  /// lives as long as the keeper; a missing one holds its certificates back.
  void set_certificates(std::vector<ManagedCertificate> wanted,
                        const std::vector<CertificateAuthority*>& authorities);
  /// Begins to act. Orders in flight go first.
  void start();
  /// Ends all jobs. Nothing runs any more when it returns.
  boost::asio::awaitable<void> stop();

  /// Runs now, past schedule and floor, never past a CA's Retry-After; answers when it is over.
  /// By the name of a certificate or any name that it covers.
  boost::asio::awaitable<Result<void>> renew(std::string name);

  /// No order for these names as long as no valid certificate is there, before let_go(): another
  /// place, where one may be found, is looked at first. What is valid is renewed as ever.
  void await_restore(const std::set<std::string>& names);
  void let_go(const std::string& name);

  // In a cluster (keeper_fleet.cc).
  /// This node may issue from now on, or may not: jobs at the CAs begin, or end where they are.
  /// `left`: certificates whose orders another node has left behind, in the store by now.
  void on_fleet_changed(const std::vector<std::string>& left = {});
  /// A certificate that another node got; its credential has the certificate's name. Taken, served
  /// and written down, unless what we have is as new or it is not what is wanted.
  void offer(store::LoadedCertificate shared);
  /// What this node could share: what is served, but for those that each node makes by itself.
  std::vector<store::LoadedCertificate> shareable() const;

  /// For a name that is not managed here: what the store had for it; null: nothing.
  net::CredentialPtr loaded(const std::string& name) const;
  /// What it is served with, to begin with should it be managed one day.
  void remember(net::CredentialPtr credential);

  std::vector<CertificateStatus> status() const;
  /// What is served for that certificate; null: nothing yet.
  net::CredentialPtr find(std::string_view name) const;
  /// The CA that issued it; empty: nothing is served, or nobody knows.
  std::string issuer_of(std::string_view name) const;

 private:
  struct Waiter;
  struct Entry;
  struct RunningJob;

  // keeper.cc: which job runs when.
  void add(ManagedCertificate wanted);
  void change(Entry& entry, ManagedCertificate wanted);
  void drop(Entry& entry);
  void cancel(Entry& entry);
  void plan(Entry& entry);
  void on_due(Entry& entry);
  void begin(Entry& entry, const Job& job);
  void end(Entry& entry);
  void answer(Entry& entry, const Result<void>& result);
  void reap();
  Entry* find_entry(const std::string& name);
  boost::asio::awaitable<void> run_job(Entry& entry, Job job);
  boost::asio::awaitable<void> forget_stale_orders();

  // keeper_jobs.cc: what a job does.
  boost::asio::awaitable<void> issue(Entry& entry, std::string ca);
  boost::asio::awaitable<AttemptResult> attempt(Entry& entry, CertificateAuthority& authority);
  boost::asio::awaitable<void> accept(Entry& entry, std::string ca, net::CredentialPtr credential,
                                      WallTime begun);
  boost::asio::awaitable<void> record_failure(Entry& entry, std::string ca, AttemptFailure failure);
  boost::asio::awaitable<void> keep_hold(Entry& entry, std::string ca, AttemptFailure failure);
  boost::asio::awaitable<void> poll_ari(Entry& entry, std::string ca);
  boost::asio::awaitable<void> save(Entry& entry);
  boost::asio::awaitable<void> save_facts(Entry& entry);
  void fail_over(Entry& entry, const std::string& failed_ca);
  void note_step(Entry& entry, const std::string& ca, std::string_view step);
  void show(const Entry& entry);
  void hide(const Entry& entry);

  // keeper_fleet.cc
  bool is_shared(const std::string& ca) const;
  /// Another node does that.
  bool is_held_back(const Job& job) const;
  bool is_awaited(const Entry& entry) const;
  void take(Entry& entry, store::LoadedCertificate shared);

  CertificateStatus status_of(const Entry& entry) const;

  const Parts parts_;
  const OnCertificate on_certificate_;
  bool is_started_ = false, is_stopped_ = false;
  std::map<std::string, std::unique_ptr<Entry>, std::less<>> entries_;  // by certificate name
  std::map<std::string, CertificateAuthority*> authorities_;            // by CA name
  Holds holds_;
  std::map<std::string, int> running_;                      // jobs per CA
  std::map<std::string, std::deque<std::string>> waiting_;  // per CA: names that are due
  std::list<RunningJob> jobs_;
  std::set<std::string, std::less<>> awaited_;  // names that may come from somewhere else

  // Read by load(), for names that are configured now or later.
  std::map<std::string, store::LoadedCertificate> loaded_;
  store::RenewalState renewal_;
  std::map<std::string, store::Order> orders_;
};

}  // namespace gatehouse::acme
