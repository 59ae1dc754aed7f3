#pragma once
// Rules on field lists that hold for every version of HTTP: lists, hop-by-hop fields (RFC 9110
// section 7.6.1), trailers (section 6.5.1), cookie crumbs, and the forwarding fields of DESIGN.md
// ("Headers"). Pure. Which bytes may stand where is field_syntax.h.

#include <optional>
#include <string>
#include <string_view>

#include "daemon/base/text.h"
#include "proxy/protocol/field_syntax.h"
#include "proxy/protocol/message.h"

namespace gatehouse::proxy {

/// Calls `visit` with each member of a comma-separated list, trimmed; empty ones are skipped
/// (RFC 9110 section 5.6.1.2). Not for lists whose members may be quoted strings.
template <class Visit>
void for_each_member(std::string_view list, Visit visit) {
  while (!list.empty()) {
    const std::string_view member = trim(take_until(list, ','));
    if (!member.empty()) visit(member);
  }
}

/// Whether a list has that member, in any case.
bool has_member(std::string_view list, std::string_view member);

/// Names that are in no head's fields, because they speak of the connection or of this hop alone:
/// Connection and its kin, Expect, Host. In lower case.
bool is_connection_field(std::string_view name);

/// What the hop-by-hop fields of a message said before they were removed.
struct HopByHop {
  bool has_close = false;
  bool has_keep_alive = false;
  bool names_upgrade = false;  // "Connection: upgrade" was there
  bool te_trailers = false;    // "TE: trailers" was there
  std::string upgrade;         // Upgrade's value as sent
};

/// Removes the hop-by-hop fields and those that Connection nominates. Framing has to be decided
/// before; Content-Length stays even when nominated, for it says what the framing was. Nothing: it
/// nominates more names than any real sender does, the message is to be refused.
std::optional<HopByHop> strip_hop_by_hop(Fields& fields);

/// Joins several Cookie fields with "; " (RFC 9113 section 8.2.3).
void join_cookies(Fields& fields);

/// False for fields that a recipient must know before the body: framing, routing, authentication,
/// request modifiers, and the fields that tell a backend who the client is. They are dropped from
/// trailers (RFC 9110 section 6.5.1).
bool is_allowed_in_trailers(const Fields::Field& field);

/// What we know of the client's connection. Views live during the call.
struct ForwardingFacts {
  std::string_view peer_ip;
  bool is_trusted = false;      // it is one of listen.trusted_proxies
  std::string_view scheme;      // of the client's connection
  std::string_view request_id;  // for X-Request-Id, unless a trusted peer has sent one
};

/// Writes X-Forwarded-For, X-Forwarded-Proto, X-Request-Id and Via of a request that goes to a
/// backend. What an untrusted peer claims is removed first, spelled with "_" too, because CGI-like
/// backends cannot tell the two apart; what a trusted one says is kept and extended, Forwarded
/// (RFC 7239) when it is there. X-Forwarded-Client-Cert is believed from nobody.
void apply_forwarding(RequestHead& head, const ForwardingFacts& facts);

}  // namespace gatehouse::proxy
