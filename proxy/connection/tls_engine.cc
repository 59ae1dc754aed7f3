#include "proxy/connection/tls_engine.h"

#include <openssl/err.h>

#include <algorithm>

#include "daemon/net/tls_bio.h"
#include "daemon/net/tls_context.h"

namespace gatehouse::proxy {

namespace {
constexpr std::size_t kRecordBytes = 16 * 1024;  // RFC 8446 section 5.1
}

bool TlsEngine::attach(int descriptor) { return net::attach_socket(ssl_.get(), descriptor); }

Io TlsEngine::outcome(int result) {
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ: return Io::kWantRead;
    case SSL_ERROR_WANT_WRITE: return Io::kWantWrite;
    case SSL_ERROR_ZERO_RETURN: return Io::kEof;
    default: break;
  }
  failure_ = ERR_peek_error() ? net::openssl_error("tls").message : "tls: closed by the peer";
  ERR_clear_error();
  return Io::kFailed;
}

Io TlsEngine::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  Io io = result == 1 ? Io::kDone : outcome(result);
  // The records of this flight, an alert included, are in the gathering BIO: send them.
  switch (net::flush_records(ssl_.get())) {
    case net::FlushState::kDone: break;
    case net::FlushState::kWouldBlock:
      if (io == Io::kWantRead) io = Io::kWantWrite;
      break;
    case net::FlushState::kFailed:
      if (io != Io::kFailed) failure_ = "tls: closed by the peer";
      return Io::kFailed;
  }
  is_open_ = is_open_ || result == 1;
  return io;
}

Io TlsEngine::read(char* to, std::size_t size, std::size_t& got) {
  got = 0;
  const int result = SSL_read_ex(ssl_.get(), to, size, &got);
  if (result == 1) return Io::kDone;
  return outcome(result);
}

Io TlsEngine::write(FlatBuffer& from) {
  while (!from.empty()) {
    const std::size_t size = repeat_ ? repeat_ : std::min(kRecordBytes, from.size());
    std::size_t written = 0;
    const int result = SSL_write_ex(ssl_.get(), from.data(), size, &written);
    if (result != 1) {
      const Io io = outcome(result);
      if (io == Io::kWantWrite || io == Io::kWantRead) repeat_ = size;
      return io;
    }
    repeat_ = 0;
    from.consume(written);
  }
  switch (net::flush_records(ssl_.get())) {
    case net::FlushState::kDone: return Io::kDone;
    case net::FlushState::kWouldBlock: return Io::kWantWrite;
    case net::FlushState::kFailed: break;
  }
  failure_ = "tls: closed by the peer";
  return Io::kFailed;
}

void TlsEngine::close_notify() {
  if (!is_open_ || repeat_) return;  // Amid a record, a close_notify can't be sent in order.
  ERR_clear_error();
  if (SSL_shutdown(ssl_.get()) < 0) ERR_clear_error();
  (void)net::flush_records(ssl_.get());
}

std::string_view TlsEngine::alpn() const {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string_view TlsEngine::server_name() const {
  const char* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
  return name ? std::string_view(name) : std::string_view();
}

const net::Credential* TlsEngine::credential() const {
  return net::ServerTlsContext::credential_of(ssl_.get());
}

}  // namespace gatehouse::proxy
