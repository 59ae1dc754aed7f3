// Backends, and the references to them.

#include <algorithm>
#include <utility>

#include "daemon/base/text.h"
#include "daemon/config_draft.h"
#include "daemon/config_hosts.h"
#include "daemon/config_urls.h"
#include "proxy/protocol/field_syntax.h"

namespace gatehouse::daemon {

namespace {

/// What Istio's ingress gateway sets X-Forwarded-Proto to, unless it trusts the proxy before it, is
/// whether this hop has TLS. It is known by its usual names.
void warn_of_istio_gateway(Reader& reader, const Field& field, const proxy::Endpoint& endpoint) {
  const std::string& host = endpoint.host;
  const std::string_view service = std::string_view(host).substr(0, host.find('.'));
  const bool is_gateway = host.find("istio-ingressgateway") != host.npos ||
                          service.ends_with("-ingressgateway") ||
                          (host + ".").find(".istio-system.") != host.npos;
  if (endpoint.is_tls || !is_gateway) return;
  reader.findings().warn(
      field.mark(),
      in_quotes(host) +
          " looks like an Istio gateway, which overwrites X-Forwarded-Proto with "
          "\"http\" on a hop without TLS, unless its numTrustedProxies is 1",
      "sites that redirect to https would loop: annotate the gateway's pods with "
      "proxy.istio.io/config: '{\"gatewayTopology\": {\"numTrustedProxies\": 1}}', "
      "or use https://");
}

void read_endpoints(Reader& reader, const Field& field, std::vector<proxy::Endpoint>& into) {
  for (const Field& item : reader.items(field)) {
    proxy::Endpoint endpoint;
    if (!read_endpoint(reader, item, endpoint)) continue;
    warn_of_istio_gateway(reader, item, endpoint);
    into.push_back(std::move(endpoint));
  }
  if (field && field.value.is_sequence() && field.value.size() == 0)
    reader.error(field.mark(), "\"endpoints\" needs at least one");
}

/// What we show to backends that ask for a certificate.
void read_own_certificate(ConfigDraft& draft, Fields& fields, proxy::BackendTls& tls) {
  Reader& reader = draft.reader;
  const Field certificate = fields.find("certificate_file"), key = fields.find("key_file");
  const bool has_certificate = reader.file(certificate, tls.certificate_file);
  const bool has_key = reader.file(key, tls.key_file);
  if (certificate && !key)
    reader.error(certificate.key_mark, "\"certificate_file\" without \"key_file\"");
  if (key && !certificate) reader.error(key.key_mark, "\"key_file\" without \"certificate_file\"");
  if (!has_certificate || !has_key) return;
  auto made = draft.files.credential(tls.certificate_file, tls.certificate_file, tls.key_file);
  if (!made) {
    reader.error(certificate.mark(), made.error().message);
    return;
  }
  tls.credential = made->credential;
  draft.config.tls_files[tls.certificate_file] = made->certificate_stamp;
  draft.config.tls_files[tls.key_file] = made->key_stamp;
}

void read_backend_tls(ConfigDraft& draft, const Field& field, proxy::Backend& backend) {
  Reader& reader = draft.reader;
  Fields fields = reader.mapping(field, {"\"tls\""});
  const Field server_name = fields.find("server_name");
  if (const auto given = reader.scalar(server_name, "a host name")) {
    HostProblem problem;
    const auto host = normal_host(*given, problem);
    if (host && !is_wildcard(*host))
      backend.tls.server_name = *host;
    else
      reader.error(server_name.mark(),
                   host ? "\"server_name\" is one name, not a wildcard" : problem.message,
                   problem.hint);
  }
  const Field roots = fields.find("ca_file");
  if (reader.file(roots, backend.tls.ca_file)) {
    const auto& parsed = draft.files.chain(backend.tls.ca_file);
    if (!parsed)
      reader.error(roots.mark(), "\"ca_file\": " + parsed.error().message);
    else
      read_pem_file(draft, roots, backend.tls.ca_file, backend.tls.ca_pem);
  }
  read_own_certificate(draft, fields, backend.tls);
  reader.text(fields.find("verify_san"), backend.tls.verify_san);
  fields.finish();
  const bool has_tls = std::any_of(backend.endpoints.begin(), backend.endpoints.end(),
                                   [](const proxy::Endpoint& endpoint) { return endpoint.is_tls; });
  if (field && !backend.endpoints.empty() && !has_tls)
    reader.error(field.key_mark, "\"tls\" has no effect: no endpoint is https",
                 "write https:// in the endpoints");
}

/// round_robin | least_requests | hash:source | hash:header:NAME | hash:cookie:NAME
void read_balance(Reader& reader, const Field& field, proxy::Balance& balance) {
  using Policy = proxy::Balance::Policy;
  using Key = proxy::Balance::Key;
  const auto given = reader.scalar(field, "a policy");
  if (!given || *given == "round_robin") return;
  if (*given == "least_requests") {
    balance.policy = Policy::kLeastRequests;
    return;
  }
  if (!given->starts_with("hash:")) {
    const std::vector<std::string> policies{"round_robin", "least_requests", "hash:source"};
    reader.error(
        field.mark(),
        "\"balance\" takes round_robin, least_requests or hash:..., not " + in_quotes(*given),
        reader.did_you_mean(*given, policies, "hash:source, hash:header:NAME or hash:cookie:NAME"));
    return;
  }
  std::string_view rest = given->substr(5);
  const std::string_view what = take_until(rest, ':');
  balance.policy = Policy::kHash;
  const bool is_header = what == "header", is_cookie = what == "cookie";
  if (what == "source" && rest.empty()) {
    balance.key = Key::kSource;
  } else if ((is_header || is_cookie) && proxy::is_token(rest)) {
    balance.key = is_header ? Key::kHeader : Key::kCookie;
    balance.key_name = is_header ? to_lower(rest) : std::string(rest);
  } else {
    const std::string kind(is_header || is_cookie ? what : "header");
    reader.error(field.mark(), "\"balance\": " + in_quotes(*given) + " does not say what to hash",
                 is_header || is_cookie ? "write hash:" + kind + ":NAME"
                                        : "hash:source, hash:header:NAME or hash:cookie:NAME");
  }
}

void read_timeouts_and_limits(Reader& reader, Fields& fields, proxy::Backend& backend) {
  Fields timeouts = reader.mapping(fields.find("timeouts"), {"\"timeouts\""});
  reader.duration(timeouts.find("connect"), backend.timeouts.connect);
  reader.duration(timeouts.find("response"), backend.timeouts.response);
  reader.duration(timeouts.find("idle"), backend.timeouts.idle);
  timeouts.finish();
  Fields limits = reader.mapping(fields.find("limits"), {"\"limits\""});
  reader.number(limits.find("connections"), backend.limits.connections, {1, 1'000'000});
  reader.number(limits.find("pending"), backend.limits.pending, {1, 1'000'000});
  reader.number(limits.find("requests"), backend.limits.requests);
  limits.finish();
}

void read_http2(Reader& reader, const Field& field, proxy::Backend& backend) {
  Fields fields = reader.mapping(field, {"\"http2\""});
  constexpr Duration kLeast = std::chrono::seconds(1);
  reader.duration(fields.find("ping"), backend.http2.ping, kLeast);
  reader.duration(fields.find("max_age"), backend.http2.max_age, kLeast);
  fields.finish();
  if (field && backend.protocol == proxy::BackendProtocol::kHttp1)
    reader.error(field.key_mark, "\"http2\" has no effect: the backend's protocol is http1",
                 "remove it, or write protocol: h2");
}

void read_ejection(Reader& reader, const Field& field, proxy::Backend& backend) {
  if (!field) return;
  proxy::Ejection rules;
  int share = static_cast<int>(rules.at_most_percent);
  Fields fields = reader.mapping(field, {"\"eject\""});
  reader.number(fields.find("consecutive_errors"), rules.consecutive_errors, {1});
  reader.duration(fields.find("for"), rules.time);
  reader.percentage(fields.find("at_most"), share);
  fields.finish();
  rules.at_most_percent = static_cast<unsigned>(share);
  backend.eject = rules;
}

void read_sticky(Reader& reader, const Field& field, proxy::Backend& backend) {
  Fields fields = reader.mapping(field, {"\"sticky\""});
  if (!field) return;
  const Field cookie = fields.need("cookie", "cookie: edge");
  if (reader.text(cookie, backend.sticky_cookie) && !proxy::is_token(backend.sticky_cookie))
    reader.error(cookie.mark(), in_quotes(backend.sticky_cookie) + " is not a name for a cookie",
                 "letters, digits, - and _");
  fields.finish();
}

/// gRPC is checked over HTTP/2 only, which is not spoken without TLS unless the file says so.
bool can_check_grpc(const proxy::Backend& backend) {
  const bool is_all_tls =
      std::all_of(backend.endpoints.begin(), backend.endpoints.end(),
                  [](const proxy::Endpoint& endpoint) { return endpoint.is_tls; });
  return backend.protocol == proxy::BackendProtocol::kHttp2 ||
         (backend.protocol == proxy::BackendProtocol::kAuto && is_all_tls);
}

/// {path: /x} by HTTP, {grpc: SERVICE} by gRPC's health service, neither: that it can be connected.
void read_health(Reader& reader, const Field& field, proxy::Backend& backend) {
  if (!field) return;
  proxy::HealthCheck check;
  Fields fields = reader.mapping(field, {"\"health\""});
  const Field path = fields.find("path"), grpc = fields.find("grpc");
  if (reader.text(path, check.path) && !proxy::is_valid_path(check.path))
    reader.error(path.mark(), "\"path\": " + in_quotes(check.path) + " is not a path",
                 "such as /healthz");
  if (const auto service = reader.scalar(grpc, "the name of a service")) {
    check.is_grpc = true;
    check.grpc_service = *service;
    if (path) reader.error(grpc.key_mark, "\"health\" takes \"path\" or \"grpc\", not both");
    if (!backend.endpoints.empty() && !can_check_grpc(backend))
      reader.error(grpc.key_mark, "\"grpc\" checks need HTTP/2", "add protocol: h2");
  }
  reader.duration(fields.find("interval"), check.interval, 10ms);
  reader.duration(fields.find("timeout"), check.timeout);
  reader.number(fields.find("unhealthy_after"), check.unhealthy_after, {1});
  reader.number(fields.find("healthy_after"), check.healthy_after, {1});
  fields.finish();
  backend.health = std::move(check);
}

void read_balancing(Reader& reader, Fields& fields, proxy::Backend& backend) {
  read_balance(reader, fields.find("balance"), backend.balance);
  read_health(reader, fields.find("health"), backend);
  read_ejection(reader, fields.find("eject"), backend);
  read_sticky(reader, fields.find("sticky"), backend);
  reader.duration(fields.find("slow_start"), backend.slow_start, Duration::zero());
  int panic = 0;
  if (reader.percentage(fields.find("panic"), panic))
    backend.panic_percent = static_cast<unsigned>(panic);
}

void read_backend(ConfigDraft& draft, const Field& field) {
  static constexpr Choice<proxy::BackendProtocol> kProtocols[] = {
      {"http1", proxy::BackendProtocol::kHttp1},
      {"h2", proxy::BackendProtocol::kHttp2},
      {"auto", proxy::BackendProtocol::kAuto}};
  static constexpr Choice<proxy::ProxyProtocol> kHeaders[] = {{"off", proxy::ProxyProtocol::kOff},
                                                              {"v1", proxy::ProxyProtocol::kV1},
                                                              {"v2", proxy::ProxyProtocol::kV2}};
  Reader& reader = draft.reader;
  proxy::Backend backend;
  backend.name = field.key;
  if (field.key.empty()) reader.error(field.key_mark, "a backend needs a name");
  if (field.key.find(':') != field.key.npos)
    reader.error(field.key_mark, "the name of a backend has no colon: " + in_quotes(field.key),
                 "names with a colon are URLs");
  Fields fields = reader.mapping(field, {"backend", field.key});
  read_endpoints(reader, fields.need("endpoints", "endpoints: [http://host:port]"),
                 backend.endpoints);
  reader.choice<proxy::BackendProtocol>(fields.find("protocol"), backend.protocol, kProtocols);
  read_backend_tls(draft, fields.find("tls"), backend);
  read_balancing(reader, fields, backend);
  read_timeouts_and_limits(reader, fields, backend);
  read_http2(reader, fields.find("http2"), backend);
  reader.choice<proxy::ProxyProtocol>(fields.find("send_proxy_protocol"),
                                      backend.send_proxy_protocol, kHeaders);
  fields.finish();
  const BackendEntry entry{field.key_mark, draft.config.proxy.backends.size()};
  draft.backends.insert_or_assign(backend.name, entry);
  draft.config.proxy.backends.push_back(std::move(backend));
}

/// The names under `backends:` in the order of the file.
std::vector<std::string> declared_names(const ConfigDraft& draft) {
  std::vector<std::string> names;
  if (!draft.reader.findings().wants_guesses()) return names;
  for (const proxy::Backend& backend : draft.config.proxy.backends) {
    const auto entry = draft.backends.find(backend.name);
    if (entry != draft.backends.end() && !entry->second.is_inline) names.push_back(backend.name);
  }
  return names;
}

}  // namespace

void read_backends(ConfigDraft& draft, const Field& field) {
  for (const Field& entry : draft.reader.entries(field)) read_backend(draft, entry);
}

std::optional<std::size_t> read_backend_reference(ConfigDraft& draft, const Field& field) {
  const auto given = draft.reader.scalar(field, "a name or a URL");
  if (!given) return std::nullopt;
  std::string name(*given);
  if (const auto known = draft.backends.find(name); known != draft.backends.end()) {
    known->second.is_used = true;
    return known->second.index;
  }
  const bool is_url = name.find(':') != name.npos || name.find('/') != name.npos;
  if (!is_url) {
    draft.reader.error(field.mark(), "there is no backend " + in_quotes(name),
                       draft.reader.did_you_mean(name, declared_names(draft),
                                                 "declare it under backends, or write a URL"));
    return std::nullopt;
  }
  proxy::Endpoint endpoint;
  if (!read_endpoint(draft.reader, field, endpoint)) return std::nullopt;
  warn_of_istio_gateway(draft.reader, field, endpoint);
  BackendEntry entry{field.mark(), draft.config.proxy.backends.size()};
  entry.is_used = entry.is_inline = true;
  proxy::Backend backend;
  backend.name = name;
  backend.endpoints.push_back(std::move(endpoint));
  draft.config.proxy.backends.push_back(std::move(backend));
  draft.backends.emplace(std::move(name), entry);
  return entry.index;
}

}  // namespace gatehouse::daemon
