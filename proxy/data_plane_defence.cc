// How the data plane defends itself: what clients did wrong is noted, and new work is shed before
// memory or descriptors run out. The third part of DataPlane.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "daemon/base/log.h"
#include "proxy/data_plane.h"

namespace gatehouse::proxy {

namespace {
/// Kept for what is not ours: the store, logs, the resolver, the admin server, listeners.
constexpr std::size_t kDescriptorsBeside = 48;
constexpr Duration kBetweenLooks = std::chrono::seconds(1);
constexpr Duration kBetweenCloses = std::chrono::milliseconds(100);
}  // namespace

// ---- overload -------------------------------------------------------------------------------

/// Once a second at most, and only in turns that happen anyway or while there is pressure: a daemon
/// at rest does not wake up for it.
void DataPlane::look_at_load() {
  load_looked_at_ = timers().now();
  rlimit limit{};
  const bool is_known = ::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  const std::size_t most = is_known ? static_cast<std::size_t>(limit.rlim_cur) : 0;
  descriptors_max_ = most > 2 * kDescriptorsBeside ? most - kDescriptorsBeside : most;
  descriptors_max_ /= share_of_loops();
  count_sockets();  // First, for what is closed for memory is counted by them.
  static const std::size_t memory_max = process_memory_max();
  if (overload_.is_short_of_memory()) give_back_memory();
  const Usage memory{memory_.resident(), memory_max};
  const bool has_changed = overload_.update_memory(memory);
  if (has_changed)
    log(Level::kWarn, "overload.memory")
        .with("resident_bytes", memory.used)
        .with("bound_bytes", memory.most);
  act_on_load(has_changed);
  if (overload_.actions().any()) load_timer_.arm(kBetweenLooks);
}

/// Loops get about as many connections each; the descriptors of the process are divided among them.
std::size_t DataPlane::share_of_loops() const { return tools_.neighbours.census().loops(); }

/// After each new socket: a burst of them is faster than looks are.
void DataPlane::count_sockets() {
  const Usage descriptors{frontends_.size() + backends_.size(), descriptors_max_};
  const Usage clients{tools_.neighbours.census().connections(), limits().connections};
  const bool has_changed = overload_.update_sockets(descriptors, clients);
  if (has_changed)
    log(Level::kWarn, "overload.sockets")
        .with("clients", frontends_.size())
        .with("backends", backends_.size())
        .with("bound", descriptors.most);
  act_on_load(has_changed);
}

void DataPlane::act_on_load(bool has_changed) {
  const Overload::Actions& actions = overload_.actions();
  if (has_changed) {
    log(Level::kWarn, "overload.actions")
        .with("closes_idle", actions.closes_idle)
        .with("refuses_requests", actions.refuses_requests)
        .with("stops_accepting", actions.stops_accepting);
    overload_gauge_.set(actions.any() ? 1 : 0);
    if (actions.stops_accepting && !is_draining_)
      pause_accepting();
    else
      accept_again();
    if (actions.any()) load_timer_.arm(kBetweenLooks);
  }
  if (actions.closes_idle && timers().now() - idle_closed_at_ >= kBetweenCloses) close_idle();
}

/// Pooled connections to backends first, which nobody will miss; then the clients that have been
/// waiting longest. First of them those that linger behind their end: they still have their
/// descriptors, and others would be closed in their place again and again.
void DataPlane::close_idle() {
  idle_closed_at_ = timers().now();
  std::size_t wanted = overload_.connections_to_close(frontends_.size());
  backends_.for_each([&wanted](BackendId, BackendConnection& connection) {
    if (wanted == 0 || !connection.is_open() || connection.session()->open_streams() > 0) return;
    connection.drain();
    --wanted;
  });
  std::vector<std::pair<SteadyTime, FrontendConnection*>> idle;
  frontends_.for_each([&idle](FrontendId, FrontendConnection& connection) {
    if (connection.may_be_shed()) idle.emplace_back(connection.waits_since(), &connection);
  });
  const std::size_t count = std::min(wanted, idle.size());
  const auto end = idle.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(idle.begin(), end, idle.end());
  std::for_each(idle.begin(), end, [this](auto& one) {
    if (one.second->shed()) shed_connections_.add();
  });
}

// ---- offences -------------------------------------------------------------------------------

void DataPlane::note(Offence offence, const FrontendConnection& from) {
  offences_.note(offence, from.facts().peer_ip, timers().now());
}

/// A request that the session refused by itself.
void DataPlane::note_refusal(const FrontendConnection& from, int status) {
  switch (status) {
    case 408: return note(Offence::kHeadTimeout, from);
    case 414:
    case 431: return note(Offence::kHeadTooLarge, from);
    default: return note(Offence::kMalformedHead, from);
  }
}

/// An exchange that its client spoiled.
void DataPlane::note_spoiled(const Exchange& exchange) {
  const FrontendConnection* from = frontends_.find(exchange.frontend());
  if (!from) return;
  if (exchange.flags().has(ResponseFlag::kDpe))
    note(Offence::kMalformedBody, *from);
  else if (exchange.flags().has(ResponseFlag::kSi))
    note(Offence::kSlowReader, *from);
  else if (exchange.status() == 408 && !exchange.backend_time())
    note(Offence::kSlowBody, *from);
}

}  // namespace gatehouse::proxy
