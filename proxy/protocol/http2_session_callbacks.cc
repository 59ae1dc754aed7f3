// The seam to nghttp2: its callbacks, options, memory and settings. Here void* becomes what it is;
// no decision is taken in this file.

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include "daemon/base/error.h"
#include "proxy/protocol/http2_session.h"

namespace gatehouse::proxy {

namespace {

std::string_view text_of(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

StreamId id_of(const nghttp2_frame* frame) { return static_cast<StreamId>(frame->hd.stream_id); }

bool has_end_stream(const nghttp2_frame* frame) {
  return (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
}

}  // namespace

struct Http2Callbacks {
  using Self = Http2Session;

  static Self& self_of(void* user) { return *static_cast<Self*>(user); }
  static Http2SessionMemory& memory_of(void* user) {
    return *static_cast<Http2SessionMemory*>(user);
  }

  // ---- input
  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    self_of(user).on_begin_headers(id_of(frame));
    return 0;
  }

  static int on_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                       std::uint8_t, void* user) {
    const bool goes_on =
        self_of(user).on_field(text_of(name, name_size), text_of(value, value_size));
    return goes_on ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
  }

  /// Fields that nghttp2 would only skip make the whole message malformed here.
  static int on_invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*,
                               std::size_t, const std::uint8_t*, std::size_t, std::uint8_t, void*) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                     std::size_t size, void* user) {
    self_of(user).on_data(static_cast<StreamId>(id), text_of(bytes, size));
    return 0;
  }

  static int on_frame_recv(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Self& self = self_of(user);
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS: self.on_headers_frame(id_of(frame), has_end_stream(frame)); break;
      case NGHTTP2_DATA:
        self.on_data_frame(id_of(frame), frame->hd.length <= frame->data.padlen,
                           has_end_stream(frame));
        break;
      case NGHTTP2_RST_STREAM: self.on_reset_frame(id_of(frame)); break;
      case NGHTTP2_SETTINGS: on_settings(self, *frame); break;
      default: break;
    }
    return 0;
  }

  static void on_settings(Self& self, const nghttp2_frame& frame) {
    if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) return;
    for (std::size_t i = 0; i < frame.settings.niv; ++i)
      if (frame.settings.iv[i].settings_id == NGHTTP2_SETTINGS_HEADER_TABLE_SIZE)
        self.note(Offence::kTableSize);
    self.on_settings();
  }

  static int on_invalid_frame(nghttp2_session*, const nghttp2_frame* frame, int error, void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    if (error == NGHTTP2_ERR_HTTP_HEADER)
      self_of(user).on_invalid_headers(id_of(frame), "malformed_field");
    else if (error == NGHTTP2_ERR_HTTP_MESSAGING)
      self_of(user).on_invalid_headers(id_of(frame), "malformed_message");
    else if (error == NGHTTP2_ERR_REFUSED_STREAM)
      self_of(user).on_invalid_headers(id_of(frame), "refused_stream");
    return 0;
  }

  static int on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t error, void* user) {
    self_of(user).close_stream(static_cast<StreamId>(id), static_cast<Http2Error>(error));
    return 0;
  }

  // ---- output
  static int on_frame_send(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Self& self = self_of(user);
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS: self.on_headers_sent(id_of(frame)); [[fallthrough]];
      case NGHTTP2_DATA:
        if (has_end_stream(frame)) self.on_end_stream_sent(id_of(frame));
        break;
      case NGHTTP2_RST_STREAM:
        self.on_reset_sent(id_of(frame), static_cast<Http2Error>(frame->rst_stream.error_code));
        break;
      case NGHTTP2_GOAWAY:
        self.on_goaway_sent(static_cast<Http2Error>(frame->goaway.error_code));
        break;
      default: break;
    }
    return 0;
  }

  static int on_frame_not_send(nghttp2_session*, const nghttp2_frame* frame, int, void* user) {
    if (frame->hd.type == NGHTTP2_HEADERS) self_of(user).on_headers_not_sent(id_of(frame));
    return 0;
  }

  static int send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* header,
                       std::size_t size, nghttp2_data_source* source, void* user) {
    auto& stream = *static_cast<Self::Stream*>(source->ptr);
    const bool is_full = self_of(user).move_out(stream, text_of(header, FrameHead::kBytes), size);
    return is_full ? NGHTTP2_ERR_PAUSE : 0;
  }

  // ---- memory
  static void* allocate(std::size_t bytes, void* user) { return memory_of(user).allocate(bytes); }
  static void* allocate_zeroed(std::size_t count, std::size_t bytes, void* user) {
    return memory_of(user).allocate_zeroed(count, bytes);
  }
  static void* resize(void* block, std::size_t bytes, void* user) {
    return memory_of(user).resize(static_cast<char*>(block), bytes);
  }
  static void release(void* block, void* user) {
    memory_of(user).release(static_cast<char*>(block));
  }

  // ---- set-up
  struct Delete {
    void operator()(nghttp2_session_callbacks* callbacks) const {
      nghttp2_session_callbacks_del(callbacks);
    }
    void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
  };

  static const nghttp2_session_callbacks* table() {
    static const std::unique_ptr<nghttp2_session_callbacks, Delete> table = [] {
      nghttp2_session_callbacks* made = nullptr;
      check(nghttp2_session_callbacks_new(&made) == 0, "out of memory");
      nghttp2_session_callbacks_set_on_begin_headers_callback(made, on_begin_headers);
      nghttp2_session_callbacks_set_on_header_callback(made, on_header);
      nghttp2_session_callbacks_set_on_invalid_header_callback(made, on_invalid_header);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, on_data);
      nghttp2_session_callbacks_set_on_frame_recv_callback(made, on_frame_recv);
      nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(made, on_invalid_frame);
      nghttp2_session_callbacks_set_on_stream_close_callback(made, on_stream_close);
      nghttp2_session_callbacks_set_on_frame_send_callback(made, on_frame_send);
      nghttp2_session_callbacks_set_on_frame_not_send_callback(made, on_frame_not_send);
      nghttp2_session_callbacks_set_send_data_callback(made, send_data);
      return std::unique_ptr<nghttp2_session_callbacks, Delete>(made);
    }();
    return table.get();
  }
};

nghttp2_session* Http2Session::open_library(Http2Session& self, Role role, const Limits& limits) {
  nghttp2_option* made = nullptr;
  check(nghttp2_option_new(&made) == 0, "out of memory");
  const std::unique_ptr<nghttp2_option, Http2Callbacks::Delete> option(made);
  nghttp2_option_set_no_auto_window_update(made, 1);
  nghttp2_option_set_no_closed_streams(made, 1);
  nghttp2_option_set_max_outbound_ack(made, 1000);
  nghttp2_option_set_max_settings(made, 32);
  // The library counts honest cancels too, and ends with INTERNAL_ERROR: ours are to judge first.
  nghttp2_option_set_stream_reset_rate_limit(made, 10'000, 1000);
  // What we send was within our own limits; HPACK may make it a little larger.
  nghttp2_option_set_max_send_header_block_length(
      made, 2 * (limits.response_header_bytes + limits.header_bytes));
  // Ours is judged first; this is the second lock.
  nghttp2_option_set_max_continuations(
      made, role == Role::kServer ? Http2Limits::kContinuationFramesMax : 32);
  nghttp2_mem memory{&self.memory_, Http2Callbacks::allocate, Http2Callbacks::release,
                     Http2Callbacks::allocate_zeroed, Http2Callbacks::resize};
  nghttp2_session* session = nullptr;
  const int failure =
      role == Role::kServer
          ? nghttp2_session_server_new3(&session, Http2Callbacks::table(), &self, made, &memory)
          : nghttp2_session_client_new3(&session, Http2Callbacks::table(), &self, made, &memory);
  check(failure == 0, "out of memory");
  return session;
}

void Http2Session::submit_settings() {
  const bool is_server = role_ == Role::kServer;
  const auto header_bytes =
      static_cast<std::uint32_t>(is_server ? limits_.header_bytes : limits_.response_header_bytes);
  const auto response_window =
      static_cast<std::uint32_t>(std::min(limits_.response_credit, limits_.stream_buffer_high));
  const std::array<nghttp2_settings_entry, 5> server = {{
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits_.streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits_.stream_window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, header_bytes},
      {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  }};
  const std::array<nghttp2_settings_entry, 4> client = {{
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, response_window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, header_bytes},
  }};
  using Entries = std::span<const nghttp2_settings_entry>;
  const Entries settings = is_server ? Entries(server) : Entries(client);
  check(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) == 0,
        "settings of ours are valid");
  // Clients share a backend's connection: were its window bounded, too, some that take nothing
  // would stop all others.
  const std::int32_t window =
      is_server ? static_cast<std::int32_t>(limits_.connection_window) : NGHTTP2_MAX_WINDOW_SIZE;
  (void)nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, window);
}

}  // namespace gatehouse::proxy
