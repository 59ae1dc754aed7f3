#pragma once
// Request and response heads as every part of the proxy sees them: parsed once at the edge, the
// same for HTTP/1.1 and HTTP/2 (RFC 9110). Field names are lower case; values have no surrounding
// white space. All text of one head lives in one string, so a head is moved cheaply and reused
// without allocating.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gatehouse::proxy {

enum class HttpVersion : std::uint8_t { kHttp10, kHttp11, kHttp2 };

/// Fields that the proxy itself looks at, so that a lookup compares one byte. Kept sorted by text.
enum class Name : std::uint8_t {
  kOther,
  kAcceptEncoding,
  kAuthority,  // only as the name of a pseudo field; never stored in Fields
  kConnection,
  kContentLength,
  kContentType,
  kCookie,
  kDate,
  kExpect,
  kForwarded,
  kGrpcMessage,
  kGrpcStatus,
  kGrpcTimeout,
  kHost,
  kKeepAlive,
  kLocation,
  kProxyConnection,
  kRetryAfter,
  kServer,
  kTe,
  kTrailer,
  kTransferEncoding,
  kUpgrade,
  kUserAgent,
  kVia,
  kXForwardedFor,
  kXForwardedHost,
  kXForwardedProto,
  kXRealIp,
  kXRequestId,
};

/// The Name of a lower-case field name; kOther when it is none of them.
Name name_of(std::string_view lower_case);
/// Its text; empty for kOther.
std::string_view text_of(Name name);

/// The bytes of a list's names and values, one behind the other. std::string would do, but spends a
/// call on each piece, and a request has dozens of them.
class FieldText {
 public:
  FieldText() = default;
  FieldText(const FieldText& other) { *this = other; }
  FieldText(FieldText&& other) noexcept { swap(other); }
  FieldText& operator=(const FieldText& other);
  FieldText& operator=(FieldText&& other) noexcept {
    swap(other);
    other.clear();
    return *this;
  }
  void swap(FieldText& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  const char* data() const { return bytes_.get(); }
  std::size_t size() const { return size_; }
  /// Both may be pieces of this very text.
  void append(std::string_view first, std::string_view second);
  /// Keeps the memory.
  void clear() { size_ = 0; }

 private:
  std::unique_ptr<char[]> grow(std::size_t size);
  std::unique_ptr<char[]> bytes_;
  std::size_t size_ = 0, capacity_ = 0;
};

/// Header or trailer fields in order of arrival. Views stay valid until the next change.
class Fields {
 public:
  struct Field {
    Name id;
    std::string_view name;
    std::string_view value;
  };

  class Iterator {
   public:
    Iterator(const Fields& fields, std::size_t index) : fields_(&fields), index_(index) {}
    Field operator*() const { return fields_->at(index_); }
    Iterator& operator++() {
      ++index_;
      return *this;
    }
    bool operator==(const Iterator& other) const { return index_ == other.index_; }

   private:
    const Fields* fields_;
    std::size_t index_;
  };

  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, entries_.size()}; }
  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  Field at(std::size_t index) const {
    const Entry& entry = entries_[index];
    return {entry.id,
            {text_.data() + entry.at, entry.name_size},
            {text_.data() + entry.at + entry.name_size, entry.value_size}};
  }

  /// `name` is lower case already.
  void add(std::string_view name, std::string_view value) { add(name_of(name), name, value); }
  void add(Name id, std::string_view value) { add(id, text_of(id), value); }
  void add(Name id, std::string_view name, std::string_view value);
  /// Removes all of that name, then adds one.
  void set(Name id, std::string_view value);
  void set(std::string_view name, std::string_view value);
  void remove(Name id);
  void remove(std::string_view name);
  template <class Predicate>
  void remove_if(Predicate predicate) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < entries_.size(); ++i)
      if (!predicate(at(i))) entries_[kept++] = entries_[i];
    entries_.resize(kept);
  }

  /// The first value of that name.
  std::optional<std::string_view> find(Name id) const;
  std::optional<std::string_view> find(std::string_view name) const;
  bool has(Name id) const { return find(id).has_value(); }
  std::size_t count(Name id) const;

  /// Sum of name + value + 32 for each field (RFC 9113 section 6.5.2), removed ones included.
  std::size_t list_bytes() const { return text_.size() + 32 * entries_.size(); }
  void swap(Fields& other) noexcept {
    text_.swap(other.text_);
    entries_.swap(other.entries_);
  }
  /// Forgets the fields, keeps the memory.
  void clear() {
    text_.clear();
    entries_.clear();
  }

 private:
  struct Entry {
    std::uint32_t at;
    std::uint32_t value_size;
    std::uint32_t name_size;
    Name id;
  };
  FieldText text_;
  std::vector<Entry> entries_;
};

/// A request as it goes through the proxy. What the session guarantees: method is a token; target
/// forms are resolved (absolute-form became scheme/authority/path); path starts with '/' or is "*"
/// (OPTIONS only) and contains the query; authority is host[:port] without user info, lower case;
/// `fields` holds neither pseudo fields nor Host, and no framing or hop-by-hop field
/// (connection, keep-alive, proxy-connection, transfer-encoding, upgrade, te; nominated ones too):
/// the members below say what they meant.
struct RequestHead {
  HttpVersion version = HttpVersion::kHttp11;  // of the connection it came in on
  std::string method, scheme, authority, path;
  Fields fields;
  std::optional<std::uint64_t> content_length;  // also kept in `fields` (for h2), dropped if absent
  bool te_trailers = false;                     // "TE: trailers" was there
  bool expects_continue = false;                // Expect: 100-continue; not in `fields`
  std::string upgrade;  // HTTP/1.1 Upgrade's or extended CONNECT's protocol, lower case; else empty

  void clear();
  void swap(RequestHead& other) noexcept;
  /// gRPC is spoken over HTTP/2 alone: content-type application/grpc, optionally followed by + or ;
  /// What looks like it in HTTP/1.1 is a request as any other.
  bool is_grpc() const;
};

/// A response; the same guarantees. 1xx heads are interim and never carry a body.
struct ResponseHead {
  int status = 0;
  Fields fields;
  std::optional<std::uint64_t> content_length;

  void clear();
};

/// True when a response to that method with that status has no body (RFC 9112 section 6.3).
inline bool never_has_body(std::string_view method, int status) {
  return method == "HEAD" || status == 204 || status == 304 || (status >= 100 && status < 200);
}

}  // namespace gatehouse::proxy
