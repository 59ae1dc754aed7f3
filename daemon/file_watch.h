#pragma once
// Notices that files changed, by what stat(2) says of them: certificates that an operator or
// another tool replaces. Blocking; for the compute thread.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "daemon/config.h"
#include "daemon/file_stamp.h"

namespace gatehouse::daemon {

/// Of a file in a volume that Kubernetes fills (a ConfigMap, a Secret): which version of the volume
/// is there. All of it changes at once, when the symlink `..data` beside the file is replaced.
/// Nullopt: it is in no such volume.
std::optional<std::string> volume_version(const std::string& file);

class FileWatch {
 public:
  /// Of these certificates those whose files are not as they were at the last call, or else when
  /// they were read. A file that is missing has not changed: it may be on its way.
  std::vector<FileCertificate> changed(const std::vector<FileCertificate>& certificates);
  /// The same for single files.
  std::set<std::string> changed(const std::map<std::string, FileStamp>& files);

 private:
  bool has_changed(const std::string& path, const FileStamp& when_read);
  std::map<std::string, FileStamp> changed_;  // those that did, as they were seen last
};

}  // namespace gatehouse::daemon
