// Backends, and the references to them.

#include <algorithm>
#include <utility>

#include "daemon/base/text.h"
#include "daemon/config_draft.h"
#include "daemon/config_hosts.h"
#include "daemon/config_urls.h"

namespace gatehouse::daemon {

namespace {

void read_endpoints(Reader& reader, const Field& field, std::vector<proxy::Endpoint>& into) {
  for (const Field& item : reader.items(field)) {
    proxy::Endpoint endpoint;
    if (read_endpoint(reader, item, endpoint)) into.push_back(std::move(endpoint));
  }
  if (field && field.value.is_sequence() && field.value.size() == 0)
    reader.error(field.mark(), "\"endpoints\" needs at least one");
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
    if (!parsed) reader.error(roots.mark(), "\"ca_file\": " + parsed.error().message);
  }
  std::string ignored;
  const Field certificate = fields.find("certificate_file"), key = fields.find("key_file");
  const Field san = fields.find("verify_san");
  reader.file(certificate, ignored);
  reader.file(key, ignored);
  reader.text(san, ignored);
  for (const Field* later : {&certificate, &key, &san}) reader.not_yet(*later);
  fields.finish();
  const bool has_tls = std::any_of(backend.endpoints.begin(), backend.endpoints.end(),
                                   [](const proxy::Endpoint& endpoint) { return endpoint.is_tls; });
  if (field && !backend.endpoints.empty() && !has_tls)
    reader.error(field.key_mark, "\"tls\" has no effect: no endpoint is https",
                 "write https:// in the endpoints");
}

void read_balance(Reader& reader, const Field& field) {
  const auto given = reader.scalar(field, "a policy");
  if (!given || *given == "round_robin") return;
  const bool is_hash = given->starts_with("hash:") && given->size() > 5;
  if (*given == "least_requests" || is_hash) {
    reader.error(field.mark(), "\"balance\": " + in_quotes(*given) + " is not supported yet");
    return;
  }
  const std::vector<std::string> policies{"round_robin", "least_requests", "hash:"};
  reader.error(
      field.mark(),
      "\"balance\" takes round_robin, least_requests or hash:..., not " + in_quotes(*given),
      reader.did_you_mean(*given, policies));
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

void refuse_health(Reader& reader, const Field& health, const Field& eject) {
  std::string path;
  Duration duration{};
  std::uint32_t count = 0;
  int share = 0;
  Fields checks = reader.mapping(health, {"\"health\""});
  reader.text(checks.find("path"), path);
  reader.duration(checks.find("interval"), duration);
  reader.duration(checks.find("timeout"), duration);
  reader.number(checks.find("unhealthy_after"), count, {1});
  reader.number(checks.find("healthy_after"), count, {1});
  checks.finish();
  Fields ejection = reader.mapping(eject, {"\"eject\""});
  reader.number(ejection.find("consecutive_errors"), count, {1});
  reader.duration(ejection.find("for"), duration);
  reader.percentage(ejection.find("at_most"), share);
  ejection.finish();
  reader.not_yet(health);
  reader.not_yet(eject);
}

/// In the schema for a later version: types are checked, then it is refused.
void refuse_later_keys(Reader& reader, Fields& fields) {
  static constexpr Choice<int> kProxyProtocols[] = {{"off", 0}, {"v1", 1}, {"v2", 2}};
  std::string text;
  Duration duration{};
  int number = 0;
  const Field health = fields.find("health"), eject = fields.find("eject");
  refuse_health(reader, health, eject);
  const Field http2 = fields.find("http2");
  Fields frames = reader.mapping(http2, {"\"http2\""});
  reader.duration(frames.find("ping"), duration);
  reader.duration(frames.find("max_age"), duration);
  frames.finish();
  const Field sticky = fields.find("sticky");
  Fields cookie = reader.mapping(sticky, {"\"sticky\""});
  reader.text(cookie.find("cookie"), text);
  cookie.finish();
  const Field slow_start = fields.find("slow_start"), panic = fields.find("panic");
  reader.duration(slow_start, duration, Duration::zero());
  reader.percentage(panic, number);
  for (const Field* later : {&http2, &sticky, &slow_start, &panic}) reader.not_yet(*later);
  const Field header = fields.find("send_proxy_protocol");
  if (reader.choice<int>(header, number, kProxyProtocols) && number != 0) reader.not_yet(header);
}

void read_backend(ConfigDraft& draft, const Field& field) {
  static constexpr Choice<proxy::BackendProtocol> kProtocols[] = {
      {"http1", proxy::BackendProtocol::kHttp1},
      {"h2", proxy::BackendProtocol::kHttp2},
      {"auto", proxy::BackendProtocol::kAuto}};
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
  read_balance(reader, fields.find("balance"));
  read_timeouts_and_limits(reader, fields, backend);
  refuse_later_keys(reader, fields);
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
