#include "daemon/tls_files.h"

#include <algorithm>
#include <initializer_list>
#include <set>
#include <utility>

#include "daemon/base/log.h"
#include "daemon/certificate_files.h"
#include "daemon/net/tls_context.h"
#include "proxy/routing/router.h"

namespace gatehouse::daemon {

namespace {

bool is_any_in(const std::set<std::string>& changed,
               std::initializer_list<const std::string*> paths) {
  return std::any_of(paths.begin(), paths.end(),
                     [&](const std::string* path) { return changed.contains(*path); });
}

/// Reads a file into `into`, unless none is named.
Result<void> read_into(CertificateFiles& files, const std::string& path,
                       std::shared_ptr<const std::string>& into) {
  if (path.empty()) return {};
  const auto& text = files.text(path);
  if (!text) return text.error();
  into = *text;
  return {};
}

Result<void> reread(CertificateFiles& files, proxy::TlsPolicy& policy) {
  if (auto read = read_into(files, policy.ca_file, policy.ca_pem); !read) return read;
  if (auto read = read_into(files, policy.crl_file, policy.crl_pem); !read) return read;
  if (auto made = proxy::compile_policy(policy); !made)
    return std::move(made).error().in(policy.ca_file);
  return {};
}

Result<void> reread(CertificateFiles& files, proxy::BackendTls& tls) {
  if (auto read = read_into(files, tls.ca_file, tls.ca_pem); !read) return read;
  if (!tls.certificate_file.empty()) {
    auto made = files.credential(tls.certificate_file, tls.certificate_file, tls.key_file);
    if (!made) return std::move(made).error();
    tls.credential = std::move(made->credential);
  }
  if (!tls.ca_pem) return {};
  net::ClientTlsOptions options;
  options.ca_pem = *tls.ca_pem;
  if (auto made = net::ClientTlsContext::create(options); !made)
    return std::move(made).error().in(tls.ca_file);
  return {};
}

/// False: it stays as it was.
template <class T>
bool take_files(CertificateFiles& files, T& from_files) {
  T fresh = from_files;
  if (auto read = reread(files, fresh); !read) {
    log(Level::kError, "tls.file_unusable")
        .with("reason", read.error().message)
        .with("using", "the one before");
    return false;
  }
  from_files = std::move(fresh);
  return true;
}

}  // namespace

std::shared_ptr<const Config> with_changed_tls_files(FileWatch& watch, const Config& config) {
  const std::set<std::string> changed = watch.changed(config.tls_files);
  if (changed.empty()) return nullptr;
  CertificateFiles files;
  auto fresh = std::make_shared<Config>(config);
  bool is_any_taken = false;
  for (proxy::TlsPolicy& policy : fresh->proxy.tls_policies)
    if (is_any_in(changed, {&policy.ca_file, &policy.crl_file}))
      is_any_taken |= take_files(files, policy);
  for (proxy::Backend& backend : fresh->proxy.backends) {
    proxy::BackendTls& tls = backend.tls;
    if (is_any_in(changed, {&tls.ca_file, &tls.certificate_file, &tls.key_file}))
      is_any_taken |= take_files(files, tls);
  }
  if (!is_any_taken) return nullptr;
  return fresh;
}

}  // namespace gatehouse::daemon
