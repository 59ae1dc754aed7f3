#include "proxy/connection/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "daemon/base/log.h"

namespace gatehouse::proxy {

namespace {
constexpr int kBacklog = 4096;
constexpr int kAcceptsPerTurn = 64;
constexpr Duration kRetryAccept = std::chrono::milliseconds(100);

/// What sockets that accept for us have in common, before they are bound. Accepted ones inherit it.
void set_options(int descriptor, int family) {
  const int on = 1, off = 0;
  ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (family == AF_INET6) ::setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
}

int listening_socket(int family) {
  return ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}
}  // namespace

Listener::Listener(ListenerHost& host, net::Poller& poller, TimerQueue& timers,
                   net::ListenAddress address, bool is_tls)
    : host_(host),
      poller_(poller),
      address_(std::move(address)),
      is_tls_(is_tls),
      retry_(timers, [this] {
        is_out_of_descriptors_ = false;
        if (!is_paused_) watch(true);
      }) {}

Listener::~Listener() { stop(); }

Result<int> Listener::bind(const net::ListenAddress& address, bool shares_port) {
  const net::SocketAddress& where = address.address;
  const int descriptor = listening_socket(where.family());
  if (descriptor < 0) return errno_error("listening on " + address.text, errno);
  if (where.is_unix()) {
    // A socket file that nobody listens on any more is in the way; anything else is not ours.
    struct stat facts {};
    const std::string path = where.to_string().substr(5);
    if (::stat(path.c_str(), &facts) == 0 && S_ISSOCK(facts.st_mode)) {
      const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (::connect(probe, where.native(), where.native_size()) != 0 && errno == ECONNREFUSED)
        ::unlink(path.c_str());
      ::close(probe);
    }
  } else {
    set_options(descriptor, where.family());
  }
  // Bound before the port is shared: a port that another process has is an error, also when that
  // one shares it.
  const int on = 1;
  if (::bind(descriptor, where.native(), where.native_size()) != 0 ||
      (shares_port && !where.is_unix() &&
       ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) ||
      ::listen(descriptor, kBacklog) != 0) {
    const Error error = errno_error("listening on " + address.text, errno);
    ::close(descriptor);
    return error;
  }
  return descriptor;
}

int Listener::bind_beside(int descriptor) {
  sockaddr_storage where{};
  socklen_t size = sizeof where;
  auto* const address = reinterpret_cast<sockaddr*>(&where);
  if (::getsockname(descriptor, address, &size) != 0) return -1;
  const int beside = listening_socket(where.ss_family);
  if (beside < 0) return -1;
  set_options(beside, where.ss_family);
  const int on = 1;
  if (::setsockopt(beside, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 &&
      ::bind(beside, address, size) == 0 && ::listen(beside, kBacklog) == 0)
    return beside;
  ::close(beside);
  return -1;
}

Result<void> Listener::start(std::uint8_t sink, std::uint64_t token, int descriptor) {
  sink_ = sink;
  token_ = token;
  descriptor_ = descriptor;
  ::fcntl(descriptor_, F_SETFL, ::fcntl(descriptor_, F_GETFL) | O_NONBLOCK);  // systemd's may block
  reserve_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  return poller_.add(descriptor_, sink_, token_, net::Poller::Interest::kNone);
}

void Listener::on_ready() {
  for (int accepts = 0; accepts < kAcceptsPerTurn && !is_paused_ && descriptor_ >= 0; ++accepts) {
    if (!host_.reserve_place()) return;
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const int accepted = ::accept4(descriptor_, reinterpret_cast<sockaddr*>(&from), &size,
                                   SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted >= 0) {
      host_.on_accept(*this, accepted,
                      net::SocketAddress::from_native(reinterpret_cast<sockaddr*>(&from), size));
      continue;
    }
    const int error_number = errno;
    host_.release_place();
    if (error_number == ECONNABORTED || error_number == EINTR) continue;
    if (error_number == EMFILE || error_number == ENFILE || error_number == ENOBUFS ||
        error_number == ENOMEM)
      on_out_of_descriptors();
    return;  // EAGAIN above all.
  }
}

/// Takes one visitor out of the queue, so that it learns at once; then waits a little.
void Listener::on_out_of_descriptors() {
  log(Level::kWarn, "listener.out_of_descriptors").with("listen", address_.text);
  if (reserve_ >= 0) {
    ::close(reserve_);
    const int refused = ::accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC);
    if (refused >= 0) ::close(refused);
    reserve_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  }
  is_out_of_descriptors_ = true;
  watch(false);
  retry_.arm(kRetryAccept);
}

void Listener::watch(bool is_on) {
  if (descriptor_ < 0) return;
  poller_.change(descriptor_, sink_, token_,
                 is_on ? net::Poller::Interest::kRead : net::Poller::Interest::kNone);
}

void Listener::pause() {
  if (std::exchange(is_paused_, true)) return;
  watch(false);
}

void Listener::resume() {
  if (!std::exchange(is_paused_, false)) return;
  if (!is_out_of_descriptors_) watch(true);
}

void Listener::stop() {
  retry_.cancel();
  if (reserve_ >= 0) ::close(std::exchange(reserve_, -1));
  if (descriptor_ < 0) return;
  poller_.remove(descriptor_);
  ::close(std::exchange(descriptor_, -1));
  if (address_.address.is_unix()) ::unlink(address_.address.to_string().substr(5).c_str());
}

net::SocketAddress Listener::bound() const {
  sockaddr_storage where{};
  socklen_t size = sizeof where;
  ::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&where), &size);
  return net::SocketAddress::from_native(reinterpret_cast<sockaddr*>(&where), size);
}

}  // namespace gatehouse::proxy
