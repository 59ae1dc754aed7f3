#include "acme/name_locks.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace gatehouse::acme {

namespace asio = boost::asio;

// GCC 12 takes the allocation of a coroutine's frame for a plain one when it inlines only half of
// Asio's pair of operators.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

NameLocks::NameLocks(net::Loop& loop) : released_(loop.context(), SteadyTime::max()) {}

asio::awaitable<std::optional<NameLocks::Held>> NameLocks::hold(std::vector<std::string> names) {
  const auto is_held = [this](const std::string& name) { return held_.count(name) > 0; };
  while (std::any_of(names.begin(), names.end(), is_held)) {
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return std::nullopt;
    co_await released_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  held_.insert(names.begin(), names.end());
  co_return Held(*this, std::move(names));
}

void NameLocks::release(const std::vector<std::string>& names) {
  for (const auto& name : names) held_.erase(name);
  released_.cancel();
}

}  // namespace gatehouse::acme
