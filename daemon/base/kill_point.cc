#include "daemon/base/kill_point.h"

#ifdef GATEHOUSE_KILL_POINTS

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "daemon/base/error.h"
#include "daemon/base/text.h"

namespace gatehouse {

namespace {

struct Target {
  std::string name;
  std::atomic<std::uint64_t> passages_left{1};

  Target() {
    const char* wanted = std::getenv("GATEHOUSE_KILL_AT");
    if (!wanted) return;
    const std::string_view text = wanted;
    const std::size_t colon = text.rfind(':');
    name = text.substr(0, colon);
    if (colon == std::string_view::npos) return;
    const auto count = parse_decimal(text.substr(colon + 1));
    check(count && *count > 0, "GATEHOUSE_KILL_AT is not NAME or NAME:COUNT");
    passages_left = *count;
  }
};

}  // namespace

void kill_point(std::string_view name) {
  static Target target;
  if (target.name.empty() || name != target.name) return;
  if (target.passages_left.fetch_sub(1) == 1) std::raise(SIGKILL);
}

}  // namespace gatehouse

#endif
