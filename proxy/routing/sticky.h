#pragma once
// The cookie that keeps a client with one host of a backend. Its value is the host's id as 16
// hexadecimal digits: the same on every node, and no address. Pure.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/protocol/message.h"

namespace gatehouse::proxy {

/// The value of the first cookie of that name (RFC 6265 section 4.2); without quotes around it.
std::optional<std::string_view> find_cookie(const Fields& fields, std::string_view name);

/// 0: not what we write.
std::uint64_t parse_host_id(std::string_view text);

/// For Set-Cookie. It ends with the browser's session.
std::string sticky_cookie(std::string_view name, std::uint64_t host_id, bool is_secure);

}  // namespace gatehouse::proxy
