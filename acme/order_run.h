#pragma once
// One attempt at one order, from names to chain: the steps of issuer.h, top to bottom. Lives in the
// frame of Issuer::issue(), so that all its ends (success, failure, cancelled, destroyed) take the
// challenge answers and the hold on its hosts with it.

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "acme/attempt.h"
#include "acme/authority.h"
#include "acme/challenge_answers.h"
#include "acme/challenge_choice.h"
#include "acme/client.h"
#include "acme/fleet.h"
#include "acme/name_locks.h"
#include "acme/registration.h"
#include "store/account_store.h"

namespace gatehouse::acme {

class OrderRun {
 public:
  /// What the orders of one CA share; the Issuer's.
  struct Shared {
    net::Loop& loop;
    net::JobThread& compute;
    store::AccountStore& accounts;
    ChallengeSink& sink;
    const Ca& ca;
    Client& client;
    Registration& registration;
    NameLocks& hosts;
    ChallengeChoice& choice;
    Fleet* fleet;  // null: this node is alone
  };
  /// `failures`: validations that failed in a row before this process began.
  OrderRun(Shared shared, IssueTask task, int failures);

  boost::asio::awaitable<AttemptResult> run();

 private:
  /// One name that the CA still has to validate.
  struct Pending {
    std::string url;
    Authorization authorization;
    ChallengeType type;
  };

  // order_run.cc: the frame and the way through the CA's statuses.
  std::optional<AttemptFailure> refusal() const;
  boost::asio::awaitable<AttemptResult> run_with_account();
  boost::asio::awaitable<Call<OrderAnswer>> open_order();
  boost::asio::awaitable<Call<void>> find_or_begin();
  boost::asio::awaitable<Call<OrderAnswer>> place();
  boost::asio::awaitable<Call<OrderAnswer>> fetch(std::string step);
  boost::asio::awaitable<AttemptResult> advance(OrderAnswer order);
  boost::asio::awaitable<Call<OrderAnswer>> finalize(OrderAnswer order);
  boost::asio::awaitable<Call<OrderAnswer>> wait_while(OrderStatus status,
                                                       std::optional<WallTime> retry_after);
  boost::asio::awaitable<AttemptResult> download(OrderAnswer order);

  // order_validation.cc: authorizations.
  boost::asio::awaitable<Call<void>> validate(OrderAnswer order);
  boost::asio::awaitable<Call<std::vector<Pending>>> collect(std::vector<std::string> urls);
  boost::asio::awaitable<Call<void>> put_answers(std::vector<Pending> pending);
  boost::asio::awaitable<Call<void>> tell(std::vector<Pending> pending);
  boost::asio::awaitable<Call<void>> poll(std::vector<Pending> pending);
  boost::asio::awaitable<Call<Authorization>> fetch_authorization(std::string url);
  AttemptFailure validation_failure(const std::vector<Authorization>& failed);

  boost::asio::awaitable<Call<Answer>> post(std::string step, std::string doing, std::string url,
                                            std::string payload);
  boost::asio::awaitable<Call<void>> keep(store::OrderStep step, std::string name);
  /// Sleeps until then, within sensible bounds; the fallback without a time of the CA. False:
  /// cancelled.
  boost::asio::awaitable<bool> rest(std::optional<WallTime> until, Duration fallback);
  /// The CA does not know an order or authorization any more: that ends it, and soon begins anew.
  AttemptFailure unless_gone(AttemptFailure failure);
  /// Ends the order when the failure does.
  boost::asio::awaitable<AttemptFailure> failed(AttemptFailure failure);
  void begin(std::string_view step) const;
  WallTime now() const { return shared_.loop.clock().wall_now(); }

  Shared shared_;
  IssueTask task_;
  int failures_;
  std::vector<std::string> names_;  // normal form: lower case, RFC 5952
  Signer signer_;
  store::Order row_;
  net::PrivateKey key_;
  std::optional<Answer> last_answer_;  // of the order: its Retry-After
  ChallengeAnswers answers_;
  bool is_refused_ = false;  // what was issued is unusable, and will be the next time
};

}  // namespace gatehouse::acme
