#pragma once
// The client role of HTTP/1.1 (RFC 9112): one request at a time on a connection to a backend, kept
// for the next one when both messages were whole and the backend agrees. Owned by a backend
// connection.
//
// What it decides:
//  - A byte that belongs to no response, behind one or while idle, makes the connection unusable:
//    is_reusable() is false and is_finished() true, and nobody is told otherwise.
//  - A response may come before the request has gone out; both go on. When it is whole and the
//  request
//    is not, the connection is not used again.
//  - "Connection: close" is never sent. Upgrade is, for a WebSocket; the 101 that grants it must
//    prove by Sec-WebSocket-Accept that it was meant, and the connection is a tunnel then. Any
//    other 101 is malformed.
//  - reset() ends a stream without a further event. The connection survives when no byte of the
//    request has gone out.
//  - Failures that are safe to retry: see ClientEvents::Failure.
//  - The credit of a response begins with Limits::response_credit and doubles as the other side
//    takes bytes: a client that opens many streams and takes nothing of them costs little.

#include <string>

#include "proxy/options.h"
#include "proxy/protocol/http1_output.h"
#include "proxy/protocol/http1_parser.h"
#include "proxy/protocol/session.h"

namespace gatehouse::proxy {

class Http1ClientSession final : public ClientSession {
 public:
  Http1ClientSession(const Limits& limits, ClientEvents& events);

  bool feed(std::string_view bytes) override;
  void on_end_of_input() override;
  void on_connection_lost() override;
  bool produce(FlatBuffer& out, std::size_t most) override;
  bool wants_input() const override;
  bool is_finished() const override { return is_broken_ && !is_open_; }
  bool is_mid_head() const override { return is_open_ && parser_.is_mid_head(); }
  std::size_t open_streams() const override { return is_open_ ? 1 : 0; }
  bool is_tunnel() const override { return is_tunnel_ && is_open_; }
  bool has_ended_output() const override { return is_tunnel_ && output_.is_whole(); }
  void shrink() override;
  void send_body(StreamId stream, std::string_view bytes) override;
  void send_end(StreamId stream, const Fields* trailers) override;
  void reset(StreamId stream, Reset reason) override;
  void acknowledge(StreamId stream, std::size_t bytes) override;
  StreamId send_request(const RequestHead& head, bool ended, StreamToken token) override;
  std::size_t capacity() const override { return is_broken_ || is_open_ ? 0 : 1; }
  bool is_reusable() const override { return !is_broken_; }
  bool is_ready() const override { return true; }
  std::size_t input_room() const override;

 private:
  bool is_live(StreamId stream) const { return is_open_ && stream == stream_; }
  void parse(std::string_view& input);
  void on_head(bool has_more);
  void on_switch(ResponseHead& head);
  void finish(const Fields* trailers, bool has_surplus);
  void poison();
  void fail(Reset reason, const char* detail);
  void write_head(const RequestHead& head, bool ended);

  ClientEvents& events_;
  const std::size_t credit_max_, first_credit_;
  std::size_t credit_ = 0;  // what may be outstanding now
  std::size_t taken_ = 0;   // acknowledged, while that is still growing
  const std::uint32_t interim_max_;
  Http1Parser parser_;
  Http1Output output_;
  std::string accept_;           // the Sec-WebSocket-Accept that a 101 has to have
  std::size_t outstanding_ = 0;  // body bytes delivered, not acknowledged
  StreamId stream_ = 0;
  StreamToken token_ = 0;
  std::uint32_t interims_ = 0;
  bool is_open_ = false;
  bool is_broken_ = false;     // no further request will fit
  bool is_poisoned_ = false;   // on_failed() is still to be told
  bool has_received_ = false;  // a byte of the answer has come
  bool has_final_head_ = false;
  bool keeps_alive_ = true;
  bool is_request_whole_ = false;  // it went out to its end
  bool is_tunnel_ = false;
  bool has_tunnel_ended_ = false;  // the backend's side of it
};

}  // namespace gatehouse::proxy
