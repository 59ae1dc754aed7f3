#include "proxy/routing/overload.h"

#include <algorithm>
#include <cmath>

namespace gatehouse::proxy {

namespace {

constexpr unsigned kNever = 1000, kSlackPercent = 5;

struct Shares {  // in percent
  unsigned closes_idle, refuses_requests, stops_accepting;
};
constexpr Shares kMemory{80, 90, 95}, kDescriptors{80, 97, 90}, kConnections{100, kNever, kNever};

double share(Usage usage, unsigned percent) {
  return static_cast<double>(usage.most) / 100.0 * percent;
}

void decide(bool& action, Usage usage, unsigned percent) {
  if (usage.most == 0) {
    action = false;
    return;
  }
  const unsigned from = action ? percent - kSlackPercent : percent;
  action = static_cast<double>(usage.used) >= share(usage, from);
}

Overload::Actions decide(Overload::Actions actions, Usage usage, const Shares& shares) {
  decide(actions.closes_idle, usage, shares.closes_idle);
  decide(actions.refuses_requests, usage, shares.refuses_requests);
  decide(actions.stops_accepting, usage, shares.stops_accepting);
  return actions;
}

/// How much less it has to be for an action that goes on down to that share to end.
std::size_t excess(Usage usage, unsigned percent) {
  const double from = share(usage, percent);
  if (usage.most == 0 || static_cast<double>(usage.used) < from) return 0;
  return usage.used - static_cast<std::size_t>(std::ceil(from)) + 1;
}

}  // namespace

bool Overload::update_memory(Usage memory) {
  memory_ = memory;
  wanted_[0] = decide(wanted_[0], memory, kMemory);
  return settle();
}

bool Overload::update_sockets(Usage descriptors, Usage connections) {
  descriptors_ = descriptors;
  connections_ = connections;
  wanted_[1] = decide(wanted_[1], descriptors, kDescriptors);
  wanted_[2] = decide(wanted_[2], connections, kConnections);
  return settle();
}

bool Overload::settle() {
  const Actions before = actions_;
  actions_ = {};
  for (const Actions& wanted : wanted_) {
    actions_.closes_idle = actions_.closes_idle || wanted.closes_idle;
    actions_.refuses_requests = actions_.refuses_requests || wanted.refuses_requests;
    actions_.stops_accepting = actions_.stops_accepting || wanted.stops_accepting;
  }
  return actions_ != before;
}

std::size_t Overload::connections_to_close(std::size_t open) const {
  if (!actions_.closes_idle) return 0;
  // A connection less is a descriptor less; what it gives back of memory shows only by and by.
  const std::size_t for_memory = wanted_[0].closes_idle ? std::max<std::size_t>(open / 8, 16) : 0;
  // The limit of connections is the process's: of what is too much each loop closes its share.
  const std::size_t too_many = excess(connections_, kConnections.closes_idle - kSlackPercent);
  const std::size_t for_limit =
      too_many == 0 ? 0 : (too_many * open + connections_.used - 1) / connections_.used;
  return std::max(
      {for_memory, excess(descriptors_, kDescriptors.closes_idle - kSlackPercent), for_limit});
}

}  // namespace gatehouse::proxy
