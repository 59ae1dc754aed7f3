#pragma once
// A CA for tests of the keeper: issues at once unless told otherwise, and remembers who asked.

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "acme/authority.h"
#include "daemon/net/task_group.h"
#include "tests/support/test_certificates.h"
#include "tests/support/test_loop.h"

namespace gatehouse::acme {

class FakeAuthority final : public CertificateAuthority {
 public:
  FakeAuthority(TestLoop& loop, std::string name) : loop_(loop), name_(std::move(name)) {}

  // What it does from now on.
  std::optional<AttemptFailure> failure;     // for each attempt
  std::deque<AttemptFailure> next_failures;  // before that, one for each attempt
  Result<AriAnswer> window = Error{Fault::kUnsupported, "no renewal information"};
  Duration lifetime = 90 * 24h;
  Duration takes{0};                      // before it answers
  std::optional<WallTime> real_now;       // when its clock is not ours
  std::vector<std::string> issued_names;  // instead of those asked for
  bool is_built_in = false;

  // What happened.
  struct Attempt {
    std::string certificate, replaces;
    WallTime at{};
  };
  std::vector<Attempt> attempts;
  int issued = 0, polls = 0, running = 0, running_most = 0;
  std::vector<std::string> polled_ids;

  int attempts_for(const std::string& certificate) const {
    int count = 0;
    for (const auto& one : attempts) count += one.certificate == certificate;
    return count;
  }

  const std::string& name() const override { return name_; }
  bool is_local() const override { return is_built_in; }

  boost::asio::awaitable<AttemptResult> issue(IssueTask task) override {
    attempts.push_back({task.certificate.name, task.replaces, loop_.clock().wall_now()});
    running_most = std::max(running_most, ++running);
    if (task.on_step) task.on_step("ordering");
    const bool waited = takes == Duration{0} || co_await net::sleep_for(loop_, takes);
    --running;
    if (!waited) {
      AttemptFailure cancelled;
      cancelled.error = {Fault::kCancelled, "cancelled"};
      co_return cancelled;
    }
    if (!next_failures.empty()) {
      AttemptFailure told = next_failures.front();
      next_failures.pop_front();
      co_return told;
    }
    if (failure) co_return *failure;
    ++issued;
    const WallTime now = real_now.value_or(loop_.clock().wall_now());
    const auto& names = issued_names.empty() ? task.certificate.names : issued_names;
    co_return make_test_certificate(task.certificate.name, names, now,
                                    now + std::chrono::duration_cast<WallTime::duration>(lifetime));
  }

  boost::asio::awaitable<Result<AriAnswer>> renewal_info(std::string ari_id) override {
    ++polls;
    polled_ids.push_back(ari_id);
    co_return window;
  }

 private:
  TestLoop& loop_;
  const std::string name_;
};

inline AttemptFailure failure_of(Reaction reaction, const std::string& type = "") {
  AttemptFailure failure;
  failure.reaction = reaction;
  failure.problem_type = type;
  failure.error = {Fault::kConnection, "the CA said no: " + type};
  return failure;
}

}  // namespace gatehouse::acme
