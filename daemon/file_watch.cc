#include "daemon/file_watch.h"

#include <sys/stat.h>

namespace gatehouse::daemon {

bool FileWatch::has_changed(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return false;
  const Stamp now{facts.st_dev, facts.st_ino, facts.st_size,
                  std::int64_t{facts.st_mtim.tv_sec} * 1'000'000'000 + facts.st_mtim.tv_nsec};
  const auto [known, is_new] = stamps_.try_emplace(path, now);
  if (is_new || known->second == now) return false;
  known->second = now;
  return true;
}

std::vector<FileCertificate> FileWatch::changed(const std::vector<FileCertificate>& certificates) {
  std::vector<FileCertificate> all;
  for (const FileCertificate& certificate : certificates) {
    const bool chain = has_changed(certificate.certificate_file);
    const bool key = has_changed(certificate.key_file);
    if (chain || key) all.push_back(certificate);
  }
  return all;
}

}  // namespace gatehouse::daemon
