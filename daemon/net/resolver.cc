#include "daemon/net/resolver.h"

#define CARES_NO_DEPRECATED  // Newer versions have other calls for SRV, which Debian 12 lacks.
#include <ares.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <algorithm>
#include <cstdlib>
#include <list>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "daemon/base/text.h"
#include "daemon/base/timer_queue.h"
#include "daemon/net/loop.h"
#include "daemon/net/poller.h"

namespace gatehouse::net {

namespace {

constexpr Duration kShortestTtl = std::chrono::seconds(1);
constexpr Duration kLongestTtl = std::chrono::minutes(5);
constexpr Duration kFailureTtl = std::chrono::seconds(5);
constexpr std::size_t kCachedMax = 4096;
constexpr std::size_t kNameMax = 253;  // RFC 1035 section 2.3.4, as text.
constexpr int kClassIn = 1, kTypeSrv = 33;

using Ips = std::vector<IpAddress>;

/// The first family keeps its lead, then the families take turns.
Ips interleaved(const Ips& sorted) {
  Ips first, second, all;
  for (const IpAddress& ip : sorted)
    (ip.is_v6() == sorted.front().is_v6() ? first : second).push_back(ip);
  for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
    if (i < first.size()) all.push_back(first[i]);
    if (i < second.size()) all.push_back(second[i]);
  }
  return all;
}

bool is_localhost(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  return name == "localhost" || name.ends_with(".localhost");
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kNameMax && name.find('\0') == name.npos;
}

/// The smallest TTL among the answers of a DNS message (RFC 1035 section 4.1); the longest that we
/// keep anything when there is none.
Duration shortest_ttl(std::span<const unsigned char> message) {
  std::size_t at = 12;
  const auto u16 = [&](std::size_t from) -> std::size_t {
    return from + 2 <= message.size() ? message[from] << 8 | message[from + 1] : 0;
  };
  const auto skip_name = [&] {
    while (at < message.size() && message[at] != 0) {
      if (message[at] >= 0xc0) {  // The rest is elsewhere.
        at += 2;
        return;
      }
      at += std::size_t{message[at]} + 1;
    }
    ++at;
  };
  for (std::size_t left = u16(4); left > 0 && at < message.size(); --left) {
    skip_name();
    at += 4;
  }
  Duration shortest = kLongestTtl;
  for (std::size_t left = u16(6); left > 0 && at < message.size(); --left) {
    skip_name();
    if (at + 10 > message.size()) break;
    const auto ttl = u16(at + 4) << 16 | u16(at + 6);
    shortest = std::min<Duration>(shortest, std::chrono::seconds(ttl));
    at += 10 + u16(at + 8);
  }
  return shortest;
}

Ips loopback() {
  const std::uint8_t v6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
                     v4[4] = {127, 0, 0, 1};
  return {IpAddress::from_bytes(v6, true), IpAddress::from_bytes(v4, false)};
}

Error failure(const std::string& name, int status) {
  const Fault fault = status == ARES_ETIMEOUT ? Fault::kTimeout : Fault::kResolve;
  std::string why = ares_strerror(status);
  if (status == ARES_ENOTFOUND) why = "no such name";
  if (status == ARES_ENODATA) why = "the name has no address";
  if (status == ARES_ETIMEOUT) why = "no DNS server answers";
  if (status == ARES_ECONNREFUSED) why = "no DNS server can be reached";
  return Error{fault, "resolving " + name + ": " + why};
}

struct AddrinfoFree {
  void operator()(ares_addrinfo* info) const { ares_freeaddrinfo(info); }
};
using AddrinfoPtr = std::unique_ptr<ares_addrinfo, AddrinfoFree>;

/// When the file last changed; the same value each time when there is none.
std::pair<std::int64_t, std::int64_t> age_of_resolv_conf() {
  struct stat facts {};
  if (::stat("/etc/resolv.conf", &facts) != 0) return {};
  return {facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec};
}

}  // namespace

struct Resolver::State final : ReadySink {
  struct Waiter {
    std::uint16_t port;
    FoundDone done;
  };
  /// A question that is on its way. In a map, which keeps its place: c-ares refers to it.
  struct Question {
    State* state;
    std::string name;
    std::vector<Waiter> waiters;
  };
  struct Answer {
    Result<Ips> ips;
    SteadyTime until;
  };
  struct ServiceQuestion {
    State* state;
    std::string name;
    ServicesDone done;
  };

  State(Loop& given_loop, Poller& given_poller, ResolverOptions given)
      : loop(given_loop),
        poller(given_poller),
        options(std::move(given)),
        sink(given_poller.add_sink(*this)),
        timeout(given_loop.timers(), [this] { process(ARES_SOCKET_BAD, ARES_SOCKET_BAD); }) {}

  Loop& loop;
  Poller& poller;
  ResolverOptions options;
  std::uint8_t sink;
  Timer timeout;  // c-ares' next one
  ares_channeldata* channel = nullptr;
  std::pair<std::int64_t, std::int64_t> configured;  // age of the file that `channel` has read
  std::map<std::string, Question> asked;
  std::map<std::string, Answer> cache;
  std::list<ServiceQuestion> services_asked;  // keeps places, as `asked`
  std::vector<int> watched;                   // c-ares' sockets in the poller
  std::shared_ptr<const bool> alive;          // while started; answers that come later are dropped

  Result<void> open();
  void close();
  void on_ready(std::uint64_t token, Ready ready) override;
  void watch(int socket, bool wants_read, bool wants_write);
  void process(int readable, int writable);
  void set_timeout();
  void ask(const std::string& name, Waiter waiter);
  void on_answer(Question& question, int status, AddrinfoPtr info);
  void keep(const std::string& name, const Answer& answer);
  void tell(Waiter waiter, const Answer& answer);
  void tell(Waiter waiter, Error error);
  Result<void> refresh();
  void ask_services(const std::string& name, ServicesDone done);
  void on_services(const ServiceQuestion& question, int status, std::span<unsigned char> answer);

  static void on_socket(void* self, ares_socket_t socket, int wants_read, int wants_write);
  static void on_addrinfo(void* question, int status, int timeouts, ares_addrinfo* info);
  static void on_srv(void* question, int status, int timeouts, unsigned char* bytes, int size);
};

Result<void> Resolver::State::open() {
  static const int library = ares_library_init(ARES_LIB_INIT_ALL);  // Not safe from two threads.
  int status = library;
  if (status == ARES_SUCCESS) {
    ares_options wanted{};
    wanted.sock_state_cb = &State::on_socket;
    wanted.sock_state_cb_data = this;
    wanted.timeout =
        static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(options.timeout).count());
    wanted.tries = options.attempts;
    int given = ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
#ifdef ARES_OPT_QUERY_CACHE
    wanted.qcache_max_ttl = 0;  // From c-ares 1.31 on: how long an answer is kept is ours to say.
    given |= ARES_OPT_QUERY_CACHE;
#endif
    status = ares_init_options(&channel, &wanted, given);
  }
  if (status == ARES_SUCCESS && !options.servers.empty())
    status = ares_set_servers_ports_csv(channel, options.servers.c_str());
  configured = age_of_resolv_conf();
  if (status == ARES_SUCCESS) return {};
  close();
  return Error{Fault::kInternal, std::string("starting the resolver: ") + ares_strerror(status)};
}

void Resolver::State::close() {
  timeout.cancel();
  if (channel) ares_destroy(std::exchange(channel, nullptr));
  asked.clear();
  services_asked.clear();
}

void Resolver::State::on_socket(void* self, ares_socket_t socket, int wants_read, int wants_write) {
  static_cast<State*>(self)->watch(socket, wants_read != 0, wants_write != 0);
}

void Resolver::State::watch(int socket, bool wants_read, bool wants_write) {
  const auto found = std::find(watched.begin(), watched.end(), socket);
  if (!wants_read && !wants_write) {  // c-ares is about to close it.
    if (found == watched.end()) return;
    watched.erase(found);
    poller.remove(socket);
    return;
  }
  const auto interest = !wants_write  ? Poller::Interest::kRead
                        : !wants_read ? Poller::Interest::kWrite
                                      : Poller::Interest::kReadWrite;
  const auto token = static_cast<std::uint64_t>(socket);
  if (found != watched.end()) {
    poller.change(socket, sink, token, interest);
  } else if (poller.add(socket, sink, token, interest)) {
    watched.push_back(socket);
  }  // Else c-ares' timeout ends the question: out of memory for the epoll set.
}

void Resolver::State::on_ready(std::uint64_t token, Ready ready) {
  const int socket = static_cast<int>(token);
  process(ready.readable ? socket : ARES_SOCKET_BAD, ready.writable ? socket : ARES_SOCKET_BAD);
}

void Resolver::State::process(int readable, int writable) {
  if (!channel) return;
  ares_process_fd(channel, readable, writable);
  set_timeout();
}

void Resolver::State::set_timeout() {
  timeval left{};
  if (!ares_timeout(channel, nullptr, &left)) {
    timeout.cancel();
    return;
  }
  timeout.cancel();  // The new one may be earlier or later; a timer moves later lazily.
  timeout.arm(std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec));
}

/// A channel that has read the configuration as it is now.
Result<void> Resolver::State::refresh() {
  const bool is_outdated = options.servers.empty() && configured != age_of_resolv_conf();
  if (channel && (!is_outdated || !asked.empty() || !services_asked.empty())) return {};
  close();
  return open();
}

void Resolver::State::ask(const std::string& name, Waiter waiter) {
  if (auto ready = refresh(); !ready) return tell(std::move(waiter), std::move(ready).error());
  auto [entry, is_new] = asked.try_emplace(name, Question{this, name, {}});
  entry->second.waiters.push_back(std::move(waiter));
  if (!is_new) return;
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  ares_getaddrinfo(channel, name.c_str(), nullptr, &hints, &State::on_addrinfo, &entry->second);
  set_timeout();  // The answer may be there already (/etc/hosts).
}

void Resolver::State::on_addrinfo(void* question, int status, int, ares_addrinfo* info) {
  AddrinfoPtr owned(info);
  if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED) return;  // close() clears `asked`.
  auto& asked = *static_cast<Question*>(question);
  asked.state->on_answer(asked, status, std::move(owned));
}

void Resolver::State::on_answer(Question& question, int status, AddrinfoPtr info) {
  Ips ips;
  Duration ttl = kLongestTtl;
  if (status == ARES_SUCCESS && info) {
    for (const auto* cname = info->cnames; cname; cname = cname->next)
      ttl = std::min<Duration>(ttl, std::chrono::seconds(cname->ttl));
    for (const auto* node = info->nodes; node; node = node->ai_next) {
      if (node->ai_family != AF_INET && node->ai_family != AF_INET6) continue;
      ttl = std::min<Duration>(ttl, std::chrono::seconds(node->ai_ttl));
      const auto size = static_cast<socklen_t>(node->ai_addrlen);
      const IpAddress ip = SocketAddress::from_native(node->ai_addr, size).ip();
      if (std::find(ips.begin(), ips.end(), ip) == ips.end()) ips.push_back(ip);
    }
  }
  if (status == ARES_SUCCESS && ips.empty()) status = ARES_ENODATA;
  Answer answer{failure(question.name, status), loop.timers().now() + kFailureTtl};
  if (status == ARES_SUCCESS)
    answer = {interleaved(ips), loop.timers().now() + std::max(ttl, kShortestTtl)};

  keep(question.name, answer);
  auto waiters = std::move(question.waiters);
  asked.erase(asked.find(question.name));
  for (Waiter& waiter : waiters) tell(std::move(waiter), answer);
}

void Resolver::State::keep(const std::string& name, const Answer& answer) {
  if (cache.size() >= kCachedMax) {
    const SteadyTime now = loop.timers().now();
    std::erase_if(cache, [now](const auto& entry) { return entry.second.until <= now; });
    if (cache.size() >= kCachedMax) cache.clear();
  }
  cache.insert_or_assign(name, answer);
}

void Resolver::State::tell(Waiter waiter, const Answer& answer) {
  if (!answer.ips) return tell(std::move(waiter), answer.ips.error());
  Found found{{}, answer.until};
  for (const IpAddress& ip : *answer.ips) found.addresses.emplace_back(ip, waiter.port);
  loop.post([done = std::move(waiter.done), found = std::move(found),
             still = std::weak_ptr<const bool>(alive)] {
    if (!still.expired()) done(found);
  });
}

void Resolver::State::tell(Waiter waiter, Error error) {
  loop.post([done = std::move(waiter.done), error = std::move(error),
             still = std::weak_ptr<const bool>(alive)] {
    if (!still.expired()) done(error);
  });
}

// ---- services -------------------------------------------------------------------------------

void Resolver::State::ask_services(const std::string& name, ServicesDone done) {
  if (auto ready = refresh(); !ready) {
    loop.post([done = std::move(done), error = std::move(ready).error(),
               still = std::weak_ptr<const bool>(alive)] {
      if (!still.expired()) done(error);
    });
    return;
  }
  services_asked.push_back({this, name, std::move(done)});
  ares_search(channel, name.c_str(), kClassIn, kTypeSrv, &State::on_srv, &services_asked.back());
  set_timeout();
}

void Resolver::State::on_srv(void* question, int status, int, unsigned char* bytes, int size) {
  if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED) return;
  auto& asked = *static_cast<ServiceQuestion*>(question);
  State& state = *asked.state;
  const std::size_t got = status == ARES_SUCCESS && bytes ? static_cast<std::size_t>(size) : 0;
  state.on_services(asked, status, {bytes, got});
  state.services_asked.remove_if([&](const auto& entry) { return &entry == &asked; });
}

void Resolver::State::on_services(const ServiceQuestion& question, int status,
                                  std::span<unsigned char> answer) {
  Services found;
  if (status == ARES_SUCCESS) {
    ares_srv_reply* first = nullptr;
    status = ares_parse_srv_reply(answer.data(), static_cast<int>(answer.size()), &first);
    for (const auto* line = first; line; line = line->next) {
      std::string host = to_lower(line->host);
      if (host.ends_with('.')) host.pop_back();
      if (host.empty()) continue;  // "." says: no such service here (RFC 2782).
      found.services.push_back({std::move(host), line->port, line->priority, line->weight});
    }
    if (first) ares_free_data(first);
    if (status == ARES_SUCCESS && found.services.empty()) status = ARES_ENODATA;
  }
  const auto ttl = std::clamp<Duration>(shortest_ttl(answer), kShortestTtl, kLongestTtl);
  found.until = loop.timers().now() + ttl;
  Result<Services> result = std::move(found);
  if (status != ARES_SUCCESS) result = failure(question.name, status);
  loop.post(
      [done = question.done, result = std::move(result), still = std::weak_ptr<const bool>(alive)] {
        if (!still.expired()) done(result);
      });
}

Resolver::Resolver(Loop& loop, Poller& poller, ResolverOptions options)
    : state_(std::make_unique<State>(loop, poller, std::move(options))) {
  const char* servers = std::getenv("GATEHOUSE_DNS");  // For tests of the whole daemon.
  if (servers && state_->options.servers.empty()) state_->options.servers = servers;
}

Resolver::~Resolver() { stop(); }

Result<void> Resolver::start() {
  check(!state_->alive, "a resolver started twice");
  auto opened = state_->open();
  if (opened) state_->alive = std::make_shared<const bool>(true);
  return opened;
}

void Resolver::stop() {
  if (!state_->alive) return;
  state_->alive.reset();
  state_->close();
}

void Resolver::resolve(const std::string& name, std::uint16_t port, Done done) {
  find(name, port, [done = std::move(done)](Result<Found> found) {
    if (found)
      done(std::move(found->addresses));
    else
      done(found.error());
  });
}

void Resolver::find(const std::string& name, std::uint16_t port, FoundDone done) {
  check(state_->alive != nullptr, "a resolver that is not started is asked");
  State::Waiter waiter{port, std::move(done)};
  const SteadyTime now = state_->loop.timers().now();
  if (const auto ip = IpAddress::parse(name))
    return state_->tell(std::move(waiter), State::Answer{Ips{*ip}, now + kLongestTtl});
  const std::string key = to_lower(name);
  if (is_localhost(key))
    return state_->tell(std::move(waiter), State::Answer{loopback(), now + kLongestTtl});
  if (!is_name(key))
    return state_->tell(std::move(waiter),
                        Error{Fault::kResolve, "resolving " + name + ": not a name"});
  const auto cached = state_->cache.find(key);
  if (cached != state_->cache.end() && now < cached->second.until)
    return state_->tell(std::move(waiter), cached->second);
  state_->ask(key, std::move(waiter));
}

void Resolver::find_services(const std::string& name, ServicesDone done) {
  check(state_->alive != nullptr, "a resolver that is not started is asked");
  check(is_name(name), "the name of a service was looked at when it was read");
  state_->ask_services(to_lower(name), std::move(done));
}

}  // namespace gatehouse::net
