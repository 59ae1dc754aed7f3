#include "acme/issuer.h"

#include <algorithm>
#include <map>
#include <utility>

#include "acme/challenge_choice.h"
#include "acme/client.h"
#include "acme/name_locks.h"
#include "acme/order_run.h"
#include "acme/problem.h"
#include "acme/registration.h"

namespace gatehouse::acme {

namespace asio = boost::asio;

// GCC 12 takes the allocation of a coroutine's frame for a plain one when it inlines only half of
// Asio's pair of operators.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace {

bool was_validation(const store::RenewalFacts& facts) {
  if (!facts.last_error) return false;
  Problem problem;
  problem.type = facts.last_error->problem_type;
  return is_validation_failure(problem);
}

}  // namespace

struct Issuer::State {
  State(Parts given, Ca wanted, Past past)
      : parts(given),
        ca(std::move(wanted)),
        client(given.loop, given.compute, given.transport, ca.directory, given.fleet),
        registration(given.loop, given.compute, client, given.accounts, ca,
                     std::move(past.former_accounts), given.fleet),
        hosts(given.loop),
        choice(ca.challenges) {
    for (const auto& [name, facts] : past.renewal.facts) {
      if (facts.ca_attempts > 0 && (facts.ca.empty() || facts.ca == ca.name) &&
          was_validation(facts))
        failures[name] = facts.ca_attempts;
    }
  }

  OrderRun::Shared shared() {
    return {parts.loop, parts.compute, parts.accounts, parts.challenges, ca,
            client,     registration,  hosts,          choice,           parts.fleet};
  }

  Parts parts;
  const Ca ca;
  Client client;
  Registration registration;
  NameLocks hosts;
  ChallengeChoice choice;
  std::map<std::string, int> failures;  // by certificate, from before the start
};

Issuer::Issuer(Parts parts, Ca ca, Past past)
    : state_(std::make_unique<State>(parts, std::move(ca), std::move(past))) {}
Issuer::~Issuer() = default;

const std::string& Issuer::name() const { return state_->ca.name; }

asio::awaitable<AttemptResult> Issuer::issue(IssueTask task) {
  const auto found = state_->failures.find(task.certificate.name);
  const int failures = found == state_->failures.end() ? 0 : found->second;
  OrderRun run(state_->shared(), std::move(task), failures);
  co_return co_await run.run();
}

asio::awaitable<Result<AriAnswer>> Issuer::renewal_info(std::string ari_id) {
  auto directory = co_await state_->client.directory();
  if (!directory) co_return directory.error().error;
  if (directory->renewal_info.empty())
    co_return Error{Fault::kUnsupported, "this CA has no renewal information"};
  auto answer = co_await state_->client.get("reading the renewal information",
                                            directory->renewal_info + "/" + ari_id);
  if (!answer) co_return answer.error().error;
  auto window = parse_renewal_info(answer->body);
  if (!window) co_return std::move(window).error();
  AriAnswer ari;
  ari.start = window->start;
  ari.end = window->end;
  ari.explanation_url = std::move(window->explanation_url);
  if (answer->retry_after) {
    const auto now = state_->parts.loop.clock().wall_now();
    ari.retry_after = std::max<Duration>(*answer->retry_after - now, Duration::zero());
  }
  co_return ari;
}

}  // namespace gatehouse::acme
