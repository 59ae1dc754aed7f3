#include "proxy/protocol/field_syntax.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "daemon/base/text.h"

namespace gatehouse::proxy {

namespace {

constexpr std::size_t kHostBytesMax = 255;

constexpr std::array<char, 256> make_token_table() {
  std::array<char, 256> table{};
  for (int c = 'a'; c <= 'z'; ++c) table[static_cast<std::size_t>(c)] = static_cast<char>(c);
  for (int c = 'A'; c <= 'Z'; ++c) table[static_cast<std::size_t>(c)] = static_cast<char>(c + 32);
  for (int c = '0'; c <= '9'; ++c) table[static_cast<std::size_t>(c)] = static_cast<char>(c);
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) table[static_cast<std::size_t>(c)] = c;
  return table;
}

/// Some byte of the word is below 0x20 or is DEL. HTAB is among them: the caller looks closer.
constexpr bool has_control(std::uint64_t word) {
  constexpr std::uint64_t kOnes = 0x0101010101010101, kHighs = 0x8080808080808080;
  const std::uint64_t is_low = (word - kOnes * 0x20) & ~word & kHighs;
  const std::uint64_t del = word ^ (kOnes * 0x7f);
  const std::uint64_t is_del = (del - kOnes) & ~del & kHighs;
  return (is_low | is_del) != 0;
}

constexpr bool is_value_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
}

bool is_name_byte(char c) {
  return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

bool is_ipv6(std::string_view text) {
  char copy[INET6_ADDRSTRLEN] = {};
  if (text.size() >= sizeof copy) return false;
  std::copy(text.begin(), text.end(), copy);
  in6_addr address;
  return ::inet_pton(AF_INET6, copy, &address) == 1;
}

bool is_port(std::string_view text) {
  if (text.empty() || text.size() > 5) return false;
  unsigned port = 0;
  for (const char c : text) {
    if (!is_digit(c)) return false;
    port = port * 10 + static_cast<unsigned>(c - '0');
  }
  return port >= 1 && port <= 65535;
}

}  // namespace

const std::array<char, 256> kTokenLowerCase = make_token_table();

bool is_token(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return token_lower_case(c) != 0; });
}

bool is_lower_case_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](char c) { return token_lower_case(c) == c && c; });
}

bool is_field_value(std::string_view text) {
  const char* const end = text.data() + text.size();
  if (text.size() < 8) return std::all_of(text.data(), end, is_value_byte);
  const auto is_fine = [](const char* at) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    return !has_control(word) || std::all_of(at, at + 8, is_value_byte);
  };
  for (const char* at = text.data(); end - at > 8; at += 8)
    if (!is_fine(at)) return false;
  return is_fine(end - 8);  // Some of them once more.
}

std::optional<std::uint64_t> parse_content_length(std::string_view text) {
  const auto length = parse_decimal(text);
  if (!length || *length > INT64_MAX) return std::nullopt;
  return length;
}

bool is_valid_authority(std::string_view text) {
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || !is_ipv6(text.substr(1, end - 1))) return false;
    const std::string_view rest = text.substr(end + 1);
    return rest.empty() || (rest[0] == ':' && is_port(rest.substr(1)));
  }
  const std::size_t colon = text.find(':');
  const std::string_view host = text.substr(0, colon);
  if (host.empty() || host.size() > kHostBytesMax) return false;
  if (!std::all_of(host.begin(), host.end(), is_name_byte)) return false;
  return colon == std::string_view::npos || is_port(text.substr(colon + 1));
}

bool is_valid_path(std::string_view text) {
  return text.starts_with('/') && std::all_of(text.begin(), text.end(), [](char c) {
           return c > 0x20 && c < 0x7f && c != '#';
         });
}

}  // namespace gatehouse::proxy
