#pragma once
// One exchange between two sessions that write everything down, and a host that does so too.

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "proxy/protocol/exchange.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_sessions.h"

namespace gatehouse::proxy {

class ExchangeTest : public testing::Test, public ExchangeHost {
 protected:
  ExchangeTest() { timers_.refresh(); }

  // ExchangeHost
  ServerSession* frontend_of(const Exchange&) override {
    return has_frontend_ ? &client_ : nullptr;
  }
  ClientSession* backend_of(const Exchange& exchange) override {
    return exchange.backend() ? &backend_ : nullptr;
  }
  void retry(Exchange&) override { ++retries_; }
  bool wants_retry(Exchange& exchange, const FailedAttempt& failed) override {
    failed_ = failed;
    if (!retry_after_) return false;
    exchange.try_again(*retry_after_);
    return true;
  }
  void leave_queue(Exchange&) override { ++left_queue_; }
  bool on_response_head(Exchange& exchange, ResponseHead& head) override {
    if (head.status != dropped_status_) return true;
    exchange.try_again(*retry_after_);
    return false;
  }
  void on_attempt_over(Exchange&, AttemptEnd end) override { attempt_ends_.push_back(end); }
  void on_exchange_done(Exchange&) override { ++done_; }

  void begin(std::string method, bool ended, std::string content_type = {}) {
    RequestHead head;
    head.version = HttpVersion::kHttp2;
    head.method = std::move(method);
    head.path = "/x";
    if (!content_type.empty()) head.fields.add(Name::kContentType, content_type);
    begin(head, ended);
  }
  void begin(RequestHead& head, bool ended) {
    exchange_.assign_id(ExchangeId{1, 1});
    exchange_.begin(FrontendId{2, 1}, 7, head, ended);
  }
  static ExchangeTimeouts timeouts() {
    ExchangeTimeouts all;
    all.response = std::chrono::seconds(60);
    all.stall = all.backend_stall = std::chrono::seconds(10);
    all.body_period = std::chrono::seconds(5);
    all.body_rate = 500;
    return all;
  }
  void forward(bool is_reused = false) {
    exchange_.go_to_backend(timeouts());
    assign(is_reused);
  }
  void assign(bool is_reused = false) {
    exchange_.begin_attempt();
    exchange_.on_assigned(BackendId{3, 1}, backend_, is_reused);
  }
  void respond(int status, bool ended = false) {
    ResponseHead head;
    head.status = status;
    exchange_.on_response(head, ended);
  }
  void advance(Duration by) {
    for (Duration passed{}; passed < by; passed += std::chrono::milliseconds(100)) {
      clock_.advance(std::chrono::milliseconds(100));
      timers_.refresh();
      timers_.fire_due();
    }
  }

  FakeClock clock_;
  TimerQueue timers_{clock_};
  FakeServerSession client_;
  FakeClientSession backend_;
  bool has_frontend_ = true;
  std::vector<AttemptEnd> attempt_ends_;
  std::optional<FailedAttempt> failed_;  // that wants_retry() was asked about last
  std::optional<Duration> retry_after_;  // what it decides; nothing: no retry
  int dropped_status_ = 0;               // a response with it is dropped for another attempt
  int retries_ = 0, left_queue_ = 0, done_ = 0;
  Exchange exchange_{*this, timers_};
};

}  // namespace gatehouse::proxy
