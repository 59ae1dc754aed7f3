// Services: what Ingresses and HTTPRoutes send requests to.

#include <algorithm>

#include "daemon/base/text.h"
#include "daemon/config_hosts.h"
#include "daemon/import_draft.h"

namespace gatehouse::daemon {

namespace {

/// cert-manager's solver pods, or a Service made by hand in front of them.
bool is_for_solvers(Manifest& manifest) {
  const Item selector = manifest.spec().at("selector");
  return selector.at("certmanager.k8s.io/domain") ||
         selector.at("acme.cert-manager.io/http-domain") ||
         selector.at("acme.cert-manager.io/http01-solver") ||
         manifest.name().starts_with("cm-acme-http-solver");
}

/// The port of a Service by name or number.
Item find_port(Manifest* service, const BackendReference& reference) {
  if (service == nullptr) return {};
  for (const Item& port : service->spec().at("ports").items()) {
    const std::string_view wanted = reference.port.text();
    if (port.at("name").is(wanted) || (!reference.is_named && port.at("port").is(wanted)))
      return port;
  }
  return {};
}

enum class Scheme { kHttp, kHttp2, kHttps };

/// As Istio reads it: the port's name up to its first hyphen, or appProtocol, which wins.
Scheme scheme_of(const Item& port) {
  const Item name = port.at("name"), protocol = port.at("appProtocol");
  std::string_view text = protocol ? protocol.text() : name.text();
  if (!protocol) text = text.substr(0, text.find('-'));
  const std::string lower = to_lower(text);
  const Item& source = protocol ? protocol : name;
  if (lower == "grpc" || lower == "http2" || lower == "h2c" || lower == "kubernetes.io/h2c") {
    source.translated("protocol: h2");
    return Scheme::kHttp2;
  }
  if (lower == "https") {
    source.translated("an https endpoint");
    return Scheme::kHttps;
  }
  source.used();
  return Scheme::kHttp;
}

}  // namespace

void import_service(Manifest& manifest) {
  const Item root = manifest.root();
  if (is_for_solvers(manifest)) {
    root.at("spec").dropped("no longer needed: " + std::string(kInProcess));
    manifest.annotations().dropped("no longer needed: " + std::string(kInProcess));
    return;
  }
  root.at("spec").dropped("the Service stays as it is; no route leads to this");
}

std::optional<std::string> import_backend(ImportDraft& draft, const BackendReference& reference) {
  const std::string name = reference.name_space + "/" + reference.service;
  const auto known = draft.services.find(name);
  Manifest* service = known == draft.services.end() ? nullptr : known->second;
  const Item port = find_port(service, reference);
  const bool is_number = !reference.is_named && parse_decimal(reference.port.text()).has_value();
  if (!port && !is_number) {
    reference.port.refused(service == nullptr ? "the name of a port needs the Service: add its file"
                                              : "the Service has no such port");
    return std::nullopt;
  }
  std::string number(port ? port.at("port").text() : reference.port.text());
  std::string host = reference.service + "." + reference.name_space + ".svc.cluster.local";
  ImportedBackend backend;
  backend.origin = "Service " + name;
  Scheme scheme = number == "443" && !port ? Scheme::kHttps : Scheme::kHttp;
  if (service != nullptr) {
    const Item spec = service->spec();
    spec.dropped("the cluster's own business: the backend is the Service's name");
    if (spec.at("type").is("ExternalName")) {
      spec.at("type").translated("the endpoint is that name");
      spec.at("externalName").used();
      host = spec.at("externalName").text();
    }
    if (port) {
      scheme = scheme_of(port);
      port.at("port").used();
      const Item target = port.at("targetPort");
      if (spec.at("clusterIP").is("None") && parse_decimal(target.text())) {
        spec.at("clusterIP").translated("headless: its pods are the endpoint's addresses");
        target.translated("headless: the pods' port counts");
        number = target.text();
      }
    }
    backend.origin += " (" + service->origin() + ")";
  }
  HostProblem problem;
  const auto value = parse_decimal(number);
  if (!normal_host(host, problem) || !value || *value == 0 || *value > 65535) {
    reference.port.refused("there is no endpoint " + host + ":" + number);
    return std::nullopt;
  }
  if (port && reference.port.text() != number)
    reference.port.translated("port " + number);
  else
    reference.port.used();
  backend.endpoint =
      std::string(scheme == Scheme::kHttps ? "https://" : "http://") + host + ":" + number;
  backend.is_http2 = scheme == Scheme::kHttp2;
  if (scheme == Scheme::kHttps)
    backend.notes.push_back("its certificate is verified: tls: {ca_file: ..., server_name: ...}");
  for (const ImportedBackend& other : draft.backends)
    if (other.endpoint == backend.endpoint) return other.key;
  backend.key = ImportDraft::free_key(draft.backends, reference.service,
                                      reference.service + "-" + reference.name_space);
  draft.backends.push_back(backend);
  return backend.key;
}

}  // namespace gatehouse::daemon
