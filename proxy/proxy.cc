#include "proxy/proxy.h"

#include <chrono>

namespace gatehouse::proxy {

namespace {
constexpr Duration kLookAtTickets = std::chrono::hours(1);
}

Result<void> Proxy::start(std::shared_ptr<const Options> options,
                          const InheritedSockets& inherited) {
  auto tickets = net::TicketKeys::create(loop_.clock());
  if (!tickets) return std::move(tickets).error().in("session tickets");
  tickets_ = std::move(*tickets);
  plane_.use_tickets(tickets_);
  ticket_timer_ = std::make_unique<Timer>(loop_.timers(), [this] { rotate_tickets(); });
  ticket_timer_->arm(kLookAtTickets);
  auto router = Router::compile(std::move(options));
  if (!router) return router.error();
  return plane_.use(std::move(*router), inherited);
}

Result<void> Proxy::use(std::shared_ptr<const Options> options) {
  auto router = Router::compile(std::move(options));
  if (!router) return router.error();
  return plane_.use(std::move(*router), {});
}

void Proxy::rotate_tickets() {
  tickets_->rotate_if_due();
  ticket_timer_->arm(kLookAtTickets);
}

}  // namespace gatehouse::proxy
