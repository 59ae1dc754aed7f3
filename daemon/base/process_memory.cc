#include "daemon/base/process_memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>

#include "daemon/base/text.h"

namespace gatehouse {

namespace {

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Of our control group and all above it, where version 2 is in use.
std::size_t control_group_max(const std::string& root) {
  std::size_t least = SIZE_MAX;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::/")) continue;
    for (std::string group = line.substr(3);; group.resize(group.rfind('/'))) {
      const auto most = parse_decimal(first_line(root + "/sys/fs/cgroup" + group + "/memory.max"));
      if (most) least = std::min<std::size_t>(least, *most);
      if (group.empty() || group == "/") break;
    }
  }
  return least;
}

}  // namespace

std::size_t process_memory_max(const std::string& root) {
  const char* said = std::getenv("GATEHOUSE_MEMORY_MAX");
  if (const auto bytes = said ? parse_decimal(said) : std::nullopt) return *bytes;
  std::size_t least = control_group_max(root);
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  if (pages > 0) least = std::min(least, static_cast<std::size_t>(pages) * page_bytes());
  for (const auto resource : {RLIMIT_AS, RLIMIT_DATA}) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
      least = std::min<std::size_t>(least, limit.rlim_cur);
  }
  return least;
}

void keep_memory_together(bool has_one_loop) {
  constexpr int kLarge = 128 * 1024;
  ::mallopt(M_MMAP_THRESHOLD, kLarge);
  if (has_one_loop) ::mallopt(M_ARENA_MAX, 1);
}

void give_back_memory() { ::malloc_trim(0); }

ProcessMemory::ProcessMemory() : descriptor_(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC)) {}

ProcessMemory::~ProcessMemory() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::size_t ProcessMemory::resident() const {
  std::array<char, 128> text;
  const ssize_t size = descriptor_ < 0 ? -1 : ::pread(descriptor_, text.data(), text.size(), 0);
  if (size <= 0) return 0;
  std::string_view rest(text.data(), static_cast<std::size_t>(size));
  (void)take_until(rest, ' ');
  return parse_decimal(take_until(rest, ' ')).value_or(0) * page_bytes();
}

}  // namespace gatehouse
