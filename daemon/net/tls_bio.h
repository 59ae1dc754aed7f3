#pragma once
// The BIO between OpenSSL and a socket. It gathers TLS records and sends them with one send(2) of
// up to 160 KiB: worth a fifth of the CPU on bulk downloads (PERFORMANCE.md section 2). With
// TLS 1.3 and an OpenSSL before 3.2 it also makes the records, in the place that they are sent from
// (record_sealer.h); OpenSSL is told that this is a kernel with TLS. No kernel's TLS is used.

#include "daemon/net/openssl.h"

namespace gatehouse::net {

/// Room of a gathering BIO: ten full records. What a connection writes at once is 128 KiB and a
/// frame beyond it, in records that are 22 bytes longer than what they hold; a rest of some bytes
/// would be a send of its own.
inline constexpr std::size_t kGatherBytes = std::size_t{10} * (16 * 1024 + 256);

/// The longest record: 2^14 octets and what any cipher adds (RFC 8446 section 5.2).
inline constexpr std::size_t kRecordBytesMax = 16 * 1024 + 256;

/// Puts the BIO between `ssl` and `descriptor`, which stays the caller's.
bool attach_socket(SSL* ssl, int descriptor);

enum class FlushState { kDone, kWouldBlock, kFailed };
/// Before each SSL_write of a record's size or less: there is room for it, or the socket takes
/// nothing now. Without it SSL_write fails when there is none.
FlushState make_room(SSL* ssl);
/// Sends what was gathered. A handshake sends its own flights, but when the socket took only a
/// part, the rest is gathered here, too: with gathered_bytes() left, wait for writability in any
/// state. kWouldBlock: call again when the socket is writable.
FlushState flush_records(SSL* ssl);
/// Bytes gathered and not yet sent.
std::size_t gathered_bytes(SSL* ssl);
/// Whether this OpenSSL lets us make records of TLS 1.3.
bool may_seal();
/// Whether records are made here; else OpenSSL makes them.
bool seals_records(SSL* ssl);
/// Frees what a silent connection does not need.
void shrink_records(SSL* ssl);

}  // namespace gatehouse::net
