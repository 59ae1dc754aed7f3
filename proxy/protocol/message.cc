#include "proxy/protocol/message.h"

#include <array>
#include <cstring>
#include <functional>

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

bool lies_in(std::string_view piece, const std::string& whole) {
  const std::less_equal<const char*> not_behind;
  return !piece.empty() && not_behind(whole.data(), piece.data()) &&
         not_behind(piece.data(), whole.data() + whole.size());
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

// ---- Fields ---------------------------------------------------------------------------------

void Fields::add(Name id, std::string_view name, std::string_view value) {
  if (lies_in(value, text_)) [[unlikely]] {  // Appending the name could move it away.
    const std::string own(value);
    return add(id, name, own);
  }
  if (lies_in(name, text_)) [[unlikely]] {
    const std::string own(name);
    return add(id, own, value);
  }
  const std::size_t at = text_.size();
  check(at + name.size() + value.size() <= UINT32_MAX, "a field list of more than 4 GiB");
  text_.append(name);
  text_.append(value);
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

bool RequestHead::is_grpc() const {
  constexpr std::string_view kType = "application/grpc";
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
