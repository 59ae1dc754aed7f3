#include "proxy/protocol/upgrade.h"

#include <array>
#include <bit>
#include <cstring>

#include "daemon/base/text.h"
#include "proxy/protocol/headers.h"

namespace gatehouse::proxy {

namespace {

using Digest = std::array<char, 20>;

/// SHA-1 of a short text (RFC 3174), which WebSocket uses as a checksum: it protects nothing, and
/// OpenSSL has no place in this room.
Digest sha1(std::string text) {
  const std::uint64_t bits = text.size() * 8;
  text.push_back('\x80');
  while (text.size() % 64 != 56) text.push_back('\0');
  for (int shift = 56; shift >= 0; shift -= 8) text.push_back(static_cast<char>(bits >> shift));
  std::array<std::uint32_t, 5> state{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  for (std::size_t block = 0; block < text.size(); block += 64) {
    std::array<std::uint32_t, 80> words{};
    for (std::size_t i = 0; i < 64; ++i)
      words[i / 4] = words[i / 4] << 8 | static_cast<unsigned char>(text[block + i]);
    for (std::size_t i = 16; i < 80; ++i)
      words[i] = std::rotl(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
    auto [a, b, c, d, e] = state;
    for (std::size_t i = 0; i < 80; ++i) {
      const std::uint32_t mixed = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                                  : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                                  : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                                           : (b ^ c ^ d) + 0xca62c1d6;
      const std::uint32_t next = std::rotl(a, 5) + mixed + e + words[i];
      e = d;
      d = c;
      c = std::rotl(b, 30);
      b = a;
      a = next;
    }
    state = {state[0] + a, state[1] + b, state[2] + c, state[3] + d, state[4] + e};
  }
  Digest digest{};
  for (std::size_t i = 0; i < digest.size(); ++i)
    digest[i] = static_cast<char>(state[i / 4] >> (24 - 8 * (i % 4)));
  return digest;
}

/// 16 bytes of chance (RFC 6455 section 4.1).
std::string make_websocket_key(Random& random) {
  const std::array<std::uint64_t, 2> nonce{random.next(), random.next()};
  std::array<char, sizeof nonce> bytes{};
  std::memcpy(bytes.data(), nonce.data(), sizeof nonce);
  return to_base64({bytes.data(), bytes.size()});
}

}  // namespace

UpgradeVerdict settle_upgrade(RequestHead& request, bool is_allowed, bool has_body,
                              Random& random) {
  if (request.upgrade.empty()) return UpgradeVerdict::kNone;
  const bool is_extended_connect = request.version == HttpVersion::kHttp2;
  const bool asks = is_extended_connect || has_member(request.upgrade, kWebSocket);
  if (asks && has_body && !is_extended_connect) return UpgradeVerdict::kHasBody;
  if (!asks || request.method != "GET") {
    request.upgrade.clear();
    return UpgradeVerdict::kNone;
  }
  if (!is_allowed) return UpgradeVerdict::kRefused;
  request.upgrade = kWebSocket;
  // RFC 8441 section 5: over HTTP/2 there is none, but HTTP/1.1 backends want one.
  if (is_extended_connect) request.fields.set(kWebSocketKey, make_websocket_key(random));
  return UpgradeVerdict::kForward;
}

std::string websocket_accept(std::string_view key) {
  const Digest digest = sha1(std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  return to_base64({digest.data(), digest.size()});
}

}  // namespace gatehouse::proxy
