#pragma once
// The two ends of the simulation: clients that ask, and origins that answer, each after its plan.

#include <charconv>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "proxy/options.h"
#include "proxy/protocol/http1_client_session.h"
#include "proxy/protocol/http1_server_session.h"
#include "proxy/protocol/http2_client_session.h"
#include "proxy/protocol/http2_server_session.h"
#include "tests/sim/plan.h"

namespace gatehouse::proxy::sim {

/// What peers share with the world.
struct Script {
  std::uint64_t seed = 0;
  bool has_faults = false;
  std::uint64_t next = 1, end = 1;  // numbers of exchanges
  std::map<std::uint64_t, Outcome> outcomes;
  std::function<void(std::uint64_t number, const char* what)> complain;
};

inline std::uint64_t number_of(std::string_view text) {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// A body on its way out: in pieces, never more than a little ahead of what was taken.
struct Sending {
  std::uint64_t key = 0;
  std::size_t size = 0, sent = 0, taken = 0;
  bool is_ended = false;

  /// The next piece; empty: not now.
  std::string next(Random& random) {
    if (sent - taken > 100'000) return {};
    std::string piece =
        body_piece(key, sent, std::min<std::size_t>(size - sent, random.below(20'000)));
    sent += piece.size();
    return piece;
  }
  bool is_done() const { return sent == size; }
};

class Client final : public ClientEvents {
 public:
  Client(Script& script, bool is_h2, const Limits& limits, const Clock& clock) : script_(script) {
    if (is_h2)
      session_ = std::make_unique<Http2ClientSession>(limits, clock, *this, "https");
    else
      session_ = std::make_unique<Http1ClientSession>(limits, *this);
  }

  Session& session() { return *session_; }
  bool is_idle() const { return asked_.empty(); }
  bool is_usable() const { return session_->is_reusable(); }

  /// Asks, sends on, gives credit back, or changes its mind.
  void act(Random& random) {
    if (script_.next < script_.end && session_->is_reusable() && session_->capacity() > 0 &&
        asked_.size() < 20 && random.below(2) == 0)
      ask();
    for (auto it = asked_.begin(); it != asked_.end();) {
      const auto here = it++;
      if (random.below(2) == 0) go_on(here->first, here->second, random);
    }
  }

 private:
  struct Asked {
    StreamId stream = 0;
    Plan plan;
    Sending body;
    int status = 0;
    std::size_t got = 0, unacknowledged = 0;
  };

  void ask() {
    const std::uint64_t number = script_.next++;
    Asked& asked = asked_[number];
    asked.plan = Plan::of(script_.seed, number, script_.has_faults);
    asked.body = {number, asked.plan.up};
    const bool is_whole = asked.plan.up == 0;
    RequestHead head;
    head.method = is_whole ? "GET" : "POST";
    head.scheme = "https";
    head.authority = "sim.test";
    head.path = "/" + std::to_string(number);
    if (asked.plan.says_up && !is_whole) head.content_length = asked.plan.up;
    script_.outcomes[number].has_sent_end = is_whole;
    asked.body.is_ended = is_whole;
    asked.stream = session_->send_request(head, is_whole, number);
  }

  void go_on(std::uint64_t number, Asked& asked, Random& random) {
    if (asked.unacknowledged > 0 && random.below(3) > 0) {
      const std::size_t some = 1 + random.below(asked.unacknowledged);
      asked.unacknowledged -= some;
      session_->acknowledge(asked.stream, some);
    }
    if (asked.plan.client_cancels && random.below(20) == 0) {
      session_->reset(asked.stream, Reset::kCancel);
      return over(number, false);
    }
    if (asked.body.is_ended) return;
    const std::string piece = asked.body.next(random);
    if (!piece.empty()) session_->send_body(asked.stream, piece);
    if (!asked.body.is_done()) return;
    asked.body.is_ended = true;
    script_.outcomes[number].has_sent_end = true;
    Fields trailers;
    trailers.add("x-number", std::to_string(number));
    session_->send_end(asked.stream, asked.plan.has_up_trailers ? &trailers : nullptr);
  }

  void over(std::uint64_t number, bool is_whole) {
    Outcome& outcome = script_.outcomes[number];
    outcome.is_over = true;
    outcome.is_whole = is_whole;
    asked_.erase(number);
  }

  void on_interim(StreamToken, ResponseHead&) override {}
  void on_response(StreamToken number, ResponseHead& head, bool) override {
    Asked& asked = asked_.at(number);
    asked.status = head.status;
    const auto said = head.fields.find("x-number");
    if (head.status == 200 && (!said || number_of(*said) != number))
      script_.complain(number, "the answer is another's");
    if (head.status != 200 && head.status != 408 && head.status < 502)
      script_.complain(number, "an unexpected status");
  }
  void on_response_body(StreamToken number, std::string_view bytes) override {
    Asked& asked = asked_.at(number);
    if (asked.status == 200 && !is_body(~number, asked.got, bytes))
      script_.complain(number, "a wrong byte in the response");
    asked.got += bytes.size();
    asked.unacknowledged += bytes.size();
  }
  void on_response_end(StreamToken number, const Fields* trailers) override {
    const Asked& asked = asked_.at(number);
    if (asked.status == 200 && asked.got != asked.plan.down)
      script_.complain(number, "a cut response looks whole");
    if (trailers && number_of(trailers->find("x-number").value_or("")) != number)
      script_.complain(number, "the trailers are another's");
    over(number, asked.status == 200);
  }
  void on_request_taken(StreamToken number, std::size_t bytes) override {
    asked_.at(number).body.taken += bytes;
  }
  void on_failed(StreamToken number, const Failure&) override { over(number, false); }

  Script& script_;
  std::unique_ptr<ClientSession> session_;
  std::map<std::uint64_t, Asked> asked_;
};

class Origin final : public ServerEvents {
 public:
  Origin(Script& script, bool is_h2, const Limits& limits, const Clock& clock) : script_(script) {
    if (is_h2)
      session_ = std::make_unique<Http2ServerSession>(limits, clock, *this);
    else
      session_ = std::make_unique<Http1ServerSession>(limits, clock, *this, "http");
  }

  Session& session() { return *session_; }

  void act(Random& random) {
    for (auto& [token, work] : works_)
      if (random.below(2) == 0) go_on(work, random);
  }

 private:
  struct Work {
    std::uint64_t number = 0;
    StreamId stream = 0;
    Plan plan;
    Sending body;
    std::size_t got = 0, unacknowledged = 0;
    unsigned interims = 0;  // A proxy takes only so many.
    bool is_whole = false, has_answered = false, is_given_up = false;
  };

  void go_on(Work& work, Random& random) {
    if (work.unacknowledged > 0 && random.below(3) > 0) {
      const std::size_t some = 1 + random.below(work.unacknowledged);
      work.unacknowledged -= some;
      session_->acknowledge(work.stream, some);
    }
    if (work.is_given_up || work.body.is_ended || !(work.is_whole || work.plan.answers_early))
      return;
    if (!work.has_answered) return answer(work, random);
    if (work.plan.origin_cuts && work.body.sent >= work.plan.at) {
      work.is_given_up = true;
      return session_->reset(work.stream, Reset::kInternal);
    }
    const std::string piece = work.body.next(random);
    if (!piece.empty()) session_->send_body(work.stream, piece);
    if (work.body.is_done()) end(work);
  }

  void answer(Work& work, Random& random) {
    if (work.plan.has_interim && work.interims < 4 && random.below(2) == 0) {
      ++work.interims;
      ResponseHead hints;
      hints.status = 103;
      return session_->send_interim(work.stream, hints);
    }
    work.has_answered = true;
    ResponseHead head;
    head.status = 200;
    head.fields.add("x-number", std::to_string(work.number));
    if (work.plan.says_down || work.plan.down == 0) head.content_length = work.plan.down;
    work.body = {~work.number, work.plan.down};
    work.body.is_ended = work.plan.down == 0;
    session_->send_response(work.stream, head, work.plan.down == 0);
  }

  void end(Work& work) {
    work.body.is_ended = true;
    Fields trailers;
    trailers.add("x-number", std::to_string(work.number));
    session_->send_end(work.stream, work.plan.has_down_trailers ? &trailers : nullptr);
  }

  StreamToken on_request(StreamId stream, RequestHead& head, bool ended) override {
    const StreamToken token = ++last_token_;
    Work& work = works_[token];
    work.number = number_of(std::string_view(head.path).substr(1));
    work.stream = stream;
    work.plan = Plan::of(script_.seed, work.number, script_.has_faults);
    work.is_whole = ended;
    if (!script_.outcomes.contains(work.number) ||
        head.method != (work.plan.up == 0 ? "GET" : "POST"))
      script_.complain(work.number, "a request that nobody made");
    if (ended && work.plan.up != 0) script_.complain(work.number, "a request without its body");
    if (work.plan.origin_refuses && script_.outcomes[work.number].processed == 0 &&
        !refused_[work.number]++) {
      work.is_given_up = true;
      session_->reset(stream, Reset::kRefused);
    } else if (++script_.outcomes[work.number].processed > 1 && head.method == "POST") {
      script_.complain(work.number, "a request with effects came twice");
    }
    return token;
  }
  void on_request_body(StreamToken token, std::string_view bytes) override {
    Work& work = works_.at(token);
    if (!is_body(work.number, work.got, bytes))
      script_.complain(work.number, "a wrong byte in the request");
    work.got += bytes.size();
    work.unacknowledged += bytes.size();
  }
  void on_request_end(StreamToken token, const Fields*) override {
    Work& work = works_.at(token);
    work.is_whole = true;
    if (work.got != work.plan.up || !script_.outcomes[work.number].has_sent_end)
      script_.complain(work.number, "a cut request looks whole");
  }
  void on_response_taken(StreamToken token, std::size_t bytes) override {
    works_.at(token).body.taken += bytes;
  }
  void on_closed(StreamToken token, Reset) override { works_.erase(token); }
  void on_refused(const RequestHead&, int, std::string_view detail) override {
    script_.complain(0, std::string(detail).c_str());
  }

  Script& script_;
  std::unique_ptr<ServerSession> session_;
  StreamToken last_token_ = 0;
  std::map<StreamToken, Work> works_;
  std::map<std::uint64_t, int> refused_;
};

}  // namespace gatehouse::proxy::sim
