#include "proxy/proxy.h"

#include <unistd.h>

#include <chrono>
#include <optional>

#include "daemon/base/log.h"

namespace gatehouse::proxy {

namespace {
constexpr Duration kLookAtTickets = std::chrono::hours(1);
}

/// A question that went to every loop.
struct Proxy::Round {
  std::size_t left = 0;  // loops that have not answered
  virtual ~Round() = default;
  virtual void finish() = 0;
};
template <class T>
struct Proxy::Asked final : Round {
  std::vector<T> answers;
  std::function<void(std::vector<T>)> done;
  void finish() override { done(std::move(answers)); }
};

Proxy::Proxy(const Parts& parts, std::size_t loops)
    : loop_(parts.loop),
      loops_wanted_(loops),
      census_(
          loops,
          [this](std::size_t loop) { post(loop, [](DataPlane& plane) { plane.accept_again(); }); }),
      first_(DataPlaneTools{parts.loop, parts.poller, parts.resolver, parts.random, parts.metrics,
                            *this, 0}),
      pulses_(loops),
      is_asked_(loops) {}

Proxy::~Proxy() { stop(); }

Result<void> Proxy::start(std::shared_ptr<const Options> options, const ListenSockets& inherited) {
  auto tickets = net::TicketKeys::create(loop_.clock());
  if (!tickets) return std::move(tickets).error().in("session tickets");
  tickets_ = std::move(*tickets);
  ticket_timer_ = std::make_unique<Timer>(loop_.timers(), [this] { rotate_tickets(); });
  ticket_timer_->arm(kLookAtTickets);
  first_.use_tickets(tickets_);
  while (loops() < loops_wanted_) {
    auto worker = Worker::open(loop_.clock(), *this, loops());
    if (!worker) return std::move(worker).error().in("starting a worker");
    (*worker)->plane().use_tickets(tickets_);
    (*worker)->plane().use(certificates());
    workers_.push_back(std::move(*worker));
  }
  auto router = Router::compile(std::move(options));
  if (!router) return router.error();
  auto sockets = open_sockets((*router)->options(), inherited);
  if (!sockets) return sockets.error();
  commons_ = std::make_unique<SnapshotCommons>((*router)->options().backends.size(), loops());
  // No thread runs yet: their planes are still ours.
  for (std::size_t loop = 0; loop < loops(); ++loop) {
    DataPlane& plane = loop == 0 ? first_ : workers_[loop - 1]->plane();
    if (auto prepared = plane.prepare(*router, *commons_, (*sockets)[loop]); !prepared)
      return prepared;
    plane.commit();
  }
  for (auto& worker : workers_) worker->start();
  return {};
}

void Proxy::stop() {
  for (auto& worker : workers_) worker->stop();
  is_stopped_ = true;  // No thread but ours is left.
  rounds_.clear();
}

// ---- to all planes and back -----------------------------------------------------------------

/// On any thread.
void Proxy::post(std::size_t loop, std::function<void(DataPlane&)> what) {
  if (is_stopped_) return;
  DataPlane& plane = loop == 0 ? first_ : workers_[loop - 1]->plane();
  net::Loop& home = loop == 0 ? loop_ : workers_[loop - 1]->loop();
  home.post([&plane, what = std::move(what)] { what(plane); });
}

void Proxy::tell_all(const std::function<void(DataPlane&)>& what) {
  for (std::size_t loop = 1; loop < loops(); ++loop) post(loop, what);
  what(first_);
}

template <class T>
void Proxy::ask(std::function<T(DataPlane&, std::size_t)> question,
                std::function<void(std::vector<T>)> done) {
  auto asked = std::make_unique<Asked<T>>();
  asked->left = loops();
  asked->answers.resize(loops());
  asked->done = std::move(done);
  T* answers = asked->answers.data();  // Each loop has its own one; they are read when all came.
  const std::uint64_t round = ++last_round_;
  rounds_.emplace(round, std::move(asked));
  for (std::size_t loop = 0; loop < loops(); ++loop) {
    post(loop, [this, round, loop, answers, question](DataPlane& plane) {
      answers[loop] = question(plane, loop);
      loop_.post([this, round] { arrive(round); });
    });
  }
}

void Proxy::arrive(std::uint64_t round) {
  const auto found = rounds_.find(round);
  if (found == rounds_.end() || --found->second->left > 0) return;
  const auto over = std::move(found->second);
  rounds_.erase(found);
  over->finish();
}

void Proxy::hand_over(std::size_t loop, const Visitor& visitor) {
  post(loop, [visitor](DataPlane& plane) { plane.welcome(visitor); });
}

void Proxy::pass_log_lines(std::string lines) {
  post(0, [lines = std::move(lines)](DataPlane& plane) { plane.write_log_lines(lines); });
}

void Proxy::tell(std::size_t loop, std::shared_ptr<BackendCommons> commons,
                 const ClusterNews& news) {
  post(loop,
       [commons = std::move(commons), news](DataPlane& plane) { plane.on_news(commons, news); });
}

// ---- snapshots ------------------------------------------------------------------------------

void Proxy::prepare(std::shared_ptr<const Options> options,
                    std::function<void(Result<void>)> done) {
  auto router = Router::compile(std::move(options));
  if (!router) return done(router.error());
  auto sockets = open_sockets((*router)->options(), {});
  if (!sockets) return done(sockets.error());
  // Nobody uses that of the snapshot before it: all have answered.
  commons_ = std::make_unique<SnapshotCommons>((*router)->options().backends.size(), loops());
  ask<Result<void>>(
      [router = *router, commons = commons_.get(), sockets = *sockets](DataPlane& plane,
                                                                       std::size_t loop) {
        return plane.prepare(router, *commons, sockets[loop]);
      },
      [this, done = std::move(done)](std::vector<Result<void>> prepared) {
        for (const auto& one : prepared) {
          if (one) continue;
          abandon();
          return done(one);
        }
        done({});
      });
}

void Proxy::commit() {
  tell_all([](DataPlane& plane) { plane.commit(); });
}

void Proxy::abandon() {
  tell_all([](DataPlane& plane) { plane.abandon(); });
}

/// Sockets for each plane, for the addresses that are not listened on yet. The loops share a TCP
/// port by SO_REUSEPORT, each with a queue of its own. A unix socket, or one that was opened before
/// us, is the first plane's alone: it hands visitors on, as it also would without the others'.
Result<std::vector<ListenSockets>> Proxy::open_sockets(const Options& options,
                                                       const ListenSockets& inherited) const {
  std::vector<ListenSockets> sockets(loops());
  std::optional<Error> failed;
  const auto open = [&](const net::ListenAddress& address, bool is_tls) {
    if (failed || first_.listens_on(address.text, is_tls)) return;
    if (const auto given = inherited.find(address.text); given != inherited.end()) {
      sockets[0][address.text] = given->second;
      return;
    }
    auto bound = Listener::bind(address, /*shares_port=*/loops() > 1);
    if (!bound) {
      failed = std::move(bound).error();
      return;
    }
    sockets[0][address.text] = *bound;
    for (std::size_t loop = 1; loop < loops() && !address.address.is_unix(); ++loop)
      if (const int shared = Listener::bind_beside(*bound); shared >= 0)
        sockets[loop][address.text] = shared;
  };
  for (const auto& address : options.https) open(address, true);
  for (const auto& address : options.http) open(address, false);
  if (!failed) return sockets;
  for (const ListenSockets& opened : sockets)
    for (const auto& [text, descriptor] : opened) ::close(descriptor);
  return std::move(*failed);
}

void Proxy::use(std::shared_ptr<const CertificateTable> certificates) {
  tell_all([certificates](DataPlane& plane) { plane.use(certificates); });
}

void Proxy::change_challenges(const std::function<void(ChallengeTable&)>& change) {
  tell_all([change](DataPlane& plane) { change(plane.challenges()); });
}

void Proxy::settle(std::function<void()> done) {
  ask<char>([](DataPlane&, std::size_t) { return char{}; },
            [done = std::move(done)](const std::vector<char>&) { done(); });
}

void Proxy::rotate_tickets() {
  tickets_->rotate_if_due();
  ticket_timer_->arm(kLookAtTickets);
}

// ---- life -----------------------------------------------------------------------------------

void Proxy::drain(std::function<void()> done) {
  draining_ = loops();
  on_drained_ = std::move(done);
  tell_all([this](DataPlane& plane) {
    plane.drain([this] {
      loop_.post([this] {
        if (--draining_ == 0) on_drained_();
      });
    });
  });
}

void Proxy::reopen_log() {
  tell_all([](DataPlane& plane) {
    if (auto reopened = plane.reopen_log(); !reopened)
      log(Level::kError, "log.reopen_failed").with("reason", reopened.error().message);
  });
}

std::uint64_t Proxy::take_pulse() {
  pulses_[0] = ++pulse_;  // Who asks turns.
  for (std::size_t loop = 1; loop < loops(); ++loop) {
    if (is_asked_[loop]) continue;  // One that does not turn is asked once.
    is_asked_[loop] = true;
    post(loop, [this, loop](DataPlane&) {
      loop_.post([this, loop] {
        is_asked_[loop] = false;
        pulses_[loop] = pulse_;
      });
    });
  }
  return pulse_;
}

std::vector<std::size_t> Proxy::stuck(std::uint64_t pulse) const {
  std::vector<std::size_t> loops;
  for (std::size_t loop = 0; loop < pulses_.size(); ++loop)
    if (pulses_[loop] < pulse) loops.push_back(loop);
  return loops;
}

// ---- what is told of it ---------------------------------------------------------------------

void Proxy::ask_facts(std::function<void(std::vector<LoopFacts>)> done) {
  ask<LoopFacts>(
      [](DataPlane& plane, std::size_t) {
        return LoopFacts{plane.frontend_count(), plane.exchange_count(), plane.backends()};
      },
      std::move(done));
}

void Proxy::ask_metrics(std::function<void(Metrics)> done) {
  ask<Metrics>(
      [](DataPlane& plane, std::size_t) {
        Metrics copy;
        copy.add(plane.metrics_of_loop());
        return copy;
      },
      [done = std::move(done)](std::vector<Metrics> all) {
        Metrics sum = std::move(all.front());
        for (std::size_t loop = 1; loop < all.size(); ++loop) sum.add(all[loop]);
        done(std::move(sum));
      });
}

}  // namespace gatehouse::proxy
