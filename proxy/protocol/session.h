#pragma once
// What HTTP/1.1 and HTTP/2 sessions have in common, in both roles. A session is the protocol state
// of one connection. It is pure: bytes in by feed(), bytes out by produce(), events to its handler.
//
// Rules that keep it free of surprises:
//  - Event handlers run inside feed() or produce(). A handler may give commands (send_*, reset,
//    acknowledge) to this and other sessions; it never calls feed() or produce() and never destroys
//    a session. Commands only record and enqueue.
//  - Flow control is credit: the session counts body bytes that it delivered as outstanding until
//    acknowledge() says that the other side took them; HTTP/2 then opens the window, HTTP/1.1 lets
//    wants_input() become true again. on_taken() is the same from the sending side.
//  - Each stream ends with exactly one on_closed() (server), or one of on_response_end() and
//    on_failed() (client; none after the handler's own reset()). Its id is dead to both sides
//    then. `token` is the handler's own name for the stream.
//  - A 101 makes a stream a tunnel (see upgrade.h): send_body(), send_end() and the events for
//    bodies go on in both directions, each until its own end. In a client, on_response_end() is not
//    the last event then: on_request_taken() or on_failed() may follow until send_end() went out.
//  - Every violation by the peer has a status or an error code by the RFC; nothing throws.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "daemon/base/flat_buffer.h"
#include "proxy/protocol/message.h"
#include "proxy/protocol/offence.h"

namespace gatehouse::proxy {

/// HTTP/2: the stream id. HTTP/1.1: the number of the request on its connection, from 1.
using StreamId = std::uint32_t;
/// The handler's name for a stream (an exchange id, packed). 0: none.
using StreamToken = std::uint64_t;

/// Why a stream ends early, in either direction; maps to HTTP/2 error codes (RFC 9113 section 7).
enum class Reset : std::uint8_t {
  kNone,            // It ended well.
  kCancel,          // Not wanted any more. CANCEL.
  kRefused,         // Not processed at all: safe to retry. REFUSED_STREAM.
  kInternal,        // A response that began cannot be finished. INTERNAL_ERROR.
  kProtocol,        // The peer's message is malformed. PROTOCOL_ERROR.
  kCalm,            // Too much of something. ENHANCE_YOUR_CALM.
  kNoError,         // A complete response was sent before the request's end. NO_ERROR.
  kTimeout,         // A timer of ours. CANCEL on the wire.
  kConnectionLost,  // The connection closed or broke under the stream.
  kOverflow,        // A size limit was exceeded. On the wire like kInternal.
};
std::string_view to_string(Reset reason);

class Session {
 public:
  virtual ~Session() = default;

  /// Takes bytes from the peer. HTTP/2 takes all at once. HTTP/1.1 keeps what it can't use yet
  /// (pipelined requests, data behind a full credit). False: the connection is to be closed once
  /// produce() has nothing more (an error answer or a GOAWAY may be waiting there).
  virtual bool feed(std::string_view bytes) = 0;
  /// The peer will send nothing more. Streams that are not whole fail.
  virtual void on_end_of_input() = 0;
  /// The connection is gone: fails every open stream with kConnectionLost. Nothing is sent.
  virtual void on_connection_lost() = 0;

  /// Appends output until `out` holds about `most` bytes, or there is no more. True: there is more.
  virtual bool produce(FlatBuffer& out, std::size_t most) = 0;

  /// False: stop reading (back pressure, or nothing more is wanted).
  virtual bool wants_input() const = 0;
  /// True: all is said on both sides, close the connection after the output is written.
  virtual bool is_finished() const = 0;
  /// Input stopped inside a head (HTTP/1.1) or inside a frame or header block (HTTP/2): the
  /// connection's header timer runs while this is true.
  virtual bool is_mid_head() const = 0;
  /// Streams that are open now.
  virtual std::size_t open_streams() const = 0;
  /// HTTP/1.1 after a 101: each side of the connection ends by itself. The peer's end is no reason
  /// to close it, and ours is to be said once has_ended_output() and the output is written.
  virtual bool is_tunnel() const { return false; }
  virtual bool has_ended_output() const { return false; }
  /// Frees what an idle connection does not need. Called after some quiet time; cheap to repeat.
  virtual void shrink() = 0;

  /// Body bytes of our message. Buffered inside until produced; on_taken() returns the credit.
  virtual void send_body(StreamId stream, std::string_view bytes) = 0;
  /// Ends our message; trailers may be null. HTTP/1.1 sends them only when the body is chunked.
  virtual void send_end(StreamId stream, const Fields* trailers) = 0;
  /// Ends the stream in both directions. HTTP/1.1 closes the connection, unless nothing of the
  /// message was sent and the peer's message is whole.
  virtual void reset(StreamId stream, Reset reason) = 0;
  /// The other side took that many body bytes of the peer's message.
  virtual void acknowledge(StreamId stream, std::size_t bytes) = 0;
};

/// What a server-role session tells (the frontend side).
class ServerEvents {
 public:
  virtual ~ServerEvents() = default;
  /// A complete, valid request head. The handler may move from it. Returns the stream's token.
  virtual StreamToken on_request(StreamId stream, RequestHead& head, bool ended) = 0;
  virtual void on_request_body(StreamToken token, std::string_view bytes) = 0;
  virtual void on_request_end(StreamToken token, const Fields* trailers) = 0;
  /// That many response body bytes went out to the connection's output.
  virtual void on_response_taken(StreamToken token, std::size_t bytes) = 0;
  /// The stream is over. kNone: our response went out whole (and the request was read, or is not
  /// wanted). Else the peer reset it, or the session did; kProtocol: the request's body or trailers
  /// were malformed (the session has answered).
  virtual void on_closed(StreamToken token, Reset reason) = 0;
  /// The session itself refused a request for which on_request was not called, and answered with
  /// that status by itself: for the access log only. `head` holds what was understood.
  virtual void on_refused(const RequestHead& head, int status, std::string_view detail) = 0;
};

class ServerSession : public Session {
 public:
  /// What the peer did that ended the connection, if it was something that has a name.
  virtual std::optional<Offence> offence() const { return std::nullopt; }
  /// 1xx, any number, before the response.
  virtual void send_interim(StreamId stream, const ResponseHead& head) = 0;
  /// The final head. `ended`: no body and no trailers follow. Framing fields are the session's
  /// business: it looks at head.content_length, the request's method and the status. 101 opens a
  /// tunnel.
  virtual void send_response(StreamId stream, const ResponseHead& head, bool ended) = 0;
  /// Forgets a response of which produce() has given out nothing yet, as if it had never been sent.
  /// False: it is too late, or there is none.
  virtual bool take_back_response(StreamId stream) = 0;
  /// The connection's end would look like the end of a body that was cut, or not written to its
  /// end (RFC 9112 section 8): it has to be reset, without TLS's close_notify.
  virtual bool must_break_off(bool is_all_written) const {
    (void)is_all_written;
    return false;
  }
  /// First call: tell the peer that this connection will end (GOAWAY 2^31-1, "connection: close" on
  /// the next response) but serve what comes. Second call: take no new requests. RFC 9113 6.8.
  virtual void drain() = 0;
  /// Grows with each head, so that one that is slow can be told from many.
  virtual std::uint64_t head_number() const { return 0; }
  /// Ends the connection, which has no open stream, because we run short of something.
  virtual void shed() {
    drain();
    drain();
  }
  /// limits.header_timeout passed while is_mid_head(): HTTP/1.1 answers 408 (on_refused is told),
  /// HTTP/2 sends GOAWAY; the connection closes after the output.
  virtual void time_out_head() = 0;
};

/// What a client-role session tells (the backend side).
class ClientEvents {
 public:
  virtual ~ClientEvents() = default;
  virtual void on_interim(StreamToken token, ResponseHead& head) = 0;
  virtual void on_response(StreamToken token, ResponseHead& head, bool ended) = 0;
  virtual void on_response_body(StreamToken token, std::string_view bytes) = 0;
  /// The response is whole (also after on_response(..., ended = true)). The last event.
  virtual void on_response_end(StreamToken token, const Fields* trailers) = 0;
  /// That many request body bytes went out to the connection's output.
  virtual void on_request_taken(StreamToken token, std::size_t bytes) = 0;
  /// The stream failed; the last event. `is_retryable`: the backend has surely not processed it
  /// (REFUSED_STREAM, above GOAWAY's last id, or the connection closed before a byte of the answer
  /// on a reused HTTP/1.1 connection: then `was_sent` says that the request was written).
  struct Failure {
    Reset reason = Reset::kNone;
    bool is_retryable = false;
    bool was_sent = false;
    const char* detail = "";  // static text for the log, in snake_case
  };
  virtual void on_failed(StreamToken token, const Failure& failure) = 0;
};

class ClientSession : public Session {
 public:
  /// Opens a stream. Only while capacity() > 0. The session keeps copies of what it needs. With
  /// head.upgrade `ended` is true, and bytes may be sent once a 101 came.
  virtual StreamId send_request(const RequestHead& head, bool ended, StreamToken token) = 0;
  /// How many more streams can be opened now (HTTP/1.1: 0 or 1; HTTP/2: by SETTINGS and GOAWAY).
  virtual std::size_t capacity() const = 0;
  /// False: no further request will ever fit (Connection: close, GOAWAY, ids used up, broken).
  virtual bool is_reusable() const = 0;
  /// While wants_input(): how many bytes are worth a read. What is beyond would only wait here.
  virtual std::size_t input_room() const { return SIZE_MAX; }
  /// Whether the peer has said anything yet (HTTP/2: its SETTINGS; HTTP/1.1: always true).
  virtual bool is_ready() const = 0;
  /// Whether the peer takes requests with head.upgrade (HTTP/2: RFC 8441; HTTP/1.1 answers each).
  virtual bool takes_upgrades() const { return true; }
  /// HTTP/2: asks the peer for a sign of life, which is any input.
  virtual void ping() {}
};

}  // namespace gatehouse::proxy
