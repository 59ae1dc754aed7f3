// HTTP/1.1 from strangers. Whatever the bytes are:
//  - the parser's verdict does not depend on how they are split, in either role;
//  - the server session tells each stream's end once, and what it forwards through a client session
//    is one request with the same body, never two: the smuggling judge;
//  - the client session ends its stream once.
// The first byte chooses the role and more, the second seeds the splits, the rest is the input.

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>

#include "proxy/protocol/http1_client_session.h"
#include "proxy/protocol/http1_server_session.h"
#include "tests/support/fake_clock.h"
#include "tests/support/http1_scripts.h"
#include "tests/support/http1_transcript.h"

namespace gatehouse::proxy {
namespace {

using Role = Http1Parser::Role;

void require(bool holds) {
  if (!holds) std::abort();
}

/// Small, so that inputs of a few bytes reach them.
MessageLimits small_limits() {
  MessageLimits limits;
  limits.uri_bytes = 64;
  limits.header_bytes = 512;
  limits.header_fields = 8;
  limits.trailer_bytes = 64;
  limits.chunk_extension_bytes = 32;
  return limits;
}

void compare_splits(Role role, std::string_view input, std::uint32_t seed, bool is_small,
                    bool to_head) {
  const MessageLimits limits = is_small ? small_limits() : MessageLimits{};
  const std::string whole =
      transcript_in_pieces(role, input, input.size() + 1, seed, limits, to_head);
  require(whole == transcript_in_pieces(role, input, 0, seed, limits, to_head));
  require(whole == transcript_in_pieces(role, input, 1, seed, limits, to_head));
}

/// Forwards each request through a client session of its own and judges what a backend would see.
class Forwarder final : public ServerEvents {
 public:
  StreamToken on_request(StreamId stream, RequestHead& head, bool ended) override {
    require(!backend_);
    backend_ = std::make_unique<Http1ClientSession>(limits_, client_events_);
    body_.clear();
    is_ended_ = ended;
    if (head.authority.empty()) head.authority = "none";  // HTTP/1.0 only; the judge wants a Host.
    backend_stream_ = backend_->send_request(head, ended, 1);
    stream_ = stream;
    ++opened_;
    return stream;
  }
  void on_request_body(StreamToken, std::string_view bytes) override {
    require(backend_ && !is_ended_);
    body_ += bytes;
    backend_->send_body(backend_stream_, bytes);
  }
  void on_request_end(StreamToken, const Fields* trailers) override {
    require(backend_ && !is_ended_);
    is_ended_ = true;
    backend_->send_end(backend_stream_, trailers);
  }
  void on_response_taken(StreamToken, std::size_t) override {}
  void on_closed(StreamToken token, Reset reason) override {
    require(token == stream_ && backend_);
    judge();
    require(reason != Reset::kNone || has_answered_);
    backend_.reset();
    has_answered_ = false;
    ++closed_;
  }
  void on_refused(const RequestHead&, int status, std::string_view detail) override {
    require(status >= 400 && status < 600 && !detail.empty());
    ++refused_;
  }

  /// Answers the open request, in one of a few ways.
  void answer(ServerSession& session, unsigned how) {
    if (!backend_ || has_answered_ || (!is_ended_ && how % 3 != 0)) return;
    has_answered_ = true;
    session.acknowledge(stream_, body_.size());
    ResponseHead head;
    head.status = how % 5 == 0 ? 304 : 200;
    if (how % 2 == 0) head.content_length = 2;
    session.send_interim(stream_, ResponseHead{103, {}, {}});
    session.send_response(stream_, head, false);
    session.send_body(stream_, "hi");
    if (how % 7 == 0) return session.reset(stream_, Reset::kInternal);
    session.send_end(stream_, nullptr);
  }
  bool is_settled() const { return opened_ == closed_ && refused_ <= 1; }

 private:
  void judge() {
    const std::string sent = produce_all(*backend_);
    require(client_events_.over == 0);
    Http1Transcript seen(Role::kRequest, MessageLimits{1 << 20, 1 << 20, 1000, 1 << 20, 0});
    seen.feed(sent);
    require(seen.verdict() == (is_ended_ ? "ok" : "more"));
    const std::string text = seen.text();
    require(text.starts_with("request ") && text.find("\nrequest ") == std::string::npos);
    if (is_ended_ && !body_.empty())
      require(text.find("\nbody " + body_ + "\nend\n") != std::string::npos);
  }

  Limits limits_;
  RecordingClient client_events_;
  std::unique_ptr<Http1ClientSession> backend_;
  std::string body_;
  StreamId stream_ = 0, backend_stream_ = 0;
  bool is_ended_ = false, has_answered_ = false;
  unsigned opened_ = 0, closed_ = 0, refused_ = 0;
};

void serve(std::string_view input, std::uint32_t seed) {
  // "request " inside a body would mislead the judge, which reads transcripts.
  if (input.find("\nrequest ") != std::string_view::npos) return;
  FakeClock clock;
  Limits limits;
  limits.stream_buffer_high = 64;
  Forwarder events;
  Http1ServerSession session(limits, clock, events, "https");
  std::minstd_rand random(seed);
  while (!input.empty()) {
    const std::size_t size = std::min<std::size_t>(input.size(), 1 + random() % 60);
    const std::string copy(input.substr(0, size));
    const bool goes_on = session.feed(copy);
    events.answer(session, static_cast<unsigned>(random()));
    produce_all(session, 1 + random() % 100);
    if (random() % 8 == 0) session.shrink();
    if (!goes_on) break;
    input.remove_prefix(size);
  }
  if (random() % 2 == 0) session.on_end_of_input();
  session.time_out_head();
  produce_all(session);
  session.on_connection_lost();
  require(events.is_settled() && session.open_streams() == 0 && session.is_finished());
}

void ask(std::string_view input, std::uint32_t seed, bool to_head) {
  Limits limits;
  RecordingClient events;
  Http1ClientSession session(limits, events);
  std::minstd_rand random(seed);
  RequestHead head;
  head.method = to_head ? "HEAD" : "POST";
  head.authority = "a";
  head.path = "/";
  unsigned asked = 0;
  while (!input.empty()) {
    if (session.capacity() > 0 && random() % 8 != 0) {
      const bool ended = random() % 2 == 0;
      const StreamId stream = session.send_request(head, ended, ++asked);
      if (!ended && random() % 4 != 0) session.send_end(stream, nullptr);
    }
    if (random() % 8 != 0) produce_all(session);
    const std::size_t size = std::min<std::size_t>(input.size(), 1 + random() % 60);
    const std::string copy(input.substr(0, size));
    if (!session.feed(copy)) break;
    input.remove_prefix(size);
  }
  session.on_end_of_input();
  session.on_connection_lost();
  require(events.over == asked && session.is_finished() && !session.is_reusable());
}

}  // namespace
}  // namespace gatehouse::proxy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gatehouse;
  using namespace gatehouse::proxy;
  if (size < 2) return 0;
  const unsigned choice = data[0];
  const std::uint32_t seed = data[1] + 1u;
  const std::string_view input(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t blocks_before = Buffer::blocks_in_use();
  const bool is_small = (choice & 2) != 0, to_head = (choice & 4) != 0;
  if ((choice & 1) == 0) {
    compare_splits(Role::kRequest, input, seed, is_small, false);
    serve(input, seed);
  } else {
    compare_splits(Role::kResponse, input, seed, is_small, to_head);
    ask(input, seed, to_head);
  }
  require(Buffer::blocks_in_use() == blocks_before);
  return 0;
}
