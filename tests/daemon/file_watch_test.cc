#include "daemon/file_watch.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "daemon/config_reader.h"
#include "tests/support/temporary_directory.h"

namespace gatehouse::daemon {
namespace {

namespace fs = std::filesystem;

/// As kubelet writes a ConfigMap: a new directory, then the symlink `..data` replaced by a rename.
void fill(const TemporaryDirectory& volume, const std::string& version, const std::string& text) {
  fs::create_directory(volume / version);
  std::ofstream(volume / version + "/gatehouse.yaml") << text;
  fs::create_symlink(version, volume / "..data_tmp");
  fs::rename(volume / "..data_tmp", volume / "..data");
  if (!fs::is_symlink(volume / "gatehouse.yaml"))
    fs::create_symlink("..data/gatehouse.yaml", volume / "gatehouse.yaml");
}

constexpr const char* kConfig = "vhosts: [{host: localhost, backend: \"http://127.0.0.1:1\"}]";

TEST(VolumeVersion, ChangesWithTheWholeVolume) {
  TemporaryDirectory volume;
  fill(volume, "..1", kConfig);
  const auto first = volume_version(volume / "gatehouse.yaml");
  EXPECT_EQ(first, "..1");
  EXPECT_EQ(read_config(volume / "gatehouse.yaml").config->volume_version, first);
  fill(volume, "..2", kConfig);
  EXPECT_EQ(volume_version(volume / "gatehouse.yaml"), "..2");
}

TEST(VolumeVersion, IsNoneForAnOrdinaryFile) {
  TemporaryDirectory directory;
  std::ofstream(directory / "gatehouse.yaml") << kConfig;
  EXPECT_EQ(volume_version(directory / "gatehouse.yaml"), std::nullopt);
  EXPECT_EQ(volume_version("gatehouse.yaml"), std::nullopt);
  EXPECT_EQ(read_config(directory / "gatehouse.yaml").config->volume_version, std::nullopt);
}

}  // namespace
}  // namespace gatehouse::daemon
