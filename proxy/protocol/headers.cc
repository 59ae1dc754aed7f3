#include "proxy/protocol/headers.h"

#include <algorithm>
#include <array>

namespace gatehouse::proxy {

namespace {

constexpr std::size_t kNominatedMax = 32;

/// Fields of the connection, not of the message; Connection need not name them.
bool is_hop_by_hop(const Fields::Field& field) {
  switch (field.id) {
    case Name::kConnection:
    case Name::kKeepAlive:
    case Name::kProxyConnection:
    case Name::kTe:
    case Name::kTransferEncoding:
    case Name::kUpgrade: return true;
    case Name::kOther: return field.name == "http2-settings";
    default: return false;
  }
}

/// The Connection options that need no field to be removed.
bool is_plain_option(std::string_view option) {
  switch (name_of(option)) {
    case Name::kContentLength:  // Framing: see the header.
    case Name::kKeepAlive:
    case Name::kTe:
    case Name::kUpgrade: return true;
    default: return option == "close" || option == "http2-settings";
  }
}

/// Reads one Connection field; false: too many nominations.
bool read_connection(std::string_view value, HopByHop& facts, std::vector<std::string>& nominated) {
  bool is_fine = true;
  for_each_member(value, [&](std::string_view member) {
    if (equals_ignoring_case(member, "close"))
      facts.has_close = true;
    else if (equals_ignoring_case(member, "keep-alive"))
      facts.has_keep_alive = true;
    else if (equals_ignoring_case(member, "upgrade"))
      facts.names_upgrade = true;
    else if (nominated.size() == kNominatedMax)
      is_fine = false;
    else if (std::string name = to_lower(member); !is_plain_option(name))
      nominated.push_back(std::move(name));
  });
  return is_fine;
}

/// Compares a field name with a known one, taking "_" for "-".
bool equals_with_underscores(std::string_view name, std::string_view known) {
  return name.size() == known.size() &&
         std::equal(name.begin(), name.end(), known.begin(),
                    [](char a, char b) { return (a == '_' ? '-' : a) == b; });
}

bool starts_with_underscores(std::string_view name, std::string_view known) {
  return name.size() >= known.size() &&
         equals_with_underscores(name.substr(0, known.size()), known);
}

/// Fields by which a proxy tells who the client is: never believed from just anybody.
bool is_forwarding_field(const Fields::Field& field) {
  switch (field.id) {
    case Name::kForwarded:
    case Name::kXForwardedFor:
    case Name::kXForwardedHost:
    case Name::kXForwardedProto:
    case Name::kXRealIp:
    case Name::kXRequestId: return true;
    case Name::kOther: break;
    default: return false;
  }
  if (field.name.size() < 9 || field.name[0] != 'x') return false;
  return starts_with_underscores(field.name, "x-forwarded") ||
         starts_with_underscores(field.name, "x-envoy-") ||
         equals_with_underscores(field.name, "x-real-ip") ||
         equals_with_underscores(field.name, "x-request-id");
}

/// Nobody's word counts for who showed us a certificate: we see it, or there is none.
bool is_client_certificate_field(const Fields::Field& field) {
  constexpr std::string_view kName = "x-forwarded-client-cert";
  return field.name.size() == kName.size() && equals_with_underscores(field.name, kName);
}

/// RFC 7239 section 6: an IPv6 address stands in brackets and quotes; a unix socket has no name.
std::string forwarded_element(const ForwardingFacts& facts) {
  std::string element = "for=";
  const bool is_v6 = facts.peer_ip.find(':') != facts.peer_ip.npos;
  if (is_v6)
    element.append("\"[").append(facts.peer_ip).append("]\"");
  else
    element.append(facts.peer_ip == "unix" ? "unknown" : facts.peer_ip);
  return element.append(";proto=").append(facts.scheme);
}

/// Keeps what a trusted peer says, and says who that peer is.
void extend_forwarding(Fields& fields, const ForwardingFacts& facts) {
  std::string chain, forwarded;
  bool has_proto = false, has_id = false;
  for (const auto field : fields) {
    if (field.id == Name::kXForwardedFor) chain.append(field.value).append(", ");
    if (field.id == Name::kForwarded) forwarded.append(field.value).append(", ");
    has_proto = has_proto || field.id == Name::kXForwardedProto;
    has_id = has_id || field.id == Name::kXRequestId;
  }
  fields.remove_if(is_client_certificate_field);
  fields.set(Name::kXForwardedFor, chain.append(facts.peer_ip));
  if (!forwarded.empty()) fields.set(Name::kForwarded, forwarded.append(forwarded_element(facts)));
  if (!has_proto) fields.add(Name::kXForwardedProto, facts.scheme);
  if (!has_id) fields.add(Name::kXRequestId, facts.request_id);
}

/// Sorted. Names without a Name of their own.
constexpr std::array<std::string_view, 27> kNeverInTrailers = {"age",
                                                               "authorization",
                                                               "cache-control",
                                                               "content-encoding",
                                                               "content-range",
                                                               "expires",
                                                               "http2-settings",
                                                               "if-match",
                                                               "if-modified-since",
                                                               "if-none-match",
                                                               "if-range",
                                                               "if-unmodified-since",
                                                               "max-forwards",
                                                               "pragma",
                                                               "proxy-authenticate",
                                                               "proxy-authorization",
                                                               "range",
                                                               "set-cookie",
                                                               "traceparent",
                                                               "tracestate",
                                                               "vary",
                                                               "warning",
                                                               "www-authenticate",
                                                               "x-b3-sampled",
                                                               "x-b3-spanid",
                                                               "x-b3-traceid",
                                                               "x-http-method-override"};
static_assert(std::is_sorted(kNeverInTrailers.begin(), kNeverInTrailers.end()));

}  // namespace

bool has_member(std::string_view list, std::string_view member) {
  bool found = false;
  for_each_member(
      list, [&](std::string_view one) { found = found || equals_ignoring_case(one, member); });
  return found;
}

bool is_connection_field(std::string_view name) {
  const Name id = name_of(name);
  return is_hop_by_hop({id, name, {}}) || id == Name::kExpect || id == Name::kHost;
}

std::optional<HopByHop> strip_hop_by_hop(Fields& fields) {
  HopByHop facts;
  std::vector<std::string> nominated;
  bool is_fine = true, has_any = false;
  for (const auto field : fields) {
    if (!is_hop_by_hop(field)) continue;
    has_any = true;
    if (field.id == Name::kConnection) {
      is_fine = is_fine && read_connection(field.value, facts, nominated);
    } else if (field.id == Name::kTe) {
      facts.te_trailers = facts.te_trailers || has_member(field.value, "trailers");
    } else if (field.id == Name::kUpgrade && facts.upgrade.empty()) {
      facts.upgrade = field.value;
    }
  }
  if (!is_fine) return std::nullopt;
  if (!has_any) return facts;
  fields.remove_if([&](const Fields::Field& field) {
    return is_hop_by_hop(field) ||
           std::find(nominated.begin(), nominated.end(), field.name) != nominated.end();
  });
  return facts;
}

void join_cookies(Fields& fields) {
  if (fields.count(Name::kCookie) < 2) return;
  std::string joined;
  for (const auto field : fields) {
    if (field.id != Name::kCookie) continue;
    if (!joined.empty()) joined.append("; ");
    joined.append(field.value);
  }
  fields.set(Name::kCookie, joined);
}

bool is_allowed_in_trailers(const Fields::Field& field) {
  switch (field.id) {
    case Name::kGrpcMessage:
    case Name::kGrpcStatus:
    case Name::kServer:
    case Name::kUserAgent: return true;
    case Name::kOther: break;
    default: return false;
  }
  return !is_forwarding_field(field) && !is_disguised_framing(field.name) &&
         !std::binary_search(kNeverInTrailers.begin(), kNeverInTrailers.end(), field.name);
}

void apply_forwarding(RequestHead& head, const ForwardingFacts& facts) {
  Fields& fields = head.fields;
  if (!facts.is_trusted) {
    fields.remove_if(is_forwarding_field);
    fields.add(Name::kXForwardedFor, facts.peer_ip);
    fields.add(Name::kXForwardedProto, facts.scheme);
    fields.add(Name::kXRequestId, facts.request_id);
  } else {
    extend_forwarding(fields, facts);
  }
  switch (head.version) {  // RFC 9110 section 7.6.3: the version received.
    case HttpVersion::kHttp10: fields.add(Name::kVia, "1.0 gatehouse"); break;
    case HttpVersion::kHttp11: fields.add(Name::kVia, "1.1 gatehouse"); break;
    case HttpVersion::kHttp2: fields.add(Name::kVia, "2.0 gatehouse"); break;
  }
}

}  // namespace gatehouse::proxy
