#include "daemon/file_stamp.h"

#include <sys/stat.h>

namespace gatehouse::daemon {

std::optional<FileStamp> FileStamp::of(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return std::nullopt;
  return FileStamp{facts.st_dev, facts.st_ino, facts.st_size,
                   std::int64_t{facts.st_mtim.tv_sec} * 1'000'000'000 + facts.st_mtim.tv_nsec};
}

}  // namespace gatehouse::daemon
