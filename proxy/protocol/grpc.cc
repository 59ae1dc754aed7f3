#include "proxy/protocol/grpc.h"

#include <algorithm>
#include <charconv>
#include <chrono>

namespace gatehouse::proxy {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kDigitsMax = 8;
constexpr std::int64_t kNumberMax = 99'999'999;
constexpr Duration kTimeoutMax = std::chrono::hours(24) * 3650;

struct Unit {
  char letter;
  Duration length;
};
constexpr Unit kUnits[] = {{'n', 1ns}, {'u', 1us}, {'m', 1ms}, {'S', 1s}, {'M', 1min}, {'H', 1h}};

}  // namespace

std::optional<Duration> parse_grpc_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > kDigitsMax + 1) return std::nullopt;
  const std::string_view digits = text.substr(0, text.size() - 1);
  std::int64_t number = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9') return std::nullopt;
    number = number * 10 + (digit - '0');
  }
  for (const Unit& unit : kUnits) {
    if (unit.letter != text.back()) continue;
    return number > kTimeoutMax / unit.length ? kTimeoutMax : unit.length * number;
  }
  return std::nullopt;
}

std::string format_grpc_timeout(Duration timeout) {
  timeout = std::max(timeout, Duration::zero());
  for (const Unit& unit : kUnits) {
    const std::int64_t number = (timeout + unit.length - 1ns) / unit.length;
    if (number <= kNumberMax) return std::to_string(number) + unit.letter;
  }
  return std::to_string(kNumberMax) + "H";
}

int parse_grpc_status(std::string_view text) {
  int status = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), status);
  const bool is_whole = error == std::errc() && end == text.data() + text.size();
  return is_whole && status >= 0 ? status : -1;
}

GrpcStatus grpc_status_of(Reset reason) {
  switch (reason) {
    case Reset::kCancel: return GrpcStatus::kCancelled;
    case Reset::kCalm: return GrpcStatus::kResourceExhausted;
    case Reset::kRefused:
    case Reset::kProtocol:  // Ours to judge: the backend is no use as it is.
    case Reset::kConnectionLost: return GrpcStatus::kUnavailable;
    case Reset::kTimeout: return GrpcStatus::kDeadlineExceeded;
    case Reset::kNone:
    case Reset::kNoError:
    case Reset::kInternal:
    case Reset::kOverflow: break;
  }
  return GrpcStatus::kInternal;
}

}  // namespace gatehouse::proxy
