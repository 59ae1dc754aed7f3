#include "acme/order_run.h"

#include <algorithm>
#include <utility>

#include "acme/issued_chain.h"
#include "acme/messages.h"
#include "acme/problem.h"
#include "daemon/base/kill_point.h"
#include "daemon/base/log.h"
#include "daemon/net/task_group.h"

namespace gatehouse::acme {

namespace asio = boost::asio;
using store::OrderStep;

// GCC 12 takes the allocation of a coroutine's frame for a plain one when it inlines only half of
// Asio's pair of operators.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace {

constexpr auto kProcessingMax = std::chrono::minutes(10);
constexpr auto kUnusableDownloadAge = std::chrono::hours(24);
constexpr int kTurnsMax = 16;  // Status changes of one order; more is a CA that runs in a circle.

net::KeyKind kind_of(KeyType type) {
  switch (type) {
    case KeyType::kEcdsaP256: return net::KeyKind::kEcdsaP256;
    case KeyType::kEcdsaP384: return net::KeyKind::kEcdsaP384;
    case KeyType::kRsa2048: return net::KeyKind::kRsa2048;
    case KeyType::kRsa3072: return net::KeyKind::kRsa3072;
    case KeyType::kRsa4096: return net::KeyKind::kRsa4096;
  }
  return net::KeyKind::kEcdsaP256;
}

bool is_of_kind(const net::PrivateKey& key, KeyType type) {
  const bool is_ecdsa = EVP_PKEY_is_a(key.native(), "EC") == 1;
  const int bits = EVP_PKEY_get_bits(key.native());
  switch (type) {
    case KeyType::kEcdsaP256: return is_ecdsa && bits == 256;
    case KeyType::kEcdsaP384: return is_ecdsa && bits == 384;
    case KeyType::kRsa2048: return !is_ecdsa && bits == 2048;
    case KeyType::kRsa3072: return !is_ecdsa && bits == 3072;
    case KeyType::kRsa4096: return !is_ecdsa && bits == 4096;
  }
  return false;
}

bool are_same(std::vector<std::string> a, std::vector<std::string> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  return a == b;
}

/// Said about an order's URL: it is gone, or belongs to an account that is not ours any more.
bool is_gone(const AttemptFailure& failure) {
  return failure.error.fault == Fault::kNotFound || failure.problem_type == "unauthorized";
}

void passage(std::string_view step, std::string_view side) {
#ifdef GATEHOUSE_KILL_POINTS
  kill_point("acme.order." + std::string(step) + "." + std::string(side));
#else
  (void)step;
  (void)side;
#endif
}

}  // namespace

OrderRun::OrderRun(Shared shared, IssueTask task, int failures)
    : shared_(shared), task_(std::move(task)), failures_(failures), answers_(shared.sink) {
  for (const auto& name : task_.certificate.names) {
    auto value = identifier_of(name).value;
    if (std::find(names_.begin(), names_.end(), value) == names_.end())
      names_.push_back(std::move(value));
  }
}

std::optional<AttemptFailure> OrderRun::refusal() const {
  if (names_.empty()) return failure_of(Error{Fault::kInvalid, "no names"}, Reaction::kPersistent);
  for (const auto& name : names_) {
    if (name.find('*') == std::string::npos) continue;
    return failure_of(Error{Fault::kUnsupported, name + ": a wildcard needs the challenge dns-01, "
                                                        "which is not supported yet"},
                      Reaction::kPersistent);
  }
  if (shared_.ca.challenges.empty())
    return failure_of(Error{Fault::kUnsupported, "no challenge type that this issuer may use"},
                      Reaction::kPersistent);
  return std::nullopt;
}

asio::awaitable<AttemptResult> OrderRun::run() {
  if (auto refused = refusal()) co_return std::move(*refused);
  const auto held = co_await shared_.hosts.hold(names_);
  if (!held)
    co_return failure_of(Error{Fault::kCancelled, "waiting for another order of these hosts"});
  begin("opening the account");
  auto signer = co_await shared_.registration.signer();
  if (!signer) co_return std::move(signer).error();
  signer_ = std::move(*signer);
  auto result = co_await run_with_account();
  if (!result && result.error().problem_type == "accountDoesNotExist") {
    // RFC 8555 section 7.3.1: the same key gets an account again. Once; then a person must look.
    auto again = co_await shared_.registration.register_again(signer_.account_url);
    if (!again) co_return std::move(again).error();
    signer_ = std::move(*again);
    result = co_await run_with_account();
  }
  answers_.clear();
  if (result) co_return std::move(*result);
  co_return co_await failed(std::move(result).error());
}

asio::awaitable<AttemptResult> OrderRun::run_with_account() {
  auto order = co_await open_order();
  if (!order) co_return std::move(order).error();
  co_return co_await advance(std::move(*order));
}

asio::awaitable<Call<OrderAnswer>> OrderRun::open_order() {
  auto ready = co_await find_or_begin();
  if (!ready) co_return std::move(ready).error();
  if (!row_.order_url.empty()) {
    begin("resuming the order");
    auto order = co_await fetch("fetch");
    if (order && order->status != OrderStatus::kInvalid) co_return order;
    if (!order && !is_gone(order.error())) co_return order;
    // Expired, or failed while nobody looked: afresh, with the key that is kept.
    log(Level::kInfo, "acme.order_started_afresh")
        .with("name", task_.certificate.name)
        .with("reason", order ? std::string("invalid") : order.error().error.message);
    row_.order_url.clear();
    row_.finalize_url.clear();
    row_.certificate_url.clear();
    row_.created_at = now();
    auto kept = co_await keep(OrderStep::kKeyKept, "key");
    if (!kept) co_return std::move(kept).error();
  }
  co_return co_await place();
}

asio::awaitable<Call<void>> OrderRun::find_or_begin() {
  auto found = co_await shared_.accounts.find_order(task_.certificate.name);
  if (!found) co_return failure_of(std::move(found).error().in("looking for an order in flight"));
  if (*found) {
    auto key = net::PrivateKey::from_pem((*found)->key_pem);
    if (key && (*found)->directory == shared_.ca.directory && are_same((*found)->names, names_) &&
        is_of_kind(*key, task_.certificate.key)) {
      row_ = std::move(**found);
      key_ = std::move(*key);
      co_return Call<void>();
    }
    log(Level::kInfo, "acme.order_dropped")
        .with("name", task_.certificate.name)
        .with("reason", "its names, key or CA are not those of the configuration any more");
  }
  begin("making a key");
  auto job = [kind = kind_of(task_.certificate.key)] { return net::PrivateKey::generate(kind); };
  auto key = co_await shared_.compute.run(std::move(job));
  if (!key) co_return failure_of(std::move(key).error());
  auto pem = key->to_pem();
  if (!pem) co_return failure_of(std::move(pem).error());
  key_ = std::move(*key);
  row_ = store::Order();
  row_.certificate = task_.certificate.name;
  row_.ca = shared_.ca.name;
  row_.directory = shared_.ca.directory;
  row_.names = names_;
  row_.key_pem = std::move(*pem);
  row_.created_at = now();
  co_return co_await keep(OrderStep::kKeyKept, "key");
}

asio::awaitable<Call<OrderAnswer>> OrderRun::place() {
  begin("placing the order");
  auto directory = co_await shared_.client.directory();
  if (!directory) co_return std::move(directory).error();
  NewOrder wanted;
  for (const auto& name : names_) wanted.identifiers.push_back(identifier_of(name));
  wanted.profile = shared_.ca.profile;
  // RFC 9773 section 5: only to a CA that has renewal information. Refused with alreadyReplaced,
  // the caller asks again without.
  row_.replaces = directory->renewal_info.empty() ? "" : task_.replaces;
  wanted.replaces = row_.replaces;
  auto answer = co_await post("new_order", "placing the order", directory->new_order,
                              new_order_payload(wanted));
  if (!answer) co_return std::move(answer).error();
  if (!answer->location.starts_with("https://"))
    co_return failure_of(Error{Fault::kProtocol, "placing the order: the answer has no URL"});
  // First the URL: even an answer that cannot be read leaves an order that can be asked for.
  row_.order_url = answer->location;
  auto order = parse_order(answer->body, now());
  if (order) {
    row_.finalize_url = order->finalize;
    row_.expires_at = order->expires;
  }
  auto kept = co_await keep(OrderStep::kOrdered, "ordered");
  if (!kept) co_return std::move(kept).error();
  if (!order) co_return failure_of(std::move(order).error().in("placing the order"));
  std::vector<std::string> ordered;
  for (const auto& identifier : order->identifiers) ordered.push_back(identifier.value);
  if (!are_same(std::move(ordered), names_)) {
    is_refused_ = true;
    co_return failure_of(Error{Fault::kProtocol, "placing the order: it is for other names"},
                         Reaction::kPersistent);
  }
  co_return std::move(*order);
}

asio::awaitable<Call<OrderAnswer>> OrderRun::fetch(std::string step) {
  auto answer = co_await post(step, "reading the order", row_.order_url, "");
  if (!answer) co_return std::move(answer).error();
  auto order = parse_order(answer->body, now());
  if (!order) co_return failure_of(std::move(order).error().in("reading the order"));
  last_answer_ = std::move(*answer);
  row_.finalize_url = order->finalize;
  co_return std::move(*order);
}

asio::awaitable<AttemptResult> OrderRun::advance(OrderAnswer order) {
  for (int turn = 0; turn < kTurnsMax; ++turn) {
    Call<OrderAnswer> next{AttemptFailure()};
    switch (order.status) {
      case OrderStatus::kPending: {
        auto validated = co_await validate(order);
        if (!validated) co_return std::move(validated).error();
        next = co_await wait_while(OrderStatus::kPending, std::nullopt);
        break;
      }
      case OrderStatus::kReady: next = co_await finalize(order); break;
      case OrderStatus::kProcessing: {
        const auto when = last_answer_ ? last_answer_->retry_after : std::nullopt;
        next = co_await wait_while(OrderStatus::kProcessing, when);
        break;
      }
      case OrderStatus::kValid: co_return co_await download(std::move(order));
      case OrderStatus::kInvalid: {
        is_refused_ = true;
        if (order.error) co_return to_failure(*order.error, "the CA refused the order");
        co_return failure_of(Error{Fault::kInvalid, "the CA refused the order without a reason"});
      }
    }
    if (!next) co_return std::move(next).error();
    order = std::move(*next);
  }
  co_return failure_of(Error{Fault::kProtocol, "the order's status runs in a circle"});
}

asio::awaitable<Call<OrderAnswer>> OrderRun::finalize(OrderAnswer order) {
  begin("finalizing the order");
  answers_.clear();  // Validation is over.
  auto job = [this] { return net::make_csr(key_, names_); };
  auto csr = co_await shared_.compute.run(std::move(job));
  if (!csr) co_return failure_of(std::move(csr).error(), Reaction::kPersistent);
  auto kept = co_await keep(OrderStep::kAuthorized, "authorized");
  if (!kept) co_return std::move(kept).error();
  auto answer =
      co_await post("finalize", "finalizing the order", order.finalize, finalize_payload(*csr));
  if (!answer) {
    // Somebody else's view of the order is older or newer than ours: look again, and go on by it.
    if (answer.error().problem_type != "orderNotReady") co_return std::move(answer).error();
    const bool is_rested = co_await rest(answer.error().not_before, 1s);
    if (!is_rested)
      co_return failure_of(Error{Fault::kCancelled, "finalizing the order: cancelled"});
    co_return co_await fetch("fetch");
  }
  auto parsed = parse_order(answer->body, now());
  last_answer_ = std::move(*answer);
  kept = co_await keep(OrderStep::kFinalized, "finalized");
  if (!kept) co_return std::move(kept).error();
  if (!parsed) co_return failure_of(std::move(parsed).error().in("finalizing the order"));
  co_return std::move(*parsed);
}

asio::awaitable<Call<OrderAnswer>> OrderRun::wait_while(OrderStatus status,
                                                        std::optional<WallTime> retry_after) {
  if (status == OrderStatus::kProcessing) begin("waiting for the certificate");
  const auto deadline = shared_.loop.clock().steady_now() + kProcessingMax;
  // After validation the order is ready at once with most CAs: ask before resting.
  for (int polls = status == OrderStatus::kPending ? 0 : 1;; ++polls) {
    if (polls > 0) {
      const bool is_rested = co_await rest(retry_after, std::chrono::seconds(std::min(polls, 10)));
      if (!is_rested)
        co_return failure_of(Error{Fault::kCancelled, "waiting for the order: cancelled"});
    }
    auto order = co_await fetch("processing");
    if (!order) co_return unless_gone(std::move(order).error());
    if (order->status != status) co_return order;
    if (shared_.loop.clock().steady_now() >= deadline)
      co_return failure_of(Error{Fault::kTimeout, "the CA keeps the order " +
                                                      std::string(to_string(status)) +
                                                      " for more than 10 minutes"});
    retry_after = last_answer_->retry_after;
  }
}

asio::awaitable<AttemptResult> OrderRun::download(OrderAnswer order) {
  begin("downloading the certificate");
  row_.certificate_url = order.certificate;
  auto kept = co_await keep(OrderStep::kIssued, "issued");
  if (!kept) co_return std::move(kept).error();
  Client::Post request{"downloading the certificate", signer_, order.certificate, "",
                       "application/pem-certificate-chain"};
  passage("download", "before");
  auto answer = co_await shared_.client.post(std::move(request));
  passage("download", "after");
  // What cannot be read may be a bad moment of the CA: the order stays, and is asked again. Not for
  // ever, though.
  const bool is_old = now() - row_.created_at > kUnusableDownloadAge;
  if (!answer) {
    const auto fault = answer.error().error.fault;
    is_refused_ = is_old && (fault == Fault::kProtocol || fault == Fault::kTooLarge);
    co_return std::move(answer).error();
  }
  ExpectedChain expected{task_.certificate.name, names_, key_};
  auto credential = check_issued_chain(answer->body, expected, now());
  if (credential) co_return std::move(*credential);
  const bool may_heal = credential.error().fault == Fault::kCorrupt && !is_old;
  is_refused_ = !may_heal;
  co_return failure_of(std::move(credential).error().in("the CA's certificate is refused"),
                       may_heal ? Reaction::kTransient : Reaction::kPersistent);
}

asio::awaitable<Call<Answer>> OrderRun::post(std::string step, std::string doing, std::string url,
                                             std::string payload) {
  Client::Post request{std::move(doing), signer_, std::move(url), std::move(payload)};
  passage(step, "before");
  auto answer = co_await shared_.client.post(std::move(request));
  passage(step, "after");
  co_return answer;
}

asio::awaitable<Call<void>> OrderRun::keep(OrderStep step, std::string name) {
  row_.step = step;
  row_.updated_at = now();
  passage(name, "before");
  auto saved = co_await shared_.accounts.save_order(row_);
  passage(name, "after");
  if (!saved) co_return failure_of(std::move(saved).error().in("keeping the order"));
  // Its URL and key are all that another node needs to go on: the rest the CA knows.
  if (shared_.fleet && step == OrderStep::kOrdered) {
    auto shared = co_await shared_.fleet->share_order(row_);
    if (!shared) co_return failure_of(std::move(shared).error().in("sharing the order"));
  }
  co_return Call<void>();
}

asio::awaitable<bool> OrderRun::rest(std::optional<WallTime> until, Duration fallback) {
  Duration wait = until ? Duration(*until - now()) : fallback;
  wait = std::clamp<Duration>(wait, 1s, 60s);
  co_return co_await net::sleep_for(shared_.loop, wait);
}

AttemptFailure OrderRun::unless_gone(AttemptFailure failure) {
  if (!is_gone(failure)) return failure;
  is_refused_ = true;
  failure.reaction = Reaction::kTransient;
  return failure;
}

asio::awaitable<AttemptFailure> OrderRun::failed(AttemptFailure failure) {
  // Without a URL, a definite no means that there is no order. With one, only what ends it.
  const bool is_definite =
      failure.reaction != Reaction::kTransient && failure.reaction != Reaction::kRetrySoon;
  const bool ends = is_refused_ || failure.reaction == Reaction::kPersistent ||
                    (row_.order_url.empty() && is_definite);
  if (ends && !row_.certificate.empty()) {
    auto deleted = co_await shared_.accounts.delete_order(row_.certificate);
    if (!deleted)
      log(Level::kWarn, "acme.order_not_deleted")
          .with("name", row_.certificate)
          .with("error", deleted.error().message);
    if (shared_.fleet) {
      auto ended = co_await shared_.fleet->end_order(row_.certificate);
      if (!ended)
        log(Level::kWarn, "acme.order_not_deleted")
            .with("name", row_.certificate)
            .with("error", ended.error().message);
    }
  }
  co_return failure;
}

void OrderRun::begin(std::string_view step) const {
  if (task_.on_step) task_.on_step(step);
}

}  // namespace gatehouse::acme
