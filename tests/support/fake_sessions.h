#pragma once
// Sessions of both sides that write down what they are told: for tests of what joins them.

#include <string>

#include "proxy/protocol/session.h"

namespace gatehouse::proxy {

/// The part that both roles share. `said` is a list of commands, each with a newline.
template <class Base>
class FakeSession : public Base {
 public:
  std::string said;
  std::string body;              // given by send_body()
  std::size_t acknowledged = 0;  // given by acknowledge()

  bool feed(std::string_view) override { return true; }
  void on_end_of_input() override {}
  void on_connection_lost() override {}
  bool produce(FlatBuffer&, std::size_t) override { return false; }
  bool wants_input() const override { return true; }
  bool is_finished() const override { return false; }
  bool is_mid_head() const override { return false; }
  std::size_t open_streams() const override { return 1; }
  void shrink() override {}
  void send_body(StreamId, std::string_view bytes) override { body.append(bytes); }
  void send_end(StreamId, const Fields* trailers) override {
    said += trailers && !trailers->empty() ? "end with trailers\n" : "end\n";
  }
  void reset(StreamId, Reset reason) override {
    said += "reset " + std::string(to_string(reason)) + "\n";
  }
  void acknowledge(StreamId, std::size_t bytes) override { acknowledged += bytes; }
};

class FakeServerSession final : public FakeSession<ServerSession> {
 public:
  void send_interim(StreamId, const ResponseHead& head) override {
    said += "interim " + std::to_string(head.status) + "\n";
  }
  void send_response(StreamId, const ResponseHead& head, bool ended) override {
    last_head = head;
    said += "response " + std::to_string(head.status) + (ended ? " whole\n" : "\n");
  }
  bool take_back_response(StreamId) override {
    if (is_response_out) return false;
    said += "take back\n";
    body.clear();
    return true;
  }
  ResponseHead last_head;
  bool is_response_out = true;  // produce() has given some of it out
  void drain() override {}
  void time_out_head() override {}
};

class FakeClientSession final : public FakeSession<ClientSession> {
 public:
  StreamId send_request(const RequestHead& head, bool ended, StreamToken) override {
    last_request = head;
    said += "request " + head.method + " " + head.path + (ended ? " whole\n" : "\n");
    return ++streams;
  }
  std::size_t capacity() const override { return 1; }
  bool is_reusable() const override { return true; }
  bool is_ready() const override { return true; }
  bool takes_upgrades() const override { return upgrades; }
  bool upgrades = true;
  StreamId streams = 0;
  RequestHead last_request;
};

}  // namespace gatehouse::proxy
