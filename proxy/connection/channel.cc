#include "proxy/connection/channel.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace gatehouse::proxy {

namespace {
/// Bytes gathered before a write without TLS, and with it; and what one connection writes in one
/// turn.
constexpr std::size_t kOutputBytes = 128 * 1024, kSealedBytes = 32 * 1024;
constexpr std::size_t kShareOfTurn = 4 * kOutputBytes;
}  // namespace

Channel::~Channel() {
  if (tls_ && !is_output_ended_) tls_->close_notify();
  tls_.reset();
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool Channel::send_first(std::string_view bytes) {
  const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent < 0) errno_ = errno;
  return sent == static_cast<ssize_t>(bytes.size());
}

bool Channel::start_tls(net::SslPtr ssl) {
  tls_.emplace(std::move(ssl));
  return tls_->attach(descriptor_);
}

Io Channel::read(char* to, std::size_t size, std::size_t& got) {
  return tls_ ? tls_->read(to, size, got) : receive(to, size, 0, got);
}

Io Channel::peek(char* to, std::size_t size, std::size_t& got) {
  return receive(to, size, MSG_PEEK, got);
}

Io Channel::receive(char* to, std::size_t size, int flags, std::size_t& got) {
  got = 0;
  const ssize_t result = ::recv(descriptor_, to, size, flags);
  if (result > 0) {
    got = static_cast<std::size_t>(result);
    return Io::kDone;
  }
  if (result == 0) return Io::kEof;
  if (errno == EAGAIN || errno == EINTR) return Io::kWantRead;
  errno_ = errno;
  return Io::kFailed;
}

Channel::Written Channel::write_output(Session& session, FlatBuffer& out) {
  // With TLS the writes of a turn are sent together, and what is gathered for them is best sealed
  // while it is in the cache.
  const std::size_t most = tls_ ? kSealedBytes : kOutputBytes;
  const std::size_t waiting = tls_ ? tls_->gathered() : 0;
  Written written;
  std::size_t bytes = 0;
  for (bool is_last = false; !is_last && written.io == Io::kDone;) {
    written.has_more = session.produce(out, most);
    const std::size_t before = out.size();
    is_last = !written.has_more || before < most || bytes + before >= kShareOfTurn;
    if (before == 0 && bytes + waiting == 0) break;
    written.io = write(out, !is_last);
    bytes += before - out.size();
  }
  const std::size_t left = tls_ ? tls_->gathered() : 0;
  const bool is_done = written.io == Io::kDone && bytes + waiting > 0;
  written.has_moved = is_done || waiting + bytes > left;
  return written;
}

Io Channel::write(FlatBuffer& from, bool has_more) {
  if (tls_) return tls_->write(from, has_more);
  while (!from.empty()) {
    const ssize_t result = ::send(descriptor_, from.data(), from.size(), MSG_NOSIGNAL);
    if (result < 0) {
      if (errno == EAGAIN || errno == EINTR) return Io::kWantWrite;
      errno_ = errno;
      return Io::kFailed;
    }
    from.consume(static_cast<std::size_t>(result));
  }
  return Io::kDone;
}

void Channel::end_output() {
  if (is_output_ended_) return;
  is_output_ended_ = true;
  if (tls_) tls_->close_notify();
  ::shutdown(descriptor_, SHUT_WR);
}

void Channel::break_off() {
  is_output_ended_ = true;  // No close_notify either.
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

std::string Channel::failure() const {
  if (errno_ != 0) return errno_error("socket", errno_).message;
  return tls_ ? tls_->failure() : std::string("closed by the peer");
}

}  // namespace gatehouse::proxy
