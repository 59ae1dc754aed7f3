// The heads that Http2Session sends, and the source that nghttp2 asks for the body behind each.

#include <nghttp2/nghttp2.h>

#include <array>
#include <charconv>

#include "daemon/base/error.h"
#include "proxy/protocol/http2_session.h"

namespace gatehouse::proxy {

namespace {

std::vector<nghttp2_nv>& list() {
  static thread_local std::vector<nghttp2_nv> fields;
  return fields;
}

/// nghttp2 does not write to what it is given, though its types say it might.
std::uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
}

void add(std::string_view name, std::string_view value, int flags) {
  list().push_back({bytes_of(name), bytes_of(value), name.size(), value.size(),
                    static_cast<std::uint8_t>(flags)});
}

std::int32_t signed_id(StreamId id) { return static_cast<std::int32_t>(id); }

}  // namespace

struct Http2DataSource {
  static ssize_t read(nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t most,
                      std::uint32_t* flags, nghttp2_data_source* source, void* user) {
    auto& self = *static_cast<Http2Session*>(user);
    auto& stream = *static_cast<Http2Session::Stream*>(source->ptr);
    const Http2Session::Chunk chunk = self.next_chunk(stream, most);
    if (chunk.bytes == 0 && !chunk.is_last) return NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (chunk.is_last) *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (chunk.trailers) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      self.submit_trailers(stream, *chunk.trailers);
    }
    return static_cast<ssize_t>(chunk.bytes);
  }

  static nghttp2_data_provider of(Http2Session::Stream& stream) {
    nghttp2_data_provider provider{};
    provider.source.ptr = &stream;
    provider.read_callback = read;
    return provider;
  }
};

void Http2Session::begin_list() { list().clear(); }

void Http2Session::add_static(std::string_view name, std::string_view value) {
  add(name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
}

void Http2Session::add_named(std::string_view static_name, std::string_view value) {
  add(static_name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

void Http2Session::add_fields(const Fields& fields, std::optional<std::uint64_t> content_length) {
  for (const auto field : fields) {
    if (field.id == Name::kContentLength) continue;
    if (field.id == Name::kOther)
      add(field.name, field.value, NGHTTP2_NV_FLAG_NONE);
    else if (field.id == Name::kXRequestId)  // Never the same twice: it would push out what is.
      add(text_of(field.id), field.value, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX);
    else
      add_named(text_of(field.id), field.value);
  }
  if (!content_length) return;
  static thread_local std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), *content_length);
  add_named("content-length", {digits.data(), static_cast<std::size_t>(end.ptr - digits.data())});
}

void Http2Session::add_fields_but(const Fields& fields, std::string_view name) {
  for (const auto field : fields)
    if (field.id != Name::kContentLength && field.name != name)
      add(field.name, field.value, NGHTTP2_NV_FLAG_NONE);
}

void Http2Session::submit_interim(Stream& stream) {
  (void)nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, signed_id(stream.id), nullptr,
                               list().data(), list().size(), nullptr);
}

void Http2Session::submit_response(Stream& stream, bool ended) {
  const nghttp2_data_provider source = Http2DataSource::of(stream);
  stream.has_own_head = true;
  stream.is_ending = stream.is_ending || ended;
  (void)nghttp2_submit_response(session_, signed_id(stream.id), list().data(), list().size(),
                                ended ? nullptr : &source);
}

Http2Session::Stream& Http2Session::submit_request(bool ended) {
  Stream& stream = open_stream(next_request_id());
  const nghttp2_data_provider source = Http2DataSource::of(stream);
  stream.has_own_head = true;
  stream.is_ending = ended;
  stream.state = StreamState::kOpen;
  const std::int32_t id = nghttp2_submit_request(session_, nullptr, list().data(), list().size(),
                                                 ended ? nullptr : &source, nullptr);
  check(id == signed_id(stream.id), "a request without capacity");
  return stream;
}

void Http2Session::submit_trailers(Stream& stream, const Fields& trailers) {
  begin_list();
  add_fields(trailers, std::nullopt);
  (void)nghttp2_submit_trailer(session_, signed_id(stream.id), list().data(), list().size());
}

}  // namespace gatehouse::proxy
