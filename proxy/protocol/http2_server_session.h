#pragma once
// HTTP/2 towards visitors: requests come in, responses go out (RFC 9113 section 8). What the
// request head guarantees is in message.h. A malformed request is reset with PROTOCOL_ERROR, one
// beyond the limits answered with 431 or 414, CONNECT with 501 unless it asks for a WebSocket
// (upgrade.h); on_refused() is told in each case.
// A response that ends before its request is followed by RST_STREAM(NO_ERROR), section 8.1.
// A response head waits here until output is made: until then it can be taken back, which nghttp2
// does not know of.

#include "proxy/protocol/http2_session.h"

namespace gatehouse::proxy {

class Http2ServerSession final : public ServerSession, public Http2Session {
 public:
  /// `limits`, `clock` and `events` outlive the session.
  Http2ServerSession(const Limits& limits, const Clock& clock, ServerEvents& events);

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
  void shrink() override {
    if (waiting_count_ == 0) waiting_heads_ = {};
    Http2Session::shrink();
  }
  void send_body(StreamId stream, std::string_view bytes) override {
    Http2Session::send_body(stream, bytes);
  }
  void send_end(StreamId stream, const Fields* trailers) override {
    Http2Session::send_end(stream, trailers);
  }
  void reset(StreamId stream, Reset reason) override;
  void acknowledge(StreamId stream, std::size_t bytes) override {
    Http2Session::acknowledge(stream, bytes);
  }

  void shed() override;
  std::optional<Offence> offence() const override {
    return is_shed_ ? std::nullopt : offences().exceeded();
  }
  std::uint64_t head_number() const override { return last_id_; }
  void send_interim(StreamId stream, const ResponseHead& head) override;
  void send_response(StreamId stream, const ResponseHead& head, bool ended) override;
  bool take_back_response(StreamId stream) override;
  void drain() override;
  void time_out_head() override { note(Offence::kHeadTimeout); }

 private:
  std::optional<StreamPast> past_of(StreamId id) const override;
  void on_new_id(StreamId id) override;
  void on_head_begin(Stream& stream) override;
  void on_head(Stream& stream, bool ended) override;
  void on_malformed_head(Stream& stream, const char* detail) override;
  void on_body(Stream& stream, std::string_view bytes) override;
  void on_body_end(Stream& stream) override;
  void on_settings() override {}
  void on_taken(Stream& stream, std::size_t bytes) override;
  void on_end_sent(Stream& stream) override;
  void before_output() override {
    if (waiting_count_ > 0) submit_waiting_heads();
  }
  void on_stream_over(Stream& stream, const StreamEnd& end) override;

  void on_request(Stream& stream, bool ended);
  void on_trailers(Stream& stream);
  void refuse(Stream& stream, const HeadVerdict& verdict);
  bool is_skipped(StreamId id) const;
  void submit_waiting_heads();

  struct WaitingHead {
    StreamId stream = 0;  // 0: taken back
    ResponseHead head;
    bool ended = false;
  };
  struct Range {
    StreamId first = 0, last = 0;
  };
  static constexpr std::size_t kSkippedRanges = 4;

  ServerEvents& events_;
  StreamId last_id_ = 0;             // the largest that the peer has used
  Range skipped_[kSkippedRanges]{};  // the latest ids that it has passed over; a ring
  std::size_t next_skipped_ = 0;
  std::vector<WaitingHead> waiting_heads_;  // the first waiting_count_; the rest is kept for reuse
  std::size_t waiting_count_ = 0;
  bool is_draining_ = false;
  bool is_shed_ = false;  // GOAWAY for no fault of the peer
};

}  // namespace gatehouse::proxy
