#include "daemon/net/tls_policy.h"

#include <openssl/err.h>

namespace gatehouse::net {

namespace {

// AES-128 first: as strong as anybody needs, and measurably faster (PERFORMANCE.md section 4.7).
constexpr char kSuites13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
// Mozilla's intermediate list in its order, without the finite-field DHE that nobody needs any
// more.
constexpr char kCiphers12[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr char kGroups[] = "X25519:P-256:P-384";
// OpenSSL 3.5 has the post-quantum hybrid; older ones refuse the whole list.
constexpr char kHybridGroups[] = "X25519MLKEM768:X25519:P-256:P-384";
constexpr int kSecurityLevel = 2;  // 112 bits: RSA from 2048, no SHA-1

bool set_groups(SSL_CTX* context) {
  if (SSL_CTX_set1_groups_list(context, kHybridGroups) == 1) return true;
  ERR_clear_error();
  return SSL_CTX_set1_groups_list(context, kGroups) == 1;
}

}  // namespace

int oldest_version(TlsProfile profile) {
  return profile == TlsProfile::kModern ? TLS1_3_VERSION : TLS1_2_VERSION;
}

bool apply_policy(SSL_CTX* context, TlsProfile profile) {
  // The server's order decides, but a client that puts ChaCha20 first has no AES hardware.
  // SSL_OP_IGNORE_UNEXPECTED_EOF stays off: without close_notify an end may be an attacker's cut.
  // A session that knows where its messages end may forgive it, a close-delimited body must not.
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_clear_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Moving: a write that is repeated may come from another place, our buffers are chains of blocks.
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  // Two records for a system call; the memory is held only while part of one has come.
  SSL_CTX_set_default_read_buffer_len(context, 33 * 1024);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_security_level(context, kSecurityLevel);
  return SSL_CTX_set_min_proto_version(context, oldest_version(profile)) == 1 &&
         SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_ciphersuites(context, kSuites13) == 1 &&
         SSL_CTX_set_cipher_list(context, kCiphers12) == 1 && set_groups(context);
}

}  // namespace gatehouse::net
