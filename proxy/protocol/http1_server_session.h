#pragma once
// The server role of HTTP/1.1 (RFC 9112): keep-alive, pipelining one request at a time, bodies both
// ways, refusals of malformed requests. Owned by a frontend connection.
//
// What it decides:
//  - Requests are handled in order: bytes behind the open request wait, up to a bound.
//  - A response head that is sent before the whole request has come says "Connection: close", and
//  the
//    connection ends behind it: nobody can tell whether the rest of the body would follow.
//  - "100 Continue" is never made up here. head.expects_continue goes to the backend with the
//  request,
//    and what it answers comes back by send_interim(). Interim responses are not for HTTP/1.0
//    clients.
//  - A request with Upgrade is an ordinary one until its handler answers 101. From then on the
//    connection is a tunnel; what came behind the request is its first bytes.
//  - Every command for a stream that is over is ignored. on_closed() comes from feed(), produce()
//  or
//    on_connection_lost(), never from inside a command.

#include <optional>
#include <string>

#include "daemon/base/clock.h"
#include "proxy/options.h"
#include "proxy/protocol/http1_output.h"
#include "proxy/protocol/http1_parser.h"
#include "proxy/protocol/session.h"

namespace gatehouse::proxy {

class Http1ServerSession final : public ServerSession {
 public:
  /// `scheme` is the connection's: "https" or "http".
  Http1ServerSession(const Limits& limits, const Clock& clock, ServerEvents& events,
                     std::string_view scheme);

  bool feed(std::string_view bytes) override;
  void on_end_of_input() override;
  void on_connection_lost() override;
  bool produce(FlatBuffer& out, std::size_t most) override;
  bool wants_input() const override;
  bool is_finished() const override;
  bool is_mid_head() const override;
  std::size_t open_streams() const override { return is_open_ ? 1 : 0; }
  bool is_tunnel() const override { return is_tunnel_ && is_open_; }
  bool has_ended_output() const override { return is_tunnel_ && output_.is_whole(); }
  void shrink() override;
  void send_body(StreamId stream, std::string_view bytes) override;
  void send_end(StreamId stream, const Fields* trailers) override;
  void reset(StreamId stream, Reset reason) override;
  void acknowledge(StreamId stream, std::size_t bytes) override;
  std::uint64_t head_number() const override { return stream_; }
  void send_interim(StreamId stream, const ResponseHead& head) override;
  void send_response(StreamId stream, const ResponseHead& head, bool ended) override;
  bool take_back_response(StreamId stream) override;
  bool must_break_off(bool is_all_written) const override {
    return ends_with_connection_ && (was_cut_ || !is_all_written);
  }
  void drain() override;
  void time_out_head() override;

 private:
  bool is_live(StreamId stream) const { return is_open_ && stream == stream_ && !reset_; }
  bool can_parse() const { return !is_closing_ && !reset_ && (!is_open_ || !is_request_ended_); }
  void parse(std::string_view& input);
  void take_tunnel_bytes(std::string_view bytes);
  void open_tunnel(const ResponseHead& head);
  void on_head();
  void on_violation(const Http1Parser::Violation& violation);
  void refuse(int status, const char* detail);
  void write_error(int status, bool with_body);
  void write_head(const ResponseHead& head);
  Http1Output::Framing write_framing(const ResponseHead& head, bool ended, std::uint64_t& length);
  void finish();
  void close_stream(Reset reason);

  ServerEvents& events_;
  const Clock& clock_;
  const std::string scheme_;
  const std::size_t credit_max_;
  Http1Parser parser_;
  Http1Output output_;
  FlatBuffer waiting_;           // input behind the open request
  std::size_t outstanding_ = 0;  // body bytes delivered, not acknowledged
  StreamId stream_ = 0;
  StreamToken token_ = 0;
  bool is_open_ = false;
  bool is_request_ended_ = false;
  bool has_response_begun_ = false;
  bool ends_with_connection_ = false;  // the response: its end is the connection's
  bool was_cut_ = false;               // the last one
  bool keeps_alive_ = true;
  bool is_http10_ = false;
  bool is_head_request_ = false;
  bool is_tunnel_ = false;
  bool is_closing_ = false;  // nothing is read any more; the output is the last
  bool is_input_ended_ = false;
  unsigned drains_ = 0;
  std::optional<Reset> reset_;  // on_closed() is still to be told
};

}  // namespace gatehouse::proxy
