#pragma once
// HTTP/2 towards backends, by prior knowledge or after ALPN: requests go out, responses come in
// (RFC 9113 section 8). A response that breaks a rule fails its stream with kProtocol; a peer that
// floods loses the connection. After the handler's own reset() nothing more is told of that stream,
// because its exchange may be with another backend by then.

#include <string>

#include "proxy/protocol/http2_session.h"

namespace gatehouse::proxy {

class Http2ClientSession final : public ClientSession, public Http2Session {
 public:
  /// `limits`, `clock` and `events` outlive the session. `scheme`: of the connection, static text.
  Http2ClientSession(const Limits& limits, const Clock& clock, ClientEvents& events,
                     std::string_view scheme);

  bool feed(std::string_view bytes) override { return Http2Session::feed(bytes); }
  void on_end_of_input() override { lose_connection("end_of_input"); }
  void on_connection_lost() override { lose_connection("connection_lost"); }
  bool produce(FlatBuffer& out, std::size_t most) override {
    return Http2Session::produce(out, most);
  }
  bool wants_input() const override { return Http2Session::wants_input(); }
  bool is_finished() const override { return Http2Session::is_finished(); }
  bool is_mid_head() const override { return Http2Session::is_mid_head(); }
  std::size_t open_streams() const override { return Http2Session::open_streams(); }
  void shrink() override { Http2Session::shrink(); }
  void send_body(StreamId stream, std::string_view bytes) override {
    Http2Session::send_body(stream, bytes);
  }
  void send_end(StreamId stream, const Fields* trailers) override {
    Http2Session::send_end(stream, trailers);
  }
  void reset(StreamId stream, Reset reason) override { Http2Session::reset(stream, reason); }
  void acknowledge(StreamId stream, std::size_t bytes) override {
    Http2Session::acknowledge(stream, bytes);
  }

  StreamId send_request(const RequestHead& head, bool ended, StreamToken token) override;
  std::size_t capacity() const override;
  bool is_reusable() const override { return may_request(); }
  bool is_ready() const override { return is_ready_; }
  bool takes_upgrades() const override { return peer_takes_extended_connect(); }
  void ping() override { submit_ping(); }

 private:
  std::optional<StreamPast> past_of(StreamId id) const override;
  void on_new_id(StreamId) override {}
  void on_head_begin(Stream& stream) override;
  void on_head(Stream& stream, bool ended) override;
  void on_malformed_head(Stream& stream, const char* detail) override;
  void on_body(Stream& stream, std::string_view bytes) override;
  void on_body_end(Stream& stream) override { finish(stream, nullptr); }
  void on_settings() override { is_ready_ = true; }
  void on_taken(Stream& stream, std::size_t bytes) override;
  void on_end_sent(Stream&) override {}
  void on_stream_over(Stream& stream, const StreamEnd& end) override;

  void on_response(Stream& stream, bool ended);
  void on_trailers(Stream& stream);
  void open_tunnel(Stream& stream, ResponseHead& head);
  void finish(Stream& stream, const Fields* trailers);

  ClientEvents& events_;
  const std::string_view scheme_;
  bool is_ready_ = false;
};

}  // namespace gatehouse::proxy
