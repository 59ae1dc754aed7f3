#include "daemon/certificate_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace gatehouse::daemon {

namespace {
constexpr std::size_t kPemBytesMax = 1024 * 1024;  // A long chain has a few KiB.

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};
}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  // Not blocking: the name may be a FIFO without a writer.
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.number() < 0) return errno_error(path, errno);
  struct stat facts {};
  if (fstat(file.number(), &facts) != 0) return errno_error(path, errno);
  if (!S_ISREG(facts.st_mode)) return Error{Fault::kInvalid, path + ": not a regular file"};
  std::string content;
  char block[64 * 1024];
  while (true) {
    const ssize_t got = read(file.number(), block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(path, errno);
    if (got == 0) return content;
    content.append(block, static_cast<std::size_t>(got));
    if (content.size() > bytes_max) {
      return Error{Fault::kTooLarge, path + ": more than " + std::to_string(bytes_max) + " bytes"};
    }
  }
}

namespace {
template <class T>
Result<T> parse_file(const std::string& path, Result<T> (*parse)(std::string_view)) {
  auto pem = read_file(path, kPemBytesMax);
  if (!pem) return std::move(pem).error();
  auto parsed = parse(*pem);
  if (!parsed) return std::move(parsed).error().in(path);
  return parsed;
}
}  // namespace

CertificateFiles::CertificateFiles(const Config* before) {
  if (!before) return;
  before_.reserve(before->file_certificates.size());
  for (const FileCertificate& file : before->file_certificates)
    before_.try_emplace(Paths{file.certificate_file, file.key_file}, &file);
}

const Result<net::CertificateChain>& CertificateFiles::chain(const std::string& path) {
  const auto seen = chains_.find(path);
  if (seen != chains_.end()) return seen->second;
  return chains_.emplace(path, parse_file(path, &net::CertificateChain::from_pem)).first->second;
}

const Result<net::PrivateKey>& CertificateFiles::key(const std::string& path) {
  const auto seen = keys_.find(path);
  if (seen != keys_.end()) return seen->second;
  return keys_.emplace(path, parse_file(path, &net::PrivateKey::from_pem)).first->second;
}

const Result<std::shared_ptr<const std::string>>& CertificateFiles::text(const std::string& path) {
  const auto seen = texts_.find(path);
  if (seen != texts_.end()) return seen->second;
  (void)stamp(path);
  auto read = read_file(path, kTlsFileBytesMax);
  Result<std::shared_ptr<const std::string>> shared = std::shared_ptr<const std::string>();
  if (read)
    *shared = std::make_shared<const std::string>(std::move(*read));
  else
    shared = std::move(read).error();
  return texts_.emplace(path, std::move(shared)).first->second;
}

const std::optional<FileStamp>& CertificateFiles::stamp(const std::string& path) {
  const auto [known, is_new] = stamps_.try_emplace(path);
  if (is_new) known->second = FileStamp::of(path);
  return known->second;
}

const std::optional<net::PublicKey>& CertificateFiles::public_key(const std::string& path) {
  const auto [known, is_new] = public_keys_.try_emplace(path);
  if (!is_new) return known->second;
  if (const auto& private_key = key(path)) known->second = net::public_key_of(*private_key);
  return known->second;
}

net::CredentialPtr CertificateFiles::remembered(const FileCertificate& now) const {
  const auto it = before_.find({now.certificate_file, now.key_file});
  if (it == before_.end()) return nullptr;
  const FileCertificate& before = *it->second;
  const bool is_untouched =
      before.certificate_stamp == now.certificate_stamp && before.key_stamp == now.key_stamp;
  return is_untouched ? before.credential : nullptr;
}

std::optional<FileCertificate> CertificateFiles::find(const std::string& name,
                                                      const std::string& chain_path,
                                                      const std::string& key_path) {
  // Looked at before they are read: a change in between is seen by the next reading.
  const auto chain_stamp = FileStamp::of(chain_path), key_stamp = stamp(key_path);
  if (!chain_stamp || !key_stamp) return std::nullopt;
  FileCertificate found{name, chain_path, key_path, *chain_stamp, *key_stamp, nullptr};
  found.credential = remembered(found);
  if (found.credential && found.credential->name != name) {
    auto renamed = std::make_shared<net::Credential>(*found.credential);
    renamed->name = name;
    found.credential = std::move(renamed);
  }
  if (found.credential) return found;
  const auto& public_key = this->public_key(key_path);
  if (!public_key) return std::nullopt;
  const auto pem = read_file(chain_path, kPemBytesMax);
  if (pem)
    found.credential = net::make_credential_by_outline(name, *pem, *key(key_path), *public_key);
  if (!found.credential) return std::nullopt;
  return found;
}

Result<FileCertificate> CertificateFiles::credential(const std::string& name,
                                                     const std::string& chain_path,
                                                     const std::string& key_path) {
  const std::string both = chain_path + '\0' + key_path;
  if (const auto seen = made_.find(both); seen != made_.end()) {
    FileCertificate renamed = seen->second;
    auto credential = std::make_shared<net::Credential>(*renamed.credential);
    credential->name = renamed.name = name;
    renamed.credential = std::move(credential);
    return renamed;
  }
  const auto chain_stamp = stamp(chain_path), key_stamp = stamp(key_path);
  const auto& leaf_first = chain(chain_path);
  if (!leaf_first) return leaf_first.error();
  const auto& private_key = key(key_path);
  if (!private_key) return private_key.error();
  auto made = net::make_credential(name, *leaf_first, *private_key);
  if (!made) return std::move(made).error();
  FileCertificate certificate{name,
                              chain_path,
                              key_path,
                              chain_stamp.value_or(FileStamp()),
                              key_stamp.value_or(FileStamp()),
                              std::move(*made)};
  made_.emplace(both, certificate);
  return certificate;
}

}  // namespace gatehouse::daemon
