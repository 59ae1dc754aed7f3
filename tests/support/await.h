#pragma once
// Runs a coroutine to its end on a TestLoop, for tests of functions that return awaitables.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <exception>
#include <optional>
#include <utility>

#include "tests/support/test_loop.h"

namespace gatehouse {

/// A coroutine under test, begun by the constructor. It has to end before this object goes, or be
/// destroyed with the loop behind it.
template <class T>
class Awaited {
 public:
  Awaited(TestLoop& loop, boost::asio::awaitable<T> coroutine) {
    boost::asio::co_spawn(loop.context(), std::move(coroutine),
                          [this](const std::exception_ptr& thrown, T answer) {
                            if (thrown) std::rethrow_exception(thrown);
                            answer_.emplace(std::move(answer));
                          });
    loop.run_ready();
  }
  Awaited(const Awaited&) = delete;
  Awaited& operator=(const Awaited&) = delete;

  bool is_done() const { return answer_.has_value(); }
  T& operator*() { return *answer_; }
  T* operator->() { return &*answer_; }

 private:
  std::optional<T> answer_;
};

}  // namespace gatehouse
