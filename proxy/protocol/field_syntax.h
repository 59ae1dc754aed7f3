#pragma once
// What bytes may stand where in a head: tokens, field values, authorities, paths. The same for
// HTTP/1.1 and HTTP/2, and stricter than the RFCs where leniency has been used for smuggling. Pure
// functions over views; nothing allocates.

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace gatehouse::proxy {

/// The lower-case form of each byte that may stand in a token (RFC 9110 section 5.6.2), else 0.
extern const std::array<char, 256> kTokenLowerCase;

inline char token_lower_case(char c) { return kTokenLowerCase[static_cast<unsigned char>(c)]; }

/// 1*tchar.
bool is_token(std::string_view text);
/// A field name as HTTP/2 has it: a token without upper-case letters (RFC 9113 section 8.2.1).
bool is_lower_case_name(std::string_view text);
/// Framing spelled with "_": a backend that takes it for "-", as the heirs of CGI do, would read
/// what we did not. `name` is lower case.
constexpr bool is_disguised_framing(std::string_view name) {
  return name == "content_length" || name == "transfer_encoding";
}
/// No control characters but HTAB: so no NUL, CR or LF (RFC 9110 section 5.5). May be empty.
bool is_field_value(std::string_view text);
/// 1*DIGIT that fits 63 bits (RFC 9110 section 8.6); one value, no list.
std::optional<std::uint64_t> parse_content_length(std::string_view text);

/// host[:port] without user info: a name of letters, digits, "-", ".", "_", "~", or an address
/// literal; a port of 1 to 65535. Never empty.
bool is_valid_authority(std::string_view text);
/// An origin-form target: "/", then visible ASCII without "#" (HARDENING.md section 3). Queries are
/// part of it. The asterisk-form is not.
bool is_valid_path(std::string_view text);

}  // namespace gatehouse::proxy
