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
//  - "Connection: close" is never sent, Upgrade neither; 101 is malformed.
//  - reset() ends a stream without a further event. The connection survives when no byte of the
//    request has gone out.
//  - Failures that are safe to retry: see ClientEvents::Failure.

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
  void shrink() override;
  void send_body(StreamId stream, std::string_view bytes) override;
  void send_end(StreamId stream, const Fields* trailers) override;
  void reset(StreamId stream, Reset reason) override;
  void acknowledge(StreamId stream, std::size_t bytes) override;
  StreamId send_request(const RequestHead& head, bool ended, StreamToken token) override;
  std::size_t capacity() const override { return is_broken_ || is_open_ ? 0 : 1; }
  bool is_reusable() const override { return !is_broken_; }
  bool is_ready() const override { return true; }

 private:
  bool is_live(StreamId stream) const { return is_open_ && stream == stream_; }
  void parse(std::string_view& input);
  void on_head(bool has_more);
  void finish(const Fields* trailers, bool has_surplus);
  void poison();
  void fail(Reset reason, const char* detail);
  void write_head(const RequestHead& head, bool ended);

  ClientEvents& events_;
  const std::size_t credit_max_;
  const std::uint32_t interim_max_;
  Http1Parser parser_;
  Http1Output output_;
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
};

}  // namespace gatehouse::proxy
