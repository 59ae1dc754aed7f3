// What has to do with Kubernetes: where the apiserver is, and the Secrets of certificates.

#include <algorithm>
#include <utility>

#include "daemon/base/text.h"
#include "daemon/config_draft.h"
#include "daemon/config_urls.h"
#include "daemon/kubeconfig_reader.h"

namespace gatehouse::daemon {

namespace {

/// "a.b/c-d_e": a prefix that is a DNS name, at most, and a name (the API's "qualified name").
bool is_label_key(std::string_view key) {
  const auto slash = key.find('/');
  if (slash != key.npos && !store::is_dns_subdomain(key.substr(0, slash))) return false;
  const std::string_view name = slash == key.npos ? key : key.substr(slash + 1);
  const auto is_edge = [](char c) { return is_alpha(c) || is_digit(c); };
  return !name.empty() && name.size() <= 63 && is_edge(name.front()) && is_edge(name.back()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return is_edge(c) || c == '-' || c == '_' || c == '.'; });
}

void read_pairs(Reader& reader, const Field& field, bool are_labels,
                std::map<std::string, std::string>& into) {
  for (const Field& entry : reader.entries(field)) {
    const auto value = reader.scalar(entry, "text");
    if (!value) continue;
    const std::string key(entry.key);
    if (!is_label_key(key)) {
      reader.error(entry.key_mark, in_quotes(key) + " is no key that Kubernetes takes",
                   "such as team, or example.com/team");
    } else if (key == "app.kubernetes.io/managed-by" || key.starts_with("gatehouse/")) {
      reader.error(entry.key_mark, in_quotes(key) + " is set by Gatehouse itself");
    } else if (key.find("cert-manager.io/") != key.npos) {
      reader.error(entry.key_mark, in_quotes(key) + " would tell cert-manager that it is its own");
    } else if (are_labels && !value->empty() &&
               (!is_label_key(*value) || value->find('/') != value->npos)) {
      reader.error(entry.mark(), in_quotes(*value) + " is no value of a label",
                   "letters, digits and -_. between them, 63 at most");
    } else {
      into.insert_or_assign(key, std::string(*value));
    }
  }
}

/// Where the certificate is to be seen when it is in its Secrets.
void read_verify(Reader& reader, const Field& field, const std::string& certificate,
                 std::vector<store::GatewayTarget>& into) {
  if (!field) return;
  store::GatewayTarget target;
  target.certificate = certificate;
  Fields fields = reader.mapping(field, {"\"verify\""});
  const bool is_known = read_host_and_port(
      reader, fields.need("address", "address: istio-ingressgateway.istio-system.svc:443"),
      target.host, target.port);
  reader.duration(fields.find("within"), target.within, 1s);
  fields.finish();
  if (is_known) into.push_back(std::move(target));
}

/// A Secret that is written and read would be a certificate that is its own source.
void refuse_circles(ConfigDraft& draft) {
  for (const auto& [secret, mark] : draft.sources) {
    const auto mirrored = draft.secrets.find(secret);
    if (mirrored != draft.secrets.end())
      draft.reader.error(mark,
                         in_quotes(secret) + " is written by line " +
                             std::to_string(mirrored->second.line) + ", and read here",
                         "name that certificate where this one is named");
  }
}

}  // namespace

std::optional<store::SecretName> read_secret_name(Reader& reader, const Field& field) {
  const auto given = reader.scalar(field, "namespace/name");
  if (!given) return std::nullopt;
  const auto parts = split(*given, '/');
  if (parts.size() == 2 && store::is_dns_subdomain(parts[0]) && store::is_dns_subdomain(parts[1]))
    return store::SecretName{std::string(parts[0]), std::string(parts[1])};
  reader.error(field.mark(), in_quotes(field.key) + ": " + in_quotes(*given) + " is not a Secret",
               "namespace/name, such as istio-system/istio-ingress-certs");
  return std::nullopt;
}

void read_mirror(ConfigDraft& draft, const MirrorFields& fields, const std::string& certificate,
                 const std::unordered_set<std::string>& names) {
  Reader& reader = draft.reader;
  store::MirrorTarget target;
  target.certificate = certificate;
  target.names.assign(names.begin(), names.end());
  std::sort(target.names.begin(), target.names.end());
  reader.boolean(fields.adopt, target.adopts);
  read_pairs(reader, fields.labels, /*are_labels=*/true, target.labels);
  read_pairs(reader, fields.annotations, /*are_labels=*/false, target.annotations);
  for (const Field* beside : {&fields.adopt, &fields.labels, &fields.annotations, &fields.verify})
    if (*beside && !fields.secrets)
      reader.error(beside->key_mark, in_quotes(beside->key) + " has no effect without \"secrets\"");
  for (const Field& item : reader.items(fields.secrets)) {
    auto name = read_secret_name(reader, item);
    if (!name) continue;
    const auto [first, is_new] = draft.secrets.try_emplace(name->to_string(), item.mark());
    if (!is_new) {
      reader.error(item.mark(), in_quotes(name->to_string()) +
                                    " has a certificate already, by line " +
                                    std::to_string(first->second.line));
      continue;
    }
    target.secret = std::move(*name);
    draft.config.kubernetes.mirrors.push_back(target);
  }
  read_verify(reader, fields.verify, certificate, draft.config.kubernetes.gateways);
}

void read_source(ConfigDraft& draft, const Field& field, const std::string& certificate,
                 CertificateEntry& entry) {
  auto name = read_secret_name(draft.reader, field);
  if (!name) return;
  const auto [first, is_new] = draft.sources.try_emplace(name->to_string(), field.mark());
  if (!is_new) {
    draft.reader.error(field.mark(),
                       in_quotes(name->to_string()) + " is read already, by line " +
                           std::to_string(first->second.line),
                       "one certificate may serve many vhosts");
    return;
  }
  entry.source = draft.config.kubernetes.sources.size();
  draft.config.kubernetes.sources.push_back({std::move(*name), certificate, {}});
}

void read_kubernetes(ConfigDraft& draft, const Field& field) {
  Reader& reader = draft.reader;
  KubernetesOptions& kubernetes = draft.config.kubernetes;
  std::string kubeconfig;
  Fields fields = reader.mapping(field, {"\"kubernetes\""});
  const Field file = fields.find("kubeconfig");
  reader.file(file, kubeconfig);
  const Field cluster_field = fields.find("cluster");
  read_cluster(draft, cluster_field);
  fields.finish();
  refuse_circles(draft);
  if (!kubeconfig.empty()) {
    auto access = read_kubeconfig(kubeconfig);
    if (!access) {
      reader.error(file.mark(), "\"kubeconfig\": " + access.error().message);
    } else {
      kubernetes.access = std::move(*access);
      if (kubernetes.access->skips_verification)
        reader.findings().warn(file.mark(), "the apiserver's certificate is not verified",
                               "certificate-authority instead of insecure-skip-tls-verify");
      if (!kubernetes.has_secrets() && !cluster_field)
        reader.findings().warn(file.mark(), "nothing here uses \"kubeconfig\"");
    }
  } else if ((kubernetes.has_secrets() || cluster_field) && !file &&
             !reader.findings().has_errors()) {
    auto access = net::service_account_access();
    if (access) {
      kubernetes.access = std::move(*access);
    } else {
      const auto& named = draft.secrets.empty() ? draft.sources : draft.secrets;
      const Mark mark = cluster_field ? cluster_field.mark() : named.begin()->second;
      reader.findings().warn(mark, access.error().message,
                             "kubernetes: {kubeconfig: FILE}, or run in a pod");
    }
  }
}

}  // namespace gatehouse::daemon
