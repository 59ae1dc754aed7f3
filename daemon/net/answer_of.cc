#include "daemon/net/answer_of.h"

namespace gatehouse::net {

template boost::asio::awaitable<Result<void>> answer_of(
    Loop& loop, std::function<void(std::function<void(Result<void>)> answer)> begin);

}  // namespace gatehouse::net
