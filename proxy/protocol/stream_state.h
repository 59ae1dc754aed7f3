#pragma once
// The life of one HTTP/2 stream (RFC 9113 section 5.1), and what a frame means that comes for a
// stream that is over. Pure. nghttp2 keeps its own state; this one decides what the library lets
// pass, and what a stream's end means to its handler.
//
//   idle --HEADERS--> open --end sent--> half-closed(local)  --end received--> closed
//                     open --end received--> half-closed(remote) --end sent--> closed
//   RST_STREAM in either direction closes any stream that is not idle.

#include <cstdint>
#include <optional>

namespace gatehouse::proxy {

enum class StreamState : std::uint8_t {
  kIdle,
  kOpen,
  kHalfClosedLocal,
  kHalfClosedRemote,
  kClosed
};

enum class StreamEvent : std::uint8_t {
  kHeaders,      // The HEADERS frame that opens the stream, sent or received.
  kEndSent,      // A frame with END_STREAM went out.
  kEndReceived,  // A frame with END_STREAM came in.
  kReset,        // RST_STREAM, sent or received.
};

/// The state after the event; nothing: the event is a protocol error in that state.
constexpr std::optional<StreamState> next(StreamState state, StreamEvent event) {
  if (event == StreamEvent::kReset) {
    if (state == StreamState::kIdle) return std::nullopt;
    return StreamState::kClosed;
  }
  switch (state) {
    case StreamState::kIdle:
      if (event == StreamEvent::kHeaders) return StreamState::kOpen;
      return std::nullopt;
    case StreamState::kOpen:
      if (event == StreamEvent::kEndSent) return StreamState::kHalfClosedLocal;
      if (event == StreamEvent::kEndReceived) return StreamState::kHalfClosedRemote;
      return std::nullopt;
    case StreamState::kHalfClosedLocal:
      if (event == StreamEvent::kEndReceived) return StreamState::kClosed;
      return std::nullopt;
    case StreamState::kHalfClosedRemote:
      if (event == StreamEvent::kEndSent) return StreamState::kClosed;
      return std::nullopt;
    case StreamState::kClosed: return std::nullopt;
  }
  return std::nullopt;
}

static_assert(next(StreamState::kIdle, StreamEvent::kHeaders) == StreamState::kOpen);
static_assert(next(StreamState::kOpen, StreamEvent::kReset) == StreamState::kClosed);
static_assert(next(StreamState::kOpen, StreamEvent::kEndSent) == StreamState::kHalfClosedLocal);
static_assert(next(StreamState::kHalfClosedLocal, StreamEvent::kEndReceived) ==
              StreamState::kClosed);
static_assert(next(StreamState::kHalfClosedRemote, StreamEvent::kEndSent) == StreamState::kClosed);
static_assert(!next(StreamState::kIdle, StreamEvent::kReset));
static_assert(!next(StreamState::kHalfClosedRemote, StreamEvent::kEndReceived));
static_assert(!next(StreamState::kClosed, StreamEvent::kHeaders));

/// The peer may send DATA and HEADERS still.
constexpr bool is_open_for_peer(StreamState state) {
  return state == StreamState::kOpen || state == StreamState::kHalfClosedLocal;
}
/// We may send DATA and HEADERS still.
constexpr bool is_open_for_us(StreamState state) {
  return state == StreamState::kOpen || state == StreamState::kHalfClosedRemote;
}

/// How a stream went of which nothing is kept.
enum class StreamPast : std::uint8_t {
  kEnded,    // Both ends came, or the peer has reset it.
  kReset,    // We have reset it: the peer may not know yet.
  kSkipped,  // The peer has passed its id over: closed without ever being open.
};

/// What to do with a late DATA or HEADERS frame.
enum class LateVerdict : std::uint8_t { kIgnore, kStreamClosed, kProtocolError };

/// RFC 9113 section 5.1 ("closed") and section 5.1.1: what comes after the peer's own end is an
/// error of the connection; what crossed our RST_STREAM is not; a smaller id that was never used is
/// one that must not be used any more.
constexpr LateVerdict judge_late_frame(StreamPast past) {
  switch (past) {
    case StreamPast::kEnded: return LateVerdict::kStreamClosed;
    case StreamPast::kReset: return LateVerdict::kIgnore;
    case StreamPast::kSkipped: return LateVerdict::kProtocolError;
  }
  return LateVerdict::kProtocolError;
}

static_assert(judge_late_frame(StreamPast::kEnded) == LateVerdict::kStreamClosed);
static_assert(judge_late_frame(StreamPast::kReset) == LateVerdict::kIgnore);
static_assert(judge_late_frame(StreamPast::kSkipped) == LateVerdict::kProtocolError);

}  // namespace gatehouse::proxy
