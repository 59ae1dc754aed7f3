#include "daemon/net/kubeconfig.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "daemon/base/text.h"

namespace gatehouse::net {

namespace {

constexpr std::size_t kBytesMax = 1024 * 1024;
constexpr const char* kDirectory = "/var/run/secrets/kubernetes.io/serviceaccount";

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

Result<std::string> read_all(int file, const std::string& path) {
  struct stat facts {};
  if (::fstat(file, &facts) != 0) return errno_error(path, errno);
  if (!S_ISREG(facts.st_mode)) return Error{Fault::kInvalid, path + ": not a regular file"};
  std::string content;
  char block[16 * 1024];
  for (;;) {
    const ssize_t got = ::read(file, block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(path, errno);
    if (got == 0) return content;
    content.append(block, static_cast<std::size_t>(got));
    if (content.size() > kBytesMax) return Error{Fault::kTooLarge, path + ": over 1 MiB"};
  }
}

}  // namespace

Result<std::string> read_small_file(const std::string& path) {
  // Not blocking: the name may be a FIFO without a writer.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return errno_error(path, errno);
  auto content = read_all(file, path);
  ::close(file);
  return content;
}

Result<KubeAccess> service_account_access() {
  const std::string host = from_environment("KUBERNETES_SERVICE_HOST");
  const std::string port = from_environment("KUBERNETES_SERVICE_PORT");
  if (host.empty() || port.empty())
    return Error{Fault::kNotFound,
                 "this is no pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set"};
  std::string directory = from_environment("GATEHOUSE_SERVICE_ACCOUNT");
  if (directory.empty()) directory = kDirectory;
  KubeAccess access;
  const bool is_v6 = host.find(':') != host.npos;
  access.server = "https://" + (is_v6 ? "[" + host + "]" : host) + ":" + port;
  access.ca_file = directory + "/ca.crt";
  access.token_file = directory + "/token";
  if (const auto name_space = read_small_file(directory + "/namespace"))
    access.name_space = trim(*name_space);
  return access;
}

}  // namespace gatehouse::net
