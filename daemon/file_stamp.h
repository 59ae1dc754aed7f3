#pragma once
// What stat(2) says of a file, so that one that was not touched need not be read again. Renames,
// symlink swaps and writes in place all change it.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace gatehouse::daemon {

struct FileStamp {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  std::int64_t modified_ns = 0;

  /// Nothing: there is no such file, or it cannot be looked at.
  static std::optional<FileStamp> of(const std::string& path);
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

}  // namespace gatehouse::daemon
