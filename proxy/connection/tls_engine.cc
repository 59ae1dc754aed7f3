#include "proxy/connection/tls_engine.h"

#include <openssl/err.h>

#include <algorithm>

#include "daemon/net/client_certificate.h"
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
  has_alert_ = ERR_GET_REASON(ERR_peek_error()) > SSL_AD_REASON_OFFSET;
  failure_ = ERR_peek_error() ? net::openssl_error("tls").message : "tls: closed by the peer";
  if (const std::string reason = net::verify_failure(ssl_.get()); !reason.empty())
    failure_.append(": ").append(reason);
  ERR_clear_error();
  return Io::kFailed;
}

/// kDone: no more of it comes.
Io TlsEngine::read_early_data() {
  char block[4096];
  for (;;) {
    std::size_t got = 0;
    switch (SSL_read_early_data(ssl_.get(), block, sizeof block, &got)) {
      case SSL_READ_EARLY_DATA_SUCCESS: early_input_->append(block, got); break;
      case SSL_READ_EARLY_DATA_FINISH: has_read_early_data_ = true; return Io::kDone;
      default: return outcome(0);
    }
  }
}

Io TlsEngine::handshake() {
  ERR_clear_error();
  Io io = early_input_ && !has_read_early_data_ ? read_early_data() : Io::kDone;
  if (io == Io::kDone) {
    const int result = SSL_do_handshake(ssl_.get());
    if (result != 1) io = outcome(result);
  }
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
  is_open_ = is_open_ || io == Io::kDone;
  return io;
}

Io TlsEngine::read(char* to, std::size_t size, std::size_t& got) {
  got = 0;
  const int result = SSL_read_ex(ssl_.get(), to, size, &got);
  if (result == 1) return Io::kDone;
  return outcome(result);
}

/// Amid the handshake: a record at a time, for the buffer that OpenSSL then keeps before the socket
/// does not bear a socket that takes nothing.
Io TlsEngine::write_early(FlatBuffer& from) {
  for (;;) {
    switch (net::flush_records(ssl_.get())) {
      case net::FlushState::kDone: break;
      case net::FlushState::kWouldBlock: return Io::kWantWrite;
      case net::FlushState::kFailed: failure_ = "tls: closed by the peer"; return Io::kFailed;
    }
    if (from.empty()) return Io::kDone;
    std::size_t written = 0;
    const std::size_t size = std::min(kRecordBytes, from.size());
    if (SSL_write_early_data(ssl_.get(), from.data(), size, &written) != 1) return outcome(0);
    from.consume(written);
  }
}

Io TlsEngine::write_records(FlatBuffer& from, bool has_more) {
  while (from.size() >= kRecordBytes || (!has_more && !from.empty())) {
    switch (net::make_room(ssl_.get())) {
      case net::FlushState::kDone: break;
      case net::FlushState::kWouldBlock: return Io::kWantWrite;
      case net::FlushState::kFailed: failure_ = "tls: closed by the peer"; return Io::kFailed;
    }
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
  return Io::kDone;
}

Io TlsEngine::write(FlatBuffer& from, bool has_more) {
  if (!is_open_) return write_early(from);
  const Io io = write_records(from, has_more);
  if (io != Io::kDone || has_more) return io;
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

const net::ServerTlsPolicy* TlsEngine::policy() const {
  return net::ServerTlsContext::policy_of(ssl_.get());
}

const net::Credential* TlsEngine::credential() const {
  return net::ServerTlsContext::credential_of(ssl_.get());
}

}  // namespace gatehouse::proxy
