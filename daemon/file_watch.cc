#include "daemon/file_watch.h"

#include <sys/stat.h>

#include <fstream>
#include <sstream>

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

namespace {
Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return Error{Fault::kIo, "cannot read " + path};
  return std::move(text).str();
}
}  // namespace

Result<net::CredentialPtr> read_credential(const FileCertificate& certificate) {
  auto chain_pem = read_file(certificate.certificate_file);
  if (!chain_pem) return chain_pem.error();
  auto key_pem = read_file(certificate.key_file);
  if (!key_pem) return key_pem.error();
  auto chain = net::CertificateChain::from_pem(*chain_pem);
  if (!chain) return std::move(chain).error().in(certificate.certificate_file);
  auto key = net::PrivateKey::from_pem(*key_pem);
  if (!key) return std::move(key).error().in(certificate.key_file);
  return net::make_credential(certificate.name, std::move(*chain), std::move(*key));
}

}  // namespace gatehouse::daemon
