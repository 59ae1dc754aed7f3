#pragma once
// Protocol versions, ciphers, curves and modes that every SSL_CTX of ours has, by Mozilla's
// profiles (https://wiki.mozilla.org/Security/Server_Side_TLS). For the TLS contexts only.

#include "daemon/net/tls_context.h"

namespace gatehouse::net {

int oldest_version(TlsProfile profile);
/// False: OpenSSL refused something; its error queue says what.
bool apply_policy(SSL_CTX* context, TlsProfile profile);

/// Keeps the name that peers must have with the context, as long as the context lives.
bool keep_verify_san(SSL_CTX* context, std::string verify_san);
/// What was kept with the SSL's context; may be null.
const std::string* verify_san_of(const SSL* ssl);

}  // namespace gatehouse::net
