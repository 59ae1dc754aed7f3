#pragma once
// What an HTTP/1.1 session, in either role, has to say: one message at a time, as head text and a
// body that is framed only when it goes out, so that many small pieces become one chunk. Counts the
// body bytes that went out, for credit. Owned by its session; does not know what the message means.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "daemon/base/buffer.h"
#include "daemon/base/clock.h"
#include "daemon/base/flat_buffer.h"
#include "proxy/protocol/message.h"

namespace gatehouse::proxy {

class Http1Output {
 public:
  /// How the end of the body is told (RFC 9112 section 6).
  enum class Framing : std::uint8_t {
    kNone,        // There is no body; what is sent as one is dropped.
    kLength,      // Content-Length
    kChunked,     // Transfer-Encoding: chunked
    kUntilClose,  // The end of the connection.
  };

  /// Where the text of heads goes; it precedes the body.
  FlatBuffer& head() { return head_; }
  /// The head is written, the body comes next.
  void begin_body(Framing framing, std::uint64_t length);
  /// False: it is more than the length that was promised.
  bool send_body(std::string_view bytes);
  /// False: it was less than the length that was promised.
  bool send_end(const Fields* trailers);
  /// Forgets what has not gone out, and the message with it.
  void clear();
  /// Appends to `out` until it holds about `most` bytes. Returns how many body bytes were taken.
  std::size_t produce(FlatBuffer& out, std::size_t most);
  /// Gives memory back when there is nothing to say.
  void shrink() { head_.release(); }

  /// Nothing can be produced now.
  bool is_empty() const {
    return head_.empty() && body_.empty() && dropped_ == 0 && (!is_ended_ || is_whole_);
  }
  /// The message has gone out to its end.
  bool is_whole() const { return is_whole_ && is_empty(); }
  /// Some byte of it went out since clear(), or since the last message was whole.
  bool has_gone_out() const { return has_gone_out_; }
  /// Ready for the next message.
  void finish();

 private:
  void produce_body(FlatBuffer& out, std::size_t size);
  void produce_end(FlatBuffer& out);

  Framing framing_ = Framing::kNone;
  bool is_ended_ = false;  // send_end() was called
  bool is_whole_ = false;  // and the end went out
  bool has_gone_out_ = false;
  std::uint64_t remaining_ = 0;  // of the promised length
  std::size_t dropped_ = 0;      // body bytes that go nowhere, not yet told
  FlatBuffer head_;
  Buffer body_;
  Fields trailers_;
};

/// Appends "name: value" lines, without fields of the connection and of framing: the sessions write
/// those by themselves.
void append_fields(FlatBuffer& out, const Fields& fields);
void append_decimal(FlatBuffer& out, std::uint64_t number);

/// Date's value for now (RFC 9110 section 6.6.1), made once a second. Valid until the next call.
std::string_view http_date(const Clock& clock);

}  // namespace gatehouse::proxy
