#pragma once
// One HTTP/2 connection over nghttp2, and what both roles share: feeding input frame by frame,
// output without copies of bodies, credit, resets, the accounts of what the peer does, and the
// table of open streams. Http2ServerSession and Http2ClientSession add what requests and responses
// mean.
//
// nghttp2 keeps HPACK, flow control and the order of output. It tells what happened by callbacks
// (http2_session_callbacks.cc), which come in here through the on_ functions below; they record,
// tell the handler and enqueue, never destroy the session. The library is the parser, but not the
// judge: each frame is looked at first (Http2FrameScanner), because nghttp2 lets some frames for
// streams that are over pass, and does not end floods.
//
// An error of the connection ends in GOAWAY. When this session finds it, feed() returns false; when
// nghttp2 does, is_finished() is true after the produce() that has the GOAWAY in its output.
// Streams that are open then fail with kConnectionLost. So does reset(): the stream's end is told
// by the produce() that sends RST_STREAM.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/buffer.h"
#include "daemon/base/clock.h"
#include "daemon/base/flat_buffer.h"
#include "proxy/options.h"
#include "proxy/protocol/http2_error.h"
#include "proxy/protocol/http2_frame_scanner.h"
#include "proxy/protocol/http2_head_reader.h"
#include "proxy/protocol/http2_limits.h"
#include "proxy/protocol/http2_session_memory.h"
#include "proxy/protocol/session.h"
#include "proxy/protocol/stream_state.h"

struct nghttp2_session;

namespace gatehouse::proxy {

class Http2Session {
 public:
  /// What the peer did that the limits count.
  const Http2Limits& offences() const { return offences_; }
  const Http2SessionMemory& memory() const { return memory_; }

 protected:
  enum class Role : std::uint8_t { kServer, kClient };

  /// One stream. Kept on a free list between uses; nghttp2 knows it only as long as it is open.
  struct Stream {
    StreamId id = 0;
    StreamToken token = 0;
    StreamState state = StreamState::kIdle;
    bool is_announced = false;   // The handler knows it, and has not been told its end.
    bool has_peer_head = false;  // The peer's (final) head has come.
    bool has_own_head = false;   // Ours was given.
    bool is_head_sent = false;   // And went out.
    bool is_ending = false;      // send_end() was called, or the head ended the message.
    bool is_end_sent = false;    // END_STREAM went out.
    bool is_deferred = false;    // The data source had nothing when it was asked.
    bool was_reset_by_peer = false;
    bool was_reset_by_handler = false;
    bool is_upgrade = false;      // An extended CONNECT of ours,
    bool is_tunnel = false;       // or of either side that was granted.
    Reset reason = Reset::kNone;  // Why we reset it.
    const char* detail = "";      // The same, for the log.
    std::uint32_t interims = 0;
    std::size_t unacknowledged = 0;    // Body bytes delivered, not yet taken.
    std::size_t window = 0;            // A backend's, while it still grows; else 0.
    std::size_t taken = 0;             // Acknowledged, while it does.
    Buffer body;                       // Ours, not yet in frames.
    std::unique_ptr<Fields> trailers;  // Ours.
    std::string accept;                // The Sec-WebSocket-Accept of an upgrade of ours.
  };

  /// How a stream ended, for the role to tell its handler.
  struct StreamEnd {
    Reset reason = Reset::kNone;
    bool is_by_peer = false;
    const char* detail = "";
  };

  Http2Session(Role role, const Limits& limits, const Clock& clock);
  virtual ~Http2Session();
  Http2Session(const Http2Session&) = delete;
  Http2Session& operator=(const Http2Session&) = delete;

  // What a role decides.
  /// How a stream went that is not in the table; nothing when it never came, or is not the peer's.
  virtual std::optional<StreamPast> past_of(StreamId id) const = 0;
  /// HEADERS for a stream that past_of() knows nothing of.
  virtual void on_new_id(StreamId id) = 0;
  /// A header block begins, and is complete and well-formed to nghttp2.
  virtual void on_head_begin(Stream& stream) = 0;
  virtual void on_head(Stream& stream, bool ended) = 0;
  virtual void on_malformed_head(Stream& stream, const char* detail) = 0;
  virtual void on_body(Stream& stream, std::string_view bytes) = 0;
  virtual void on_body_end(Stream& stream) = 0;
  virtual void on_settings() = 0;
  /// Body bytes went out; END_STREAM went out.
  virtual void on_taken(Stream& stream, std::size_t bytes) = 0;
  virtual void on_end_sent(Stream& stream) = 0;
  /// Submits what was held back: output is about to be made, or GOAWAY to be queued.
  virtual void before_output() {}
  /// The last event; the stream is gone after it.
  virtual void on_stream_over(Stream& stream, const StreamEnd& end) = 0;

  // What Session promises; the roles forward to these.
  bool feed(std::string_view bytes);
  bool produce(FlatBuffer& out, std::size_t most);
  void lose_connection(const char* detail);
  bool wants_input() const;
  bool is_finished() const;
  /// DATA may come slowly while its stream is open: that is the exchange's business.
  bool is_mid_head() const {
    return !is_over_ && (streams_.empty() ? scanner_.is_mid_frame() : scanner_.is_mid_block());
  }
  std::size_t open_streams() const { return streams_.size(); }
  void shrink();
  void send_body(StreamId id, std::string_view bytes);
  void send_end(StreamId id, const Fields* trailers);
  void reset(StreamId id, Reset reason);
  void acknowledge(StreamId id, std::size_t bytes);

  // For the roles.
  Stream* find(StreamId id) const;
  Stream& open_stream(StreamId id);
  void widen(Stream& stream, std::size_t taken);
  bool is_reset_recent(StreamId id) const;
  /// Counts it; ends the connection when it was one too many.
  void note(Offence offence, double times = 1);
  /// GOAWAY with that code, then nothing.
  void terminate(Http2Error error);
  /// Sends RST_STREAM. `reason` is what the handler is told; kNone: as if it ended well.
  void reset_stream(Stream& stream, Http2Error error, Reset reason, const char* detail);
  Http2HeadReader& reader() { return reader_; }
  const Limits& limits() const { return limits_; }

  // The header list of our next HEADERS frame; there is one for the whole thread. What is added
  // has to live until it is submitted, static text for ever.
  static void begin_list();
  static void add_static(std::string_view name, std::string_view value);
  static void add_named(std::string_view static_name, std::string_view value);
  /// All but Content-Length, which is written from the head's number (RFC 9110 section 8.6).
  static void add_fields(const Fields& fields, std::optional<std::uint64_t> content_length);
  /// The same for an extended CONNECT or its 200, without a length and without that one.
  static void add_fields_but(const Fields& fields, std::string_view name);
  void submit_interim(Stream& stream);
  void submit_response(Stream& stream, bool ended);
  void submit_ping();
  /// Opens the stream; may_request() holds.
  Stream& submit_request(bool ended);

  // GOAWAY in two steps (RFC 9113 section 6.8).
  void announce_end();
  void refuse_new_streams();
  bool is_refusing() const { return is_refusing_; }
  bool may_request() const;
  std::size_t peer_streams_max() const;
  /// SETTINGS_ENABLE_CONNECT_PROTOCOL of the peer.
  bool peer_takes_extended_connect() const;
  StreamId next_request_id() const;

 private:
  friend struct Http2Callbacks;  // The functions that nghttp2 calls.
  friend struct Http2DataSource;

  static nghttp2_session* open_library(Http2Session& self, Role role, const Limits& limits);
  void submit_settings();
  void submit_trailers(Stream& stream, const Fields& trailers);

  bool judge_frame(const FrameHead& head, std::string_view payload);
  bool judge_stream(const FrameHead& head);
  bool judge_block(const FrameHead& head, std::string_view payload);
  bool judge_priority(const FrameHead& head, bool begins, std::string_view payload);
  void count_frame(const FrameHead& head);
  bool hand_on(std::string_view bytes);
  void remember_reset(StreamId id);
  void close_stream(StreamId id, Http2Error error);
  void fail_all(const StreamEnd& end);
  void recycle(std::unique_ptr<Stream> stream);
  std::size_t index_of(StreamId id) const;

  // What the callbacks tell.
  void on_begin_headers(StreamId id);
  bool on_field(std::string_view name, std::string_view value);
  void on_headers_frame(StreamId id, bool ended);
  void on_data_frame(StreamId id, bool is_empty, bool ended);
  void on_data(StreamId id, std::string_view bytes);
  void on_reset_frame(StreamId id);
  void on_invalid_headers(StreamId id, const char* detail);
  void on_end_stream_sent(StreamId id);
  void on_headers_sent(StreamId id);
  void on_reset_sent(StreamId id, Http2Error error);
  void on_goaway_sent(Http2Error error);
  void on_headers_not_sent(StreamId id);

  /// What the next DATA frame holds. Neither bytes nor end: nothing now.
  struct Chunk {
    std::size_t bytes = 0;
    bool is_last = false;
    const Fields* trailers = nullptr;  // to be sent behind it
  };
  Chunk next_chunk(Stream& stream, std::size_t most);
  /// Moves a DATA frame to the output. True: the output is full.
  bool move_out(Stream& stream, std::string_view frame_header, std::size_t bytes);

  const Role role_;
  const Limits& limits_;
  Http2SessionMemory memory_;
  nghttp2_session* session_ = nullptr;
  Http2FrameScanner scanner_;
  Http2HeadReader reader_;
  Http2Limits offences_;
  struct OpenStream {
    StreamId id;  // as the stream has it: a search touches no stream but the one
    std::unique_ptr<Stream> stream;
  };
  std::vector<OpenStream> streams_;  // by ascending id
  std::vector<std::unique_ptr<Stream>> free_;
  std::vector<StreamId> recent_resets_;  // a ring, made when it is needed
  std::size_t next_reset_ = 0;
  unsigned continuations_ = 0;  // of the header block that comes in
  std::size_t block_bytes_ = 0;
  unsigned priority_bytes_ = 0;  // of the PRIORITY frame that comes in
  std::uint32_t dependency_ = 0;
  FlatBuffer* out_ = nullptr;  // during produce()
  std::size_t out_most_ = 0;
  bool is_quiet_ = false;        // The last produce() has sent all there was.
  bool is_refusing_ = false;     // The last GOAWAY is on its way.
  bool is_ending_ = false;       // GOAWAY with an error is to be sent,
  bool is_goaway_sent_ = false;  // and was.
  bool is_over_ = false;         // nghttp2 must not be called any more.
};

}  // namespace gatehouse::proxy
