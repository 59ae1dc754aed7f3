#include "store/state_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <utility>

namespace gatehouse::store {
namespace {

constexpr mode_t kPermissionBits = 07777;

/// Closes a descriptor when a check fails half-way.
struct Descriptor {
  int number = -1;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  int release() { return std::exchange(number, -1); }
};

Error too_wide(const std::string& path, mode_t found, mode_t wanted) {
  return Error{Fault::kPermission,
               fmt::format("{} has mode {:04o}, but it holds private keys and may be at most "
                           "{:04o}; run: chmod {:o} {}",
                           path, found & kPermissionBits, wanted, wanted, path)};
}

Result<void> check_mode(const std::string& path, const struct stat& found, mode_t wanted) {
  if ((found.st_mode & kPermissionBits & ~wanted) != 0)
    return too_wide(path, found.st_mode, wanted);
  return {};
}

Result<void> make_directory(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) == 0) return {};
  std::error_code error;
  const auto parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (error) return errno_error("creating " + parent.string(), error.value());
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return errno_error("creating state directory " + path, errno);
  // The umask may have taken bits of our own away.
  if (::chmod(path.c_str(), 0700) != 0) return errno_error("chmod 700 " + path, errno);
  Descriptor above{
      ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (above.number >= 0) ::fsync(above.number);
  return {};
}

/// The database is created here and not by SQLite, so that it never exists with another mode;
/// SQLite gives its -wal and -shm the mode of the database.
Result<void> prepare_database(int directory, const std::string& path) {
  for (const char* name : {"gatehouse.db", "gatehouse.db-wal", "gatehouse.db-shm"}) {
    struct stat found {};
    const std::string full = path + "/" + name;
    if (::fstatat(directory, name, &found, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) return errno_error("checking " + full, errno);
      continue;
    }
    if (!S_ISREG(found.st_mode))
      return Error{Fault::kPermission, full + " is not a regular file; move it away"};
    if (auto checked = check_mode(full, found, 0600); !checked) return checked;
  }
  const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
  Descriptor file{::openat(directory, "gatehouse.db", flags, 0600)};
  if (file.number < 0) {
    if (errno == EEXIST) return {};
    return errno_error("creating " + path + "/gatehouse.db", errno);
  }
  if (::fchmod(file.number, 0600) != 0 || ::fsync(file.number) != 0 || ::fsync(directory) != 0)
    return errno_error("creating " + path + "/gatehouse.db", errno);
  return {};
}

std::string holder_of(int lock) {
  char text[32] = "";
  const auto size = ::pread(lock, text, sizeof text - 1, 0);
  if (size <= 0) return "another gatehouse";
  const long pid = std::strtol(text, nullptr, 10);
  return pid > 0 ? fmt::format("another gatehouse, process {},", pid) : "another gatehouse";
}

Result<int> take_lock(int directory, const std::string& path) {
  const std::string full = path + "/gatehouse.lock";
  Descriptor lock{
      ::openat(directory, "gatehouse.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (lock.number < 0) return errno_error("opening " + full, errno);
  struct stat found {};
  if (::fstat(lock.number, &found) != 0) return errno_error("checking " + full, errno);
  if (auto checked = check_mode(full, found, 0600); !checked) return std::move(checked).error();
  if (::flock(lock.number, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error("locking " + full, errno);
    return Error{Fault::kConflict,
                 fmt::format("{} uses the state directory {}; stop it, or give this one another "
                             "'state'",
                             holder_of(lock.number), path)};
  }
  // Only for the message above: a full disk must not keep us from starting.
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(lock.number, 0) == 0) (void)!::pwrite(lock.number, pid.data(), pid.size(), 0);
  return lock.release();
}

}  // namespace

Result<StateDirectory> StateDirectory::open(const std::string& path) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  if (trimmed.empty()) return Error{Fault::kInvalid, "the state directory has no name"};
  if (auto made = make_directory(trimmed); !made) return std::move(made).error();
  Descriptor directory{::open(trimmed.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (directory.number < 0) return errno_error("opening state directory " + trimmed, errno);
  struct stat found {};
  if (::fstat(directory.number, &found) != 0) return errno_error("checking " + trimmed, errno);
  if (auto checked = check_mode(trimmed, found, 0700); !checked) return std::move(checked).error();
  auto lock = take_lock(directory.number, trimmed);
  if (!lock) return std::move(lock).error();
  StateDirectory opened{trimmed, *lock};
  if (auto ready = prepare_database(directory.number, trimmed); !ready)
    return std::move(ready).error();
  return opened;
}

StateDirectory::StateDirectory(StateDirectory&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

StateDirectory::~StateDirectory() {
  if (lock_ >= 0) ::close(lock_);  // The file stays: removing it would race with the next holder.
}

}  // namespace gatehouse::store
