#pragma once
// Notices that files changed, by what stat(2) says of them: certificates that an operator or
// another tool replaces. Renames, symlink swaps and writes in place are all seen. Blocking; for the
// compute thread.

#include <sys/types.h>

#include <map>
#include <string>

#include "daemon/config.h"

namespace gatehouse::daemon {

class FileWatch {
 public:
  /// Of these certificates those whose files are not as they were at the last call (at the first
  /// call: none). A file that is missing has not changed: it may be on its way.
  std::vector<FileCertificate> changed(const std::vector<FileCertificate>& certificates);

 private:
  struct Stamp {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    std::int64_t modified_ns = 0;
    friend bool operator==(const Stamp&, const Stamp&) = default;
  };
  bool has_changed(const std::string& path);
  std::map<std::string, Stamp> stamps_;
};

}  // namespace gatehouse::daemon
