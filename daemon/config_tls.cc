// What vhosts ask of their visitors' TLS.

#include <algorithm>
#include <utility>

#include "daemon/config_draft.h"
#include "proxy/routing/router.h"

namespace gatehouse::daemon {

namespace {

using Clients = proxy::TlsPolicy::Clients;

/// Whether OpenSSL takes these files; complains where it does not.
bool check_policy(ConfigDraft& draft, const proxy::TlsPolicy& policy, const Field& ca,
                  const Field& crl) {
  proxy::TlsPolicy without_crl = policy;
  without_crl.crl_pem = nullptr;
  if (auto made = proxy::compile_policy(without_crl); !made) {
    draft.reader.error(ca.mark(), "\"ca_file\": " + made.error().message);
    return false;
  }
  if (auto made = proxy::compile_policy(policy); !made) {
    draft.reader.error(crl.mark(), "\"crl_file\": " + made.error().message);
    return false;
  }
  return true;
}

/// What `client` says; complains about what cannot be.
void read_client(ConfigDraft& draft, const Field& section, proxy::TlsPolicy& policy) {
  static constexpr Choice<Clients> kModes[] = {
      {"off", Clients::kOff}, {"optional", Clients::kOptional}, {"required", Clients::kRequired}};
  Reader& reader = draft.reader;
  Fields client = reader.mapping(section, {"\"client\""});
  if (!section) return;
  const bool has_mode =
      reader.choice<Clients>(client.need("mode", "mode: required"), policy.clients, kModes);
  const Field ca = client.find("ca_file"), crl = client.find("crl_file");
  const bool has_ca = read_pem_file(draft, ca, policy.ca_file, policy.ca_pem);
  const bool has_crl = read_pem_file(draft, crl, policy.crl_file, policy.crl_pem);
  if (has_mode && policy.clients != Clients::kOff && !ca)
    client.need("ca_file", "the file with the CAs that sign your clients' certificates");
  client.finish();
  if (policy.clients == Clients::kOff) return;
  // Each distinct one is checked once.
  const bool is_new = draft.client_files.insert(policy.ca_file + '\0' + policy.crl_file).second;
  if (is_new && has_ca && (has_crl || !crl)) check_policy(draft, policy, ca, crl);
}

}  // namespace

bool read_pem_file(ConfigDraft& draft, const Field& field, std::string& path,
                   std::shared_ptr<const std::string>& pem) {
  if (!draft.reader.file(field, path)) return false;
  const auto& text = draft.files.text(path);
  if (!text) {
    draft.reader.error(field.mark(), in_quotes(field.key) + ": " + text.error().message);
    return false;
  }
  pem = *text;
  draft.config.tls_files[path] = draft.files.stamp(path).value_or(FileStamp());
  return true;
}

void read_vhost_tls(ConfigDraft& draft, const Field& field, proxy::Vhost& vhost) {
  static constexpr Choice<proxy::TlsProfile> kProfiles[] = {
      {"modern", proxy::TlsProfile::kModern}, {"intermediate", proxy::TlsProfile::kIntermediate}};
  if (!field) return;
  Reader& reader = draft.reader;
  proxy::Options& options = draft.config.proxy;
  proxy::TlsPolicy policy;
  policy.profile = options.tls_profile;
  Fields fields = reader.mapping(field, {"\"tls\""});
  reader.choice<proxy::TlsProfile>(fields.find("profile"), policy.profile, kProfiles);
  const Field section = fields.find("client");
  read_client(draft, section, policy);
  fields.finish();
  if (policy.clients == Clients::kRequired && vhost.http == proxy::PlainPolicy::kServe)
    reader.error(section.key_mark, "\"http: serve\" would let in who has no certificate",
                 "http: redirect, or mode: optional");
  const bool takes_early_data =
      std::any_of(vhost.routes.begin(), vhost.routes.end(),
                  [](const proxy::Route& route) { return route.allows_early_data; });
  if (policy.clients != Clients::kOff && takes_early_data)
    reader.error(section.key_mark, "\"client\" beside a route with \"early_data\"",
                 "what comes before the handshake's end is nobody's: remove one of them");
  if (policy.clients == Clients::kOff) {  // Its files say nothing then.
    if (policy.profile == options.tls_profile) return;
    const proxy::TlsProfile profile = policy.profile;
    policy = {};
    policy.profile = profile;
  }
  const auto [known, is_new] =
      draft.tls_policies.try_emplace(name_of(policy), options.tls_policies.size());
  if (is_new) options.tls_policies.push_back(std::move(policy));
  vhost.tls_policy = known->second;
}

}  // namespace gatehouse::daemon
