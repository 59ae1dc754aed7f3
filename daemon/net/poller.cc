#include "daemon/net/poller.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <vector>

#include "daemon/net/loop.h"

namespace gatehouse::net {

namespace asio = boost::asio;

namespace {

constexpr int kTokenBits = 56;
constexpr std::uint64_t kTokenMask = (std::uint64_t{1} << kTokenBits) - 1;
constexpr int kFarAhead = 6, kNearAhead = 3;  // events: some microseconds each

epoll_event make_event(std::uint8_t sink, std::uint64_t token, Poller::Interest interest) {
  check((token & ~kTokenMask) == 0, "a poller token has more than 56 bits");
  epoll_event event{};
  // EPOLLERR and EPOLLHUP come unasked.
  if (interest == Poller::Interest::kRead || interest == Poller::Interest::kReadWrite)
    event.events |= EPOLLIN | EPOLLRDHUP;
  if (interest == Poller::Interest::kWrite || interest == Poller::Interest::kReadWrite)
    event.events |= EPOLLOUT;
  event.data.u64 = std::uint64_t{sink} << kTokenBits | token;
  return event;
}

}  // namespace

struct Poller::State {
  explicit State(Loop& given)
      : loop(given), set(given.context()), at_turn_end(given, [this] { wait(); }) {}

  Loop& loop;
  asio::posix::stream_descriptor set;  // the epoll set; owns the descriptor
  std::vector<ReadySink*> sinks;
  std::array<epoll_event, 512> events{};
  bool is_running = false, is_waiting = false;
  // Asio keeps a completed wait until it is run; by then we may be gone.
  std::shared_ptr<const bool> alive = std::make_shared<const bool>(true);
  TurnHook at_turn_end;  // Waits anew once per turn, so that there is one round per turn.

  void wait() {
    if (!is_running || is_waiting) return;
    is_waiting = true;
    set.async_wait(
        asio::posix::stream_descriptor::wait_read,
        [this, still = std::weak_ptr<const bool>(alive)](const boost::system::error_code& error) {
          if (still.expired()) return;
          is_waiting = false;
          if (!error) run_round();
        });
  }

  void expect(int index, ReadySink::Distance distance) {
    const std::uint64_t named = events[static_cast<std::size_t>(index)].data.u64;
    sinks[named >> kTokenBits]->expect(named & kTokenMask, distance);
  }

  void run_round() {
    if (!is_running) return;
    const int count =
        epoll_wait(set.native_handle(), events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count && is_running; ++i) {
      if (i + kFarAhead < count) expect(i + kFarAhead, ReadySink::Distance::kFar);
      if (i + kNearAhead < count) expect(i + kNearAhead, ReadySink::Distance::kNear);
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      constexpr std::uint32_t kBroken = EPOLLERR | EPOLLHUP;
      Ready ready;
      ready.readable = (event.events & (EPOLLIN | EPOLLRDHUP | kBroken)) != 0;
      ready.writable = (event.events & EPOLLOUT) != 0;
      ready.peer_closed = (event.events & (EPOLLRDHUP | kBroken)) != 0;
      sinks[event.data.u64 >> kTokenBits]->on_ready(event.data.u64 & kTokenMask, ready);
    }
  }
};

Poller::Poller(Loop& loop) : state_(std::make_unique<State>(loop)) {}
Poller::~Poller() { stop(); }

Result<void> Poller::start() {
  check(!state_->is_running, "a poller started twice");
  const int descriptor = epoll_create1(EPOLL_CLOEXEC);
  if (descriptor < 0) return errno_error("creating an epoll set", errno);
  boost::system::error_code failed;
  state_->set.assign(descriptor, failed);
  if (failed) {
    ::close(descriptor);
    return errno_error("watching an epoll set", failed.value());
  }
  state_->is_running = true;
  state_->wait();
  return {};
}

void Poller::stop() {
  state_->is_running = false;
  boost::system::error_code ignored;  // Nothing is left to do about it.
  state_->set.close(ignored);
}

std::uint8_t Poller::add_sink(ReadySink& sink) {
  check(state_->sinks.size() < 255, "a poller has 255 sinks at most");
  state_->sinks.push_back(&sink);
  return static_cast<std::uint8_t>(state_->sinks.size() - 1);
}

Result<void> Poller::add(int descriptor, std::uint8_t sink, std::uint64_t token,
                         Interest interest) {
  epoll_event event = make_event(sink, token, interest);
  if (epoll_ctl(state_->set.native_handle(), EPOLL_CTL_ADD, descriptor, &event) != 0)
    return errno_error("watching a descriptor", errno);
  return {};
}

void Poller::change(int descriptor, std::uint8_t sink, std::uint64_t token, Interest interest) {
  epoll_event event = make_event(sink, token, interest);
  const int failed = epoll_ctl(state_->set.native_handle(), EPOLL_CTL_MOD, descriptor, &event);
  check(failed == 0, "a descriptor to be watched differently is not watched");
}

void Poller::remove(int descriptor) {
  // Whoever removes what is not there (any more) has what they want.
  epoll_ctl(state_->set.native_handle(), EPOLL_CTL_DEL, descriptor, nullptr);
}

}  // namespace gatehouse::net
