#include "store/state_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temporary_directory.h"

namespace gatehouse::store {
namespace {

mode_t mode_of(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 ? found.st_mode & 07777 : 0;
}

struct Umask {
  explicit Umask(mode_t mask) : before(::umask(mask)) {}
  ~Umask() { ::umask(before); }
  mode_t before;
};

TEST(StateDirectory, IsCreated0700WithItsParents) {
  TemporaryDirectory root;
  const std::string path = root / "a/b/state";
  ASSERT_TRUE(StateDirectory::open(path));
  EXPECT_EQ(mode_of(path), 0700u);
}

TEST(StateDirectory, KeepsItsModesUnderAnyUmask) {
  for (const mode_t mask : {0u, 077u, 0277u}) {
    TemporaryDirectory root;
    const std::string path = root / "state";
    const Umask set(mask);
    ASSERT_TRUE(StateDirectory::open(path));
    EXPECT_EQ(mode_of(path), 0700u) << mask;
    EXPECT_EQ(mode_of(path + "/gatehouse.db"), 0600u) << mask;
  }
}

TEST(StateDirectory, RefusesAWiderDirectoryAndNamesTheChmod) {
  TemporaryDirectory root;
  ASSERT_EQ(::chmod(root.path().c_str(), 0750), 0);
  const auto opened = StateDirectory::open(root.path());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().fault, Fault::kPermission);
  EXPECT_NE(opened.error().message.find("0750"), std::string::npos) << opened.error().message;
  EXPECT_NE(opened.error().message.find("chmod 700 " + root.path()), std::string::npos);
}

TEST(StateDirectory, RefusesWiderDatabaseFilesByName) {
  for (const char* name : {"gatehouse.db", "gatehouse.db-wal", "gatehouse.db-shm"}) {
    TemporaryDirectory root;
    std::ofstream(root / name) << "x";
    ASSERT_EQ(::chmod((root / name).c_str(), 0640), 0);
    const auto opened = StateDirectory::open(root.path());
    ASSERT_FALSE(opened) << name;
    EXPECT_NE(opened.error().message.find("chmod 600 " + (root / name)), std::string::npos)
        << opened.error().message;
  }
}

TEST(StateDirectory, RefusesASymbolicLinkAsDatabase) {
  TemporaryDirectory root, elsewhere;
  std::ofstream(elsewhere / "target") << "x";
  std::filesystem::create_symlink(elsewhere / "target", root / "gatehouse.db");
  const auto opened = StateDirectory::open(root.path());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().fault, Fault::kPermission);
}

TEST(StateDirectory, RefusesASecondHolderAndNamesTheFirst) {
  TemporaryDirectory root;
  const auto first = StateDirectory::open(root.path());
  ASSERT_TRUE(first);
  const auto second = StateDirectory::open(root.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().fault, Fault::kConflict);
  EXPECT_NE(second.error().message.find(std::to_string(::getpid())), std::string::npos);
}

TEST(StateDirectory, IsFreeAgainWhenTheHolderWent) {
  TemporaryDirectory root;
  { ASSERT_TRUE(StateDirectory::open(root.path())); }
  EXPECT_TRUE(StateDirectory::open(root.path()));
}

TEST(StateDirectory, NamesAPathThatCannotBeMade) {
  TemporaryDirectory root;
  std::ofstream(root / "file") << "x";
  const auto opened = StateDirectory::open(root / "file/state");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find(root.path()), std::string::npos);
}

}  // namespace
}  // namespace gatehouse::store
