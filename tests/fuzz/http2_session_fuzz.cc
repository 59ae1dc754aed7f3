// Any bytes to both roles of an HTTP/2 session, with a handler that answers, echoes, resets and
// acknowledges as the bytes say. Judged besides the sanitizers: each stream has exactly one end,
// and no credit is given that was not taken.

#include <cstddef>
#include <cstdint>
#include <set>
#include <string_view>

#include "daemon/base/error.h"
#include "proxy/protocol/http2_client_session.h"
#include "proxy/protocol/http2_server_session.h"

namespace gatehouse::proxy {
namespace {

class StandingClock final : public Clock {
 public:
  SteadyTime steady_now() const override { return SteadyTime(std::chrono::hours(1)); }
  WallTime wall_now() const override { return {}; }
};

void drain_output(Session& session) {
  FlatBuffer out;
  for (bool more = true; more; out.clear()) more = session.produce(out, 16 * 1024);
}

class ServerHarness final : public ServerEvents {
 public:
  explicit ServerHarness(std::uint8_t mode) : mode_(mode) {}

  void run(std::string_view bytes, std::size_t piece) {
    drain_output(session_);
    bool goes_on = session_.feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    while (goes_on && !bytes.empty()) {
      const std::string_view part = bytes.substr(0, piece);
      bytes.remove_prefix(part.size());
      goes_on = session_.feed(part);
      drain_output(session_);
    }
    session_.shrink();
    session_.on_connection_lost();
    check(open_.empty(), "a stream without an end");
  }

  StreamToken on_request(StreamId id, RequestHead& head, bool ended) override {
    check(!head.method.empty() && !head.path.empty() && !head.authority.empty(), "a head is whole");
    check(open_.insert(id).second, "a stream is told twice");
    if (ended || (mode_ & 1) != 0) answer(id);
    if ((mode_ & 2) != 0 && id % 4 == 1) session_.reset(id, Reset::kCancel);
    return id;
  }
  void on_request_body(StreamToken token, std::string_view bytes) override {
    check(open_.count(token) == 1, "a body for a dead stream");
    if ((mode_ & 4) == 0) session_.acknowledge(static_cast<StreamId>(token), bytes.size());
  }
  void on_request_end(StreamToken token, const Fields*) override {
    check(open_.count(token) == 1, "an end for a dead stream");
    if ((mode_ & 1) == 0) answer(static_cast<StreamId>(token));
  }
  void on_response_taken(StreamToken token, std::size_t) override {
    check(open_.count(token) == 1, "credit for a dead stream");
  }
  void on_closed(StreamToken token, Reset) override {
    check(open_.erase(token) == 1, "a stream ends twice");
  }
  void on_refused(const RequestHead&, int, std::string_view) override {}

 private:
  void answer(StreamId id) {
    if ((mode_ & 8) != 0) return;
    ResponseHead head;
    head.status = 200;
    session_.send_response(id, head, false);
    session_.send_body(id, "hello");
    Fields trailers;
    trailers.add("x", "y");
    session_.send_end(id, (mode_ & 16) != 0 ? &trailers : nullptr);
  }

  const std::uint8_t mode_;
  Limits limits_;
  StandingClock clock_;
  Http2ServerSession session_{limits_, clock_, *this};
  std::set<StreamToken> open_;
};

class ClientHarness final : public ClientEvents {
 public:
  void run(std::string_view bytes, std::size_t piece) {
    RequestHead head;
    head.method = "POST";
    head.authority = "a.example";
    head.path = "/";
    for (StreamToken token = 1; token <= 4; ++token) {
      open_.insert(token);
      const StreamId id = session_.send_request(head, token % 2 == 0, token);
      session_.send_body(id, "body");
    }
    drain_output(session_);
    for (bool goes_on = true; goes_on && !bytes.empty();) {
      const std::string_view part = bytes.substr(0, piece);
      bytes.remove_prefix(part.size());
      goes_on = session_.feed(part);
      drain_output(session_);
    }
    session_.shrink();
    session_.on_connection_lost();
    check(open_.empty(), "a stream without an end");
  }

  void on_interim(StreamToken token, ResponseHead&) override { check_open(token); }
  void on_response(StreamToken token, ResponseHead& head, bool) override {
    check_open(token);
    check(head.status >= 200 && head.status <= 599, "a final status");
  }
  void on_response_body(StreamToken token, std::string_view bytes) override {
    check_open(token);
    session_.acknowledge(static_cast<StreamId>(2 * token - 1), bytes.size());
  }
  void on_response_end(StreamToken token, const Fields*) override { end(token); }
  void on_request_taken(StreamToken token, std::size_t) override { check_open(token); }
  void on_failed(StreamToken token, const Failure&) override { end(token); }

 private:
  void check_open(StreamToken token) {
    check(open_.count(token) == 1, "an event for a dead stream");
  }
  void end(StreamToken token) { check(open_.erase(token) == 1, "a stream ends twice"); }

  Limits limits_;
  StandingClock clock_;
  Http2ClientSession session_{limits_, clock_, *this, "https"};
  std::set<StreamToken> open_;
};

}  // namespace
}  // namespace gatehouse::proxy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t piece = 1 + data[1] * 16u;
  if ((data[0] & 0x80) != 0)
    gatehouse::proxy::ClientHarness().run(bytes, piece);
  else
    gatehouse::proxy::ServerHarness(data[0]).run(bytes, piece);
  return 0;
}
