// OrderRun's middle part: the authorizations of an order, from what the CA wants proved to proved.

#include <algorithm>
#include <utility>

#include "acme/jws.h"
#include "acme/messages.h"
#include "acme/order_run.h"
#include "acme/problem.h"
#include "daemon/base/log.h"

namespace gatehouse::acme {

namespace asio = boost::asio;
using store::OrderStep;

// GCC 12 takes the allocation of a coroutine's frame for a plain one when it inlines only half of
// Asio's pair of operators.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace {

constexpr auto kValidationMax = std::chrono::minutes(10);

/// Why an authorization is not valid, with its name; the first challenge that failed says it.
Problem reason_of(const Authorization& authorization) {
  Problem problem;
  for (const auto& challenge : authorization.challenges) {
    if (!challenge.error) continue;
    problem = *challenge.error;
    problem.detail = challenge.type + ": " + problem.detail;
    break;
  }
  if (problem.type.empty() && problem.detail.empty())
    problem.detail = "the authorization is " + std::string(to_string(authorization.status));
  problem.identifier = authorization.identifier;
  return problem;
}

}  // namespace

asio::awaitable<Call<void>> OrderRun::validate(OrderAnswer order) {
  auto pending = co_await collect(order.authorizations);
  if (!pending) co_return std::move(pending).error();
  if (pending->empty()) co_return Call<void>();  // The CA remembers all of them.
  begin("waiting for validation");
  auto done = co_await put_answers(*pending);
  if (done) done = co_await tell(*pending);
  if (done) done = co_await poll(std::move(*pending));
  answers_.clear();
  co_return done;
}

asio::awaitable<Call<std::vector<OrderRun::Pending>>> OrderRun::collect(
    std::vector<std::string> urls) {
  std::vector<Pending> pending;
  std::vector<Authorization> failed;
  for (const auto& url : urls) {
    auto authorization = co_await fetch_authorization(url);
    if (!authorization) co_return std::move(authorization).error();
    if (authorization->status == AuthorizationStatus::kValid) continue;
    if (authorization->status != AuthorizationStatus::kPending) {
      failed.push_back(std::move(*authorization));
      continue;
    }
    const auto type = shared_.choice.choose(*authorization, failures_);
    if (!type) {
      is_refused_ = true;
      co_return failure_of(Error{Fault::kUnsupported, authorization->identifier.value +
                                                          ": the CA offers no challenge type "
                                                          "that the issuer may use"},
                           Reaction::kPersistent);
    }
    pending.push_back(Pending{url, std::move(*authorization), *type});
  }
  if (!failed.empty()) co_return validation_failure(failed);
  co_return std::move(pending);
}

asio::awaitable<Call<void>> OrderRun::put_answers(std::vector<Pending> pending) {
  for (const auto& one : pending) {
    const auto& identifier = one.authorization.identifier;
    const auto* challenge = one.authorization.find(to_string(one.type));
    check(challenge != nullptr, "a challenge was chosen that was not offered");
    const auto authorization = key_authorization(challenge->token, signer_.key);
    if (one.type == ChallengeType::kHttp01) {
      answers_.put_http(challenge->token, authorization);
      continue;
    }
    auto server_name = validation_server_name(identifier);
    if (!server_name) co_return failure_of(std::move(server_name).error());
    auto job = [&identifier, &authorization, when = now()] {
      return tls_alpn_credential(identifier, authorization, when);
    };
    auto credential = co_await shared_.compute.run(std::move(job));
    if (!credential) co_return failure_of(std::move(credential).error());
    answers_.put_tls_alpn(*server_name, std::move(*credential));
  }
  co_await answers_.settled();
  co_return co_await keep(OrderStep::kAnswersReady, "answers");
}

asio::awaitable<Call<void>> OrderRun::tell(std::vector<Pending> pending) {
  for (const auto& one : pending) {
    const auto* challenge = one.authorization.find(to_string(one.type));
    if (challenge->status != ChallengeStatus::kPending) continue;  // Told before a restart.
    auto answer = co_await post("challenge",
                                "starting the validation of " + one.authorization.identifier.value,
                                challenge->url, "{}");
    if (answer) continue;
    // RFC 8555 has no word for "too late": an authorization that another order finished meanwhile
    // answers with malformed. Its status, polled next, is what counts.
    if (answer.error().problem_type != "malformed") co_return std::move(answer).error();
  }
  co_return co_await keep(OrderStep::kChallengesSent, "challenged");
}

asio::awaitable<Call<void>> OrderRun::poll(std::vector<Pending> pending) {
  const auto deadline = shared_.loop.clock().steady_now() + kValidationMax;
  for (int polls = 1; !pending.empty(); ++polls) {
    const auto when = last_answer_ ? last_answer_->retry_after : std::nullopt;
    const bool is_rested = co_await rest(when, std::chrono::seconds(std::min(polls, 5)));
    if (!is_rested)
      co_return failure_of(Error{Fault::kCancelled, "waiting for validation: cancelled"});
    last_answer_.reset();
    std::vector<Pending> left;
    std::vector<Authorization> failed;
    for (auto& one : pending) {
      auto authorization = co_await fetch_authorization(one.url);
      if (!authorization) co_return std::move(authorization).error();
      if (authorization->status == AuthorizationStatus::kValid) {
        shared_.choice.succeeded(authorization->identifier, one.type);
      } else if (authorization->status == AuthorizationStatus::kPending) {
        left.push_back(std::move(one));
      } else {
        failed.push_back(std::move(*authorization));
      }
    }
    if (!failed.empty()) co_return validation_failure(failed);
    pending = std::move(left);
    if (!pending.empty() && shared_.loop.clock().steady_now() >= deadline)
      co_return failure_of(
          Error{Fault::kTimeout, "the CA did not validate " +
                                     pending.front().authorization.identifier.value +
                                     " within 10 minutes"});
  }
  co_return Call<void>();
}

asio::awaitable<Call<Authorization>> OrderRun::fetch_authorization(std::string url) {
  auto answer = co_await post("validation", "reading an authorization", std::move(url), "");
  if (!answer) co_return unless_gone(std::move(answer).error());
  auto authorization = parse_authorization(answer->body, now());
  if (!authorization)
    co_return failure_of(std::move(authorization).error().in("reading an authorization"));
  last_answer_ = std::move(*answer);
  co_return std::move(*authorization);
}

AttemptFailure OrderRun::validation_failure(const std::vector<Authorization>& failed) {
  is_refused_ = true;  // RFC 8555 section 7.1.6: the order is invalid with its first authorization.
  Problem all;
  bool is_type_left = true;
  for (const auto& authorization : failed) {
    auto reason = reason_of(authorization);
    bool is_left = false;
    for (const auto type : shared_.ca.challenges) {
      const auto* challenge = authorization.find(to_string(type));
      if (!challenge || !challenge->error || !is_validation_failure(*challenge->error)) continue;
      is_left = shared_.choice.failed(authorization, type);
    }
    is_type_left = is_type_left && is_left;
    all.subproblems.push_back(std::move(reason));
  }
  if (all.subproblems.size() == 1) all = Problem(all.subproblems.front());
  if (all.subproblems.size() > 1) all.type = "compound";
  auto failure = to_failure(all, "validation failed");
  // Another challenge type was not tried yet: soon, rather than after a person did something.
  if (is_type_left && failure.reaction == Reaction::kPersistent)
    failure.reaction = Reaction::kTransient;
  return failure;
}

}  // namespace gatehouse::acme
