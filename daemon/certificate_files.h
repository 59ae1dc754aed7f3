#pragma once
// Certificates and keys in files of the operator, each distinct file read and parsed once however
// many entries name it; and not at all when the configuration before had it and it was not touched.
// Lives while a configuration is read.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/base/error.h"
#include "daemon/config.h"
#include "daemon/net/certificate.h"
#include "daemon/net/certificate_outline.h"

namespace gatehouse::daemon {

/// All of a regular file; kTooLarge beyond `bytes_max`. Errors name the file.
Result<std::string> read_file(const std::string& path, std::size_t bytes_max);

/// More than roots ever need.
inline constexpr std::size_t kTlsFileBytesMax = 4 * 1024 * 1024;

class CertificateFiles {
 public:
  /// `before`, which may be null and else outlives this: the configuration that is served now.
  explicit CertificateFiles(const Config* before = nullptr);

  /// The usual case, which is quick: files that are known, or good beyond doubt. Nothing: the
  /// others below tell what there is to say.
  std::optional<FileCertificate> find(const std::string& name, const std::string& chain_path,
                                      const std::string& key_path);
  /// A chain, leaf first. Errors name the file.
  const Result<net::CertificateChain>& chain(const std::string& path);
  const Result<net::PrivateKey>& key(const std::string& path);
  /// As it is before the file is read; nothing when it cannot be looked at.
  const std::optional<FileStamp>& stamp(const std::string& path);
  /// A file of PEM that OpenSSL reads.
  const Result<std::shared_ptr<const std::string>>& text(const std::string& path);
  /// Chain and key under a name. kInvalid when they do not belong together.
  Result<FileCertificate> credential(const std::string& name, const std::string& chain_path,
                                     const std::string& key_path);

 private:
  const std::optional<net::PublicKey>& public_key(const std::string& path);
  net::CredentialPtr remembered(const FileCertificate& now) const;

  using Paths = std::pair<std::string_view, std::string_view>;
  struct PathsHash {
    std::size_t operator()(const Paths& paths) const {
      const std::hash<std::string_view> hash;
      return hash(paths.first) * 31 + hash(paths.second);
    }
  };
  std::unordered_map<Paths, const FileCertificate*, PathsHash> before_;
  std::unordered_map<std::string, std::optional<FileStamp>> stamps_;
  std::unordered_map<std::string, std::optional<net::PublicKey>> public_keys_;
  std::unordered_map<std::string, Result<net::CertificateChain>> chains_;
  std::unordered_map<std::string, Result<net::PrivateKey>> keys_;
  std::unordered_map<std::string, FileCertificate> made_;  // by both paths
  std::unordered_map<std::string, Result<std::shared_ptr<const std::string>>> texts_;
};

}  // namespace gatehouse::daemon
