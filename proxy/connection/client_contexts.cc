#include "proxy/connection/client_contexts.h"

#include <utility>

namespace gatehouse::proxy {

namespace {

net::ClientTlsOptions options_of(const Backend& backend) {
  net::ClientTlsOptions options;
  options.ca_file = backend.tls.ca_file;
  if (backend.tls.ca_pem) options.ca_pem = *backend.tls.ca_pem;
  options.offer_h2 = backend.protocol != BackendProtocol::kHttp1;
  options.offer_http1 = backend.protocol != BackendProtocol::kHttp2;
  options.credential = backend.tls.credential;
  options.verify_san = backend.tls.verify_san;
  return options;
}

std::string key_of(const Backend& backend) {
  const BackendTls& tls = backend.tls;
  std::string key(1, static_cast<char>(backend.protocol));
  for (const std::string* part :
       {&tls.ca_file, &tls.certificate_file, &tls.key_file, &tls.verify_san})
    key.append(1, '\0').append(*part);
  return key;
}

bool is_same_content(const BackendTls& a, const BackendTls& b) {
  const bool has_same_roots =
      a.ca_pem == b.ca_pem || (a.ca_pem && b.ca_pem && *a.ca_pem == *b.ca_pem);
  const bool has_same_credential =
      a.credential == b.credential ||
      (a.credential && b.credential &&
       a.credential->facts.fingerprint_sha256_hex == b.credential->facts.fingerprint_sha256_hex);
  return has_same_roots && has_same_credential;
}

}  // namespace

Result<std::shared_ptr<net::ClientTlsContext>> ClientContexts::prepare(const Backend& backend) {
  const std::string key = key_of(backend);
  const auto known = entries_.find(key);
  if (known != entries_.end() && is_same_content(known->second.made_from, backend.tls))
    return known->second.context;
  auto made = net::ClientTlsContext::create(options_of(backend));
  if (!made) return std::move(made).error().in("backend " + backend.name);
  if (known == entries_.end())
    return entries_.try_emplace(key, Entry{*made, backend.tls}).first->second.context;
  renewals_[key] = {*made, backend.tls};
  return known->second.context;
}

void ClientContexts::commit() {
  std::erase_if(entries_, [](const auto& entry) { return entry.second.context.use_count() == 1; });
  for (auto& [key, renewal] : renewals_) {
    const auto known = entries_.find(key);
    if (known == entries_.end()) continue;  // Its last user is gone.
    Entry& entry = known->second;
    entry.context->take(*renewal.context);
    entry.made_from = std::move(renewal.made_from);
  }
  renewals_.clear();
}

}  // namespace gatehouse::proxy
