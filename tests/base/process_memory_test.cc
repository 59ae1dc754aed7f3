#include "daemon/base/process_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temporary_directory.h"

namespace gatehouse {
namespace {

TEST(ProcessMemory, SaysWhatIsResident) {
  const ProcessMemory memory;
  const std::size_t before = memory.resident();
  EXPECT_GT(before, 1'000'000u);
  std::vector<char> more(64 << 20, 'x');
  EXPECT_GT(memory.resident(), before + (32 << 20)) << more[7];
}

TEST(ProcessMemory, IsBoundByTheTightestControlGroup) {
  TemporaryDirectory directory;
  const std::string root = directory.path();
  const auto write = [&root](const std::string& path, std::string_view text) {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::ofstream(root + path) << text;
  };
  const std::size_t machine = process_memory_max(root);
  EXPECT_GT(machine, 1'000'000u);
  write("/proc/self/cgroup", "1:name=systemd:/x\n0::/system.slice/gatehouse.service\n");
  write("/sys/fs/cgroup/system.slice/gatehouse.service/memory.max", "max\n");
  EXPECT_EQ(process_memory_max(root), machine);
  write("/sys/fs/cgroup/system.slice/memory.max", "5000000\n");
  EXPECT_EQ(process_memory_max(root), 5'000'000u);
  write("/sys/fs/cgroup/system.slice/gatehouse.service/memory.max", "4000000\n");
  EXPECT_EQ(process_memory_max(root), 4'000'000u);
}

}  // namespace
}  // namespace gatehouse
