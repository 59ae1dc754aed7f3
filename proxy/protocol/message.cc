#include "proxy/protocol/message.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "daemon/base/error.h"
#include "daemon/base/text.h"

namespace gatehouse::proxy {

namespace {

constexpr std::array<std::string_view, 30> kNames = {"",
                                                     "accept-encoding",
                                                     ":authority",
                                                     "connection",
                                                     "content-length",
                                                     "content-type",
                                                     "cookie",
                                                     "date",
                                                     "expect",
                                                     "forwarded",
                                                     "grpc-message",
                                                     "grpc-status",
                                                     "grpc-timeout",
                                                     "host",
                                                     "keep-alive",
                                                     "location",
                                                     "proxy-connection",
                                                     "retry-after",
                                                     "server",
                                                     "te",
                                                     "trailer",
                                                     "transfer-encoding",
                                                     "upgrade",
                                                     "user-agent",
                                                     "via",
                                                     "x-forwarded-for",
                                                     "x-forwarded-host",
                                                     "x-forwarded-proto",
                                                     "x-real-ip",
                                                     "x-request-id"};
static_assert(kNames[static_cast<std::size_t>(Name::kXRequestId)] == "x-request-id");
static_assert(kNames[static_cast<std::size_t>(Name::kProxyConnection)] == "proxy-connection");

constexpr std::string_view text(Name name) { return kNames[static_cast<std::size_t>(name)]; }

/// The first of the candidates, all as long as `name`, that is `name`.
template <class... Candidates>
Name one_of(std::string_view name, Candidates... candidates) {
  Name found = Name::kOther;
  (void)((std::memcmp(name.data(), text(candidates).data(), name.size()) == 0
              ? (found = candidates, true)
              : false) ||
         ...);
  return found;
}

}  // namespace

Name name_of(std::string_view name) {
  switch (name.size()) {
    case 2: return one_of(name, Name::kTe);
    case 3: return one_of(name, Name::kVia);
    case 4: return one_of(name, Name::kHost, Name::kDate);
    case 6: return one_of(name, Name::kCookie, Name::kServer, Name::kExpect);
    case 7: return one_of(name, Name::kUpgrade, Name::kTrailer);
    case 8: return one_of(name, Name::kLocation);
    case 9: return one_of(name, Name::kXRealIp, Name::kForwarded);
    case 10:
      return one_of(name, Name::kUserAgent, Name::kConnection, Name::kKeepAlive, Name::kAuthority);
    case 11: return one_of(name, Name::kGrpcStatus, Name::kRetryAfter);
    case 12:
      return one_of(name, Name::kContentType, Name::kXRequestId, Name::kGrpcTimeout,
                    Name::kGrpcMessage);
    case 14: return one_of(name, Name::kContentLength);
    case 15: return one_of(name, Name::kAcceptEncoding, Name::kXForwardedFor);
    case 16: return one_of(name, Name::kXForwardedHost, Name::kProxyConnection);
    case 17: return one_of(name, Name::kXForwardedProto, Name::kTransferEncoding);
    default: return Name::kOther;
  }
}

std::string_view text_of(Name name) { return text(name); }

// ---- FieldText ------------------------------------------------------------------------------

FieldText& FieldText::operator=(const FieldText& other) {
  if (this == &other) return *this;
  clear();
  append({other.bytes_.get(), other.size_}, {});
  return *this;
}

/// Returns the old bytes: what is appended may lie among them.
std::unique_ptr<char[]> FieldText::grow(std::size_t size) {
  constexpr std::size_t kFirst = 256;
  std::size_t capacity = std::max(capacity_, kFirst);
  while (capacity - size_ < size) capacity *= 2;
  auto larger = std::make_unique_for_overwrite<char[]>(capacity);
  if (size_ > 0) std::memcpy(larger.get(), bytes_.get(), size_);
  capacity_ = capacity;
  return std::exchange(bytes_, std::move(larger));
}

void FieldText::append(std::string_view first, std::string_view second) {
  const std::size_t size = first.size() + second.size();
  std::unique_ptr<char[]> before;
  if (capacity_ - size_ < size) [[unlikely]]
    before = grow(size);
  char* to = bytes_.get() + size_;
  if (!first.empty()) std::memcpy(to, first.data(), first.size());
  if (!second.empty()) std::memcpy(to + first.size(), second.data(), second.size());
  size_ += size;
}

// ---- Fields ---------------------------------------------------------------------------------

void Fields::add(Name id, std::string_view name, std::string_view value) {
  const std::size_t at = text_.size();
  check(at + name.size() + value.size() <= UINT32_MAX, "a field list of more than 4 GiB");
  text_.append(name, value);
  entries_.push_back({static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(value.size()),
                      static_cast<std::uint32_t>(name.size()), id});
}

void Fields::set(Name id, std::string_view value) {
  remove(id);  // Leaves the text in place, so a value out of this list stays readable.
  add(id, value);
}

void Fields::set(std::string_view name, std::string_view value) {
  remove(name);
  add(name, value);
}

void Fields::remove(Name id) {
  remove_if([id](const Field& field) { return field.id == id; });
}

void Fields::remove(std::string_view name) {
  const Name id = name_of(name);
  if (id != Name::kOther) return remove(id);
  remove_if([name](const Field& field) { return field.id == Name::kOther && field.name == name; });
}

std::optional<std::string_view> Fields::find(Name id) const {
  for (std::size_t i = 0; i < entries_.size(); ++i)
    if (entries_[i].id == id) return at(i).value;
  return std::nullopt;
}

std::optional<std::string_view> Fields::find(std::string_view name) const {
  const Name id = name_of(name);
  if (id != Name::kOther) return find(id);
  for (std::size_t i = 0; i < entries_.size(); ++i)
    if (entries_[i].id == Name::kOther && at(i).name == name) return at(i).value;
  return std::nullopt;
}

std::size_t Fields::count(Name id) const {
  std::size_t found = 0;
  for (const Entry& entry : entries_) found += entry.id == id;
  return found;
}

// ---- heads ----------------------------------------------------------------------------------

void RequestHead::clear() {
  version = HttpVersion::kHttp11;
  method.clear();
  scheme.clear();
  authority.clear();
  path.clear();
  fields.clear();
  content_length.reset();
  te_trailers = false;
  expects_continue = false;
  upgrade.clear();
}

void RequestHead::swap(RequestHead& other) noexcept {
  std::swap(version, other.version);
  method.swap(other.method);
  scheme.swap(other.scheme);
  authority.swap(other.authority);
  path.swap(other.path);
  fields.swap(other.fields);
  std::swap(content_length, other.content_length);
  std::swap(te_trailers, other.te_trailers);
  std::swap(expects_continue, other.expects_continue);
  upgrade.swap(other.upgrade);
}

bool RequestHead::is_grpc() const {
  constexpr std::string_view kType = "application/grpc";
  if (version != HttpVersion::kHttp2) return false;
  const auto type = fields.find(Name::kContentType);
  if (!type || !starts_with_ignoring_case(*type, kType)) return false;
  return type->size() == kType.size() || (*type)[kType.size()] == '+' ||
         (*type)[kType.size()] == ';';
}

void ResponseHead::clear() {
  status = 0;
  fields.clear();
  content_length.reset();
}

}  // namespace gatehouse::proxy
