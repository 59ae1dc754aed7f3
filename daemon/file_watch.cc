#include "daemon/file_watch.h"

#include <unistd.h>

#include <climits>

namespace gatehouse::daemon {

std::optional<std::string> volume_version(const std::string& file) {
  const std::string link = file.substr(0, file.rfind('/') + 1) + "..data";
  char target[PATH_MAX];
  const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
  if (size < 0) return std::nullopt;
  return std::string(target, static_cast<std::size_t>(size));
}

bool FileWatch::has_changed(const std::string& path, const FileStamp& when_read) {
  const auto now = FileStamp::of(path);
  if (!now) return false;
  const auto known = changed_.find(path);
  if (*now == (known == changed_.end() ? when_read : known->second)) return false;
  changed_.insert_or_assign(path, *now);
  return true;
}

std::vector<FileCertificate> FileWatch::changed(const std::vector<FileCertificate>& certificates) {
  std::vector<FileCertificate> all;
  for (const FileCertificate& certificate : certificates) {
    const bool chain = has_changed(certificate.certificate_file, certificate.certificate_stamp);
    const bool key = has_changed(certificate.key_file, certificate.key_stamp);
    if (chain || key) all.push_back(certificate);
  }
  return all;
}

std::set<std::string> FileWatch::changed(const std::map<std::string, FileStamp>& files) {
  std::set<std::string> all;
  for (const auto& [path, when_read] : files)
    if (has_changed(path, when_read)) all.insert(path);
  return all;
}

}  // namespace gatehouse::daemon
