#pragma once
// Certificates and keys in files of the operator, each distinct file read and parsed once however
// many entries name it. Lives while a configuration is read.

#include <string>
#include <unordered_map>

#include "daemon/base/error.h"
#include "daemon/net/certificate.h"

namespace gatehouse::daemon {

/// All of a regular file; kTooLarge beyond `bytes_max`. Errors name the file.
Result<std::string> read_file(const std::string& path, std::size_t bytes_max);

class CertificateFiles {
 public:
  /// A chain, leaf first. Errors name the file.
  const Result<net::CertificateChain>& chain(const std::string& path);
  const Result<net::PrivateKey>& key(const std::string& path);
  /// Chain and key under a name. kInvalid when they do not belong together.
  Result<net::CredentialPtr> credential(const std::string& name, const std::string& chain_path,
                                        const std::string& key_path);

 private:
  std::unordered_map<std::string, Result<net::CertificateChain>> chains_;
  std::unordered_map<std::string, Result<net::PrivateKey>> keys_;
  std::unordered_map<std::string, net::CredentialPtr> credentials_;  // by both paths
};

}  // namespace gatehouse::daemon
