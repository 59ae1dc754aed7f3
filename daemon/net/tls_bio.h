#pragma once
// A write BIO that gathers TLS records and sends them with one send(2) of up to 160 KiB: worth a
// fifth of the CPU on bulk downloads (PERFORMANCE.md section 2). Reading stays on the socket.

#include "daemon/net/openssl.h"

namespace gatehouse::net {

/// Room of a gathering BIO: ten full records. What a connection writes at once is 128 KiB and a
/// frame beyond it, in records that are 22 bytes longer than what they hold; a rest of some bytes
/// would be a send of its own.
inline constexpr std::size_t kGatherBytes = std::size_t{10} * (16 * 1024 + 256);

/// Puts the gathering BIO over `descriptor` as the write side of `ssl`, a plain socket BIO as its
/// read side. The descriptor stays the caller's.
bool attach_socket(SSL* ssl, int descriptor);

enum class FlushState { kDone, kWouldBlock, kFailed };
/// Sends what was gathered. A handshake sends its own flights, but when the socket took only a
/// part, the rest is gathered here, too: with gathered_bytes() left, wait for writability in any
/// state. kWouldBlock: call again when the socket is writable.
FlushState flush_records(SSL* ssl);
/// Bytes gathered and not yet sent.
std::size_t gathered_bytes(SSL* ssl);

}  // namespace gatehouse::net
