#pragma once
// The proxy between the peers of the simulation: real sessions and exchanges, joined as DataPlane
// joins them, with a simple pool. One seed decides everything that happens.

#include <algorithm>
#include <deque>
#include <memory>
#include <set>
#include <vector>

#include "daemon/base/slot_map.h"
#include "daemon/base/timer_queue.h"
#include "proxy/protocol/exchange.h"
#include "tests/sim/link.h"
#include "tests/sim/peers.h"
#include "tests/support/fake_clock.h"

namespace gatehouse::proxy::sim {

class World final : public ExchangeHost {
 public:
  World(std::uint64_t seed, std::uint64_t first, std::uint64_t count, bool has_faults)
      : random_(seed), timers_(clock_) {
    script_.seed = seed;
    script_.has_faults = has_faults;
    script_.next = first;
    script_.end = first + count;
    script_.complain = [this](std::uint64_t number, const char* what) {
      if (complaint.empty()) complaint = "exchange " + std::to_string(number) + ": " + what;
    };
    timers_.refresh();
  }

  /// Runs until every exchange is over. False: nothing moves any more, or somebody complained.
  bool run() {
    std::size_t idle_steps = 0, left = left_over();
    while (left > 0 && complaint.empty()) {
      step();
      if (steps_++ % 64 != 0) continue;
      tick();
      const std::size_t now_left = left_over();
      idle_steps = now_left == left ? idle_steps + 64 : 0;
      left = now_left;
      if (idle_steps > 3'000'000) complaint = std::to_string(left) + " exchanges never end";
    }
    return complaint.empty() && is_left_clean();
  }

  std::string complaint;
  std::size_t whole() const {
    std::size_t count = 0;
    for (const auto& [number, outcome] : script_.outcomes) count += outcome.is_whole;
    return count;
  }

 private:
  struct Frontend final : ServerEvents {
    explicit Frontend(World& owner) : world(owner) {}
    StreamToken on_request(StreamId stream, RequestHead& head, bool ended) override {
      return world.begin(id, stream, head, ended);
    }
    void on_request_body(StreamToken token, std::string_view bytes) override {
      if (auto* exchange = world.find(token)) exchange->on_request_body(bytes);
    }
    void on_request_end(StreamToken token, const Fields* trailers) override {
      if (auto* exchange = world.find(token)) exchange->on_request_end(trailers);
    }
    void on_response_taken(StreamToken token, std::size_t bytes) override {
      if (auto* exchange = world.find(token)) exchange->on_response_taken(bytes);
    }
    void on_closed(StreamToken token, Reset reason) override {
      if (auto* exchange = world.find(token)) exchange->on_closed(reason);
    }
    void on_refused(const RequestHead&, int, std::string_view detail) override {
      world.script_.complain(0, std::string(detail).c_str());
    }
    World& world;
    FrontendId id;
    std::unique_ptr<ServerSession> session;
    std::unique_ptr<Client> client;
    std::unique_ptr<Link> link;  // a: the client
  };

  struct Backend final : ClientEvents {
    explicit Backend(World& owner) : world(owner) {}
    void on_interim(StreamToken token, ResponseHead& head) override {
      if (auto* exchange = world.find(token)) exchange->on_interim(head);
    }
    void on_response(StreamToken token, ResponseHead& head, bool ended) override {
      if (auto* exchange = world.find(token)) exchange->on_response(head, ended);
    }
    void on_response_body(StreamToken token, std::string_view bytes) override {
      if (auto* exchange = world.find(token)) exchange->on_response_body(bytes);
    }
    void on_response_end(StreamToken token, const Fields* trailers) override {
      if (auto* exchange = world.find(token)) exchange->on_response_end(trailers);
    }
    void on_request_taken(StreamToken token, std::size_t bytes) override {
      if (auto* exchange = world.find(token)) exchange->on_request_taken(bytes);
    }
    void on_failed(StreamToken token, const Failure& failure) override {
      if (auto* exchange = world.find(token)) exchange->on_failed(failure);
    }
    bool has_room() const {
      return !link->b().is_dead && !link->a().is_dead && !link->a().is_ending &&
             session->is_reusable() && session->capacity() > 0;
    }
    World& world;
    BackendId id;
    bool is_used = false;
    std::unique_ptr<ClientSession> session;
    std::unique_ptr<Origin> origin;
    std::unique_ptr<Link> link;  // a: the proxy
  };

  static constexpr std::size_t kClients = 4, kBackends = 6;

  // ---- ExchangeHost
  ServerSession* frontend_of(const Exchange& exchange) override {
    for (auto& one : frontends_)
      if (one->id == exchange.frontend())
        return one->link->b().is_dead ? nullptr : one->session.get();
    return nullptr;
  }
  ClientSession* backend_of(const Exchange& exchange) override {
    for (auto& one : backends_)
      if (one->id == exchange.backend())
        return one->link->a().is_dead ? nullptr : one->session.get();
    return nullptr;
  }
  void retry(Exchange& exchange) override { waiting_.push_back(exchange.id()); }
  bool wants_retry(Exchange&, const FailedAttempt&) override { return false; }
  void leave_queue(Exchange& exchange) override { std::erase(waiting_, exchange.id()); }
  bool on_response_head(Exchange&, ResponseHead&) override { return true; }
  void on_attempt_over(Exchange&, AttemptEnd) override { --attempts_; }
  void on_exchange_done(Exchange& exchange) override { done_.push_back(exchange.id()); }

  StreamToken begin(FrontendId from, StreamId stream, RequestHead& head, bool ended) {
    auto made = std::make_unique<Exchange>(*this, timers_);
    Exchange& exchange = *made;
    exchange.assign_id(exchanges_.insert(std::move(made)));
    exchange.begin(from, stream, head, ended);
    ExchangeTimeouts timeouts;
    if (script_.has_faults)
      timeouts = {.response = std::chrono::seconds(20),
                  .stall = std::chrono::seconds(10),
                  .body_period = std::chrono::seconds(5),
                  .body_rate = 500,
                  .body_bytes = 0};
    exchange.go_to_backend(timeouts);
    waiting_.push_back(exchange.id());
    return exchange.id().packed();
  }
  Exchange* find(StreamToken token) { return exchanges_.find(ExchangeId::unpack(token)); }

  // ---- what happens
  void step() {
    if (frontends_.size() < kClients && script_.next < script_.end && random_.below(4) == 0)
      add_frontend();
    if (!waiting_.empty()) serve_waiting();
    const std::size_t all = frontends_.size() + backends_.size();
    if (all == 0) return;
    const std::size_t chosen = random_.below(all);
    if (chosen < frontends_.size()) {
      Frontend& one = *frontends_[chosen];
      random_.below(2) == 0 && !one.link->a().is_dead ? one.client->act(random_)
                                                      : one.link->step(random_);
      disturb(*one.link);
    } else {
      Backend& one = *backends_[chosen - frontends_.size()];
      random_.below(2) == 0 && !one.link->b().is_dead ? one.origin->act(random_)
                                                      : one.link->step(random_);
      disturb(*one.link);
    }
    reap();
  }

  void disturb(Link& link) {
    if (random_.below(300) == 0) link.hold(random_.below(3) == 0 ? 0 : random_.below(200'000));
    if (!script_.has_faults) return;
    if (random_.below(20'000) == 0) link.cut();
    if (random_.below(20'000) == 0) link.half_close();
  }

  void add_frontend() {
    auto one = std::make_unique<Frontend>(*this);
    one->id = {++last_id_, 1};
    const bool is_h2 = random_.below(2) == 0;
    ServerEvents& events = *one;
    if (is_h2)
      one->session = std::make_unique<Http2ServerSession>(limits_, clock_, events);
    else
      one->session = std::make_unique<Http1ServerSession>(limits_, clock_, events, "https");
    one->client = std::make_unique<Client>(script_, is_h2, limits_, clock_);
    one->link = std::make_unique<Link>(one->client->session(), *one->session);
    frontends_.push_back(std::move(one));
  }

  void serve_waiting() {
    Backend* room = nullptr;
    for (auto& one : backends_)
      if (one->has_room()) room = one.get();
    if (!room && backends_.size() < kBackends) room = &add_backend();
    if (!room || !room->has_room()) return;
    const ExchangeId next = waiting_.front();
    waiting_.pop_front();
    Exchange* exchange = exchanges_.find(next);
    if (!exchange) return;
    ++attempts_;
    exchange->begin_attempt();
    exchange->on_assigned(room->id, *room->session, std::exchange(room->is_used, true));
  }

  Backend& add_backend() {
    backends_.push_back(std::make_unique<Backend>(*this));
    Backend& one = *backends_.back();
    one.id = {++last_id_, 1};
    const bool is_h2 = random_.below(2) == 0;
    ClientEvents& events = one;
    if (is_h2)
      one.session = std::make_unique<Http2ClientSession>(limits_, clock_, events, "http");
    else
      one.session = std::make_unique<Http1ClientSession>(limits_, events);
    one.origin = std::make_unique<Origin>(script_, is_h2, limits_, clock_);
    one.link = std::make_unique<Link>(*one.session, one.origin->session());
    return one;
  }

  void tick() {
    clock_.advance(std::chrono::milliseconds(1 + random_.below(4)));
    timers_.refresh();
    timers_.fire_due();
    // A client that cannot ask any more goes; so does a pooled connection that is of no use.
    for (auto& one : frontends_)
      if (one->client->is_idle() && (!one->client->is_usable() || script_.next >= script_.end))
        one->link->cut();
    for (auto& one : backends_)
      if (one->session->open_streams() == 0 && !one->session->is_reusable()) one->link->cut();
    reap();
  }

  void reap() {
    for (const ExchangeId id : std::exchange(done_, {})) exchanges_.erase(id);
    std::erase_if(frontends_, [](const auto& one) { return one->link->is_over(); });
    std::erase_if(backends_, [](const auto& one) { return one->link->is_over(); });
  }

  std::size_t left_over() const {
    std::size_t open = 0;
    for (const auto& [number, outcome] : script_.outcomes) open += !outcome.is_over;
    return open + (script_.end - script_.next) + exchanges_.size();
  }

  bool has_open_backend_streams() const {
    return std::any_of(backends_.begin(), backends_.end(), [](const auto& one) {
      return !one->link->a().is_dead && one->session->open_streams() != 0;
    });
  }

  /// A stream that was cancelled last is open until its RST_STREAM is out, which may be held.
  void settle() {
    for (auto& one : backends_) one->link->hold(1'000'000);
    for (int step = 0; step < 1000 && has_open_backend_streams(); ++step)
      for (auto& one : backends_) one->link->step(random_);
    reap();
  }

  /// Ids, attempts and streams back to none; in a world without faults every answer was whole.
  bool is_left_clean() {
    settle();
    if (has_open_backend_streams()) complaint = "a backend stream is left open";
    for (auto& one : frontends_)
      if (!one->link->b().is_dead && one->session->open_streams() != 0)
        complaint = "a frontend stream is left open";
    if (!waiting_.empty() || attempts_ != 0)
      complaint = "an exchange is left waiting, or an attempt open";
    for (const auto& [number, outcome] : script_.outcomes)
      if (!script_.has_faults && !(outcome.is_whole && outcome.processed == 1))
        script_.complain(number, "not answered once and whole though nothing failed");
    return complaint.empty();
  }

  SeededRandom random_;
  FakeClock clock_;
  TimerQueue timers_;
  Limits limits_;
  Script script_;
  std::uint64_t steps_ = 0;
  std::uint32_t last_id_ = 0;
  int attempts_ = 0;
  std::deque<ExchangeId> waiting_;
  std::vector<ExchangeId> done_;
  SlotMap<Exchange> exchanges_;
  std::vector<std::unique_ptr<Backend>> backends_;
  std::vector<std::unique_ptr<Frontend>> frontends_;
};

}  // namespace gatehouse::proxy::sim
