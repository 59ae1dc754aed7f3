#pragma once
// From a callback to a coroutine: awaits a function that answers by calling what it is given, once,
// on this loop. Includes Asio: for the control plane only.

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <optional>
#include <utility>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/net/loop.h"

namespace gatehouse::net {

/// `begin` is called with the function to be called with the answer, at once or later. The answer
/// is always waited for, because it has to find this frame: cancelling does not shorten this.
template <class T>
boost::asio::awaitable<T> answer_of(Loop& loop,
                                    std::function<void(std::function<void(T)> answer)> begin) {
  std::optional<T> answer;
  boost::asio::steady_timer parked(loop.context(), SteadyTime::max());  // The answer ends the wait.
  std::function<void(T)> take = [&answer, &parked](T given) {
    answer.emplace(std::move(given));
    parked.cancel();
  };
  begin(std::move(take));
  auto token = boost::asio::bind_cancellation_slot(
      boost::asio::cancellation_slot(), boost::asio::as_tuple(boost::asio::use_awaitable));
  while (!answer) co_await parked.async_wait(token);
  co_return std::move(*answer);
}

/// Used in several files, made in one: GCC names the parts of a coroutine's frame by file, and then
/// takes them for different types (-Wodr).
extern template boost::asio::awaitable<Result<void>> answer_of(
    Loop& loop, std::function<void(std::function<void(Result<void>)> answer)> begin);

}  // namespace gatehouse::net
