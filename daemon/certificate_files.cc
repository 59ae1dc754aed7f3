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

Result<net::CredentialPtr> CertificateFiles::credential(const std::string& name,
                                                        const std::string& chain_path,
                                                        const std::string& key_path) {
  net::CredentialPtr& seen = credentials_[chain_path + '\0' + key_path];
  if (seen) {
    auto renamed = std::make_shared<net::Credential>(*seen);
    renamed->name = name;
    return net::CredentialPtr(std::move(renamed));
  }
  const auto& leaf_first = chain(chain_path);
  if (!leaf_first) return leaf_first.error();
  const auto& private_key = key(key_path);
  if (!private_key) return private_key.error();
  auto made = net::make_credential(name, *leaf_first, *private_key);
  if (made) seen = *made;
  return made;
}

}  // namespace gatehouse::daemon
