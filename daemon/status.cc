#include "daemon/status.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <chrono>
#include <map>

#include "daemon/base/json.h"
#include "daemon/base/text.h"
#include "daemon/gatehouse.h"

namespace gatehouse::daemon {

namespace json = boost::json;

namespace {
json::array strings(const std::vector<std::string>& from) {
  json::array all;
  for (const std::string& text : from) all.emplace_back(text);
  return all;
}

void put_time(json::object& to, std::string_view key, const std::optional<WallTime>& time) {
  if (time && *time != WallTime{}) to[key] = format_rfc3339(*time);
}

json::object managed(const acme::CertificateStatus& from) {
  json::object to;
  to["name"] = from.name;
  to["kind"] = "managed";
  to["names"] = strings(from.names);
  to["state"] = std::string(acme::to_string(from.state));
  to["is_temporary"] = from.state == acme::CertificateStatus::State::kNone;
  if (!from.ca.empty()) to["issuer"] = from.ca;
  if (!from.key_kind.empty()) to["key"] = from.key_kind;
  if (!from.serial.empty()) to["serial"] = from.serial;
  put_time(to, "not_before", from.not_before);
  put_time(to, "not_after", from.not_after);
  put_time(to, "issued", from.last_issued);
  if (!from.next_action.empty()) {
    to["next_action"] = from.next_action;
    put_time(to, "next_time", from.next_time);
    to["next_issuer"] = from.next_ca;
    to["next_reason"] = from.next_reason;
  }
  to["failures"] = from.failures;
  if (from.last_error) {
    json::object error;
    error["message"] = from.last_error->message;
    if (!from.last_error->problem_type.empty()) error["type"] = from.last_error->problem_type;
    error["issuer"] = from.last_error->ca;
    put_time(error, "at", from.last_error->at);
    to["last_error"] = std::move(error);
  }
  if (from.is_in_progress) {
    to["step"] = from.step;
    to["step_issuer"] = from.step_ca;
    put_time(to, "step_since", from.step_since);
  }
  if (!from.not_saved.empty()) to["not_saved"] = from.not_saved;
  if (!from.explanation_url.empty()) to["explanation_url"] = from.explanation_url;
  return to;
}

/// Of a certificate that somebody else keeps.
json::object kept_elsewhere(const net::Credential& from, std::string_view kind, WallTime now) {
  json::object to;
  to["name"] = from.name;
  to["kind"] = std::string(kind);
  std::vector<std::string> names = from.facts.dns_names;
  names.insert(names.end(), from.facts.ip_addresses.begin(), from.facts.ip_addresses.end());
  to["names"] = strings(names);
  to["state"] = from.facts.not_after > now ? "valid" : "expired";
  to["is_temporary"] = false;
  to["issuer"] = from.facts.issuer;
  to["key"] = from.facts.key_kind;
  to["serial"] = from.facts.serial_hex;
  put_time(to, "not_before", from.facts.not_before);
  put_time(to, "not_after", from.facts.not_after);
  to["failures"] = 0;
  return to;
}

json::object secret(const store::MirrorStatus& from) {
  json::object to;
  to["name"] = from.secret.to_string();
  to["state"] = std::string(store::to_string(from.state));
  if (!from.reason.empty()) to["reason"] = from.reason;
  if (!from.owner.empty()) to["owner"] = from.owner;
  if (!from.serial.empty()) to["serial"] = from.serial;
  put_time(to, "written", from.written_at);
  if (from.lag)
    to["lag_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(*from.lag).count();
  put_time(to, "next_time", from.next_try);
  return to;
}

json::object gateway(const store::GatewayStatus& from) {
  json::object to;
  to["address"] = from.address;
  to["state"] = std::string(store::to_string(from.state));
  if (!from.server_name.empty()) to["server_name"] = from.server_name;
  if (!from.serial.empty()) to["serial"] = from.serial;
  if (!from.shown.empty()) to["shown_serial"] = from.shown;
  if (!from.reason.empty()) to["reason"] = from.reason;
  if (from.lag)
    to["lag_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(*from.lag).count();
  put_time(to, "next_time", from.next);
  return to;
}

json::object source(const store::SourceStatus& from) {
  json::object to;
  to["name"] = from.secret.to_string();
  to["state"] = std::string(store::to_string(from.state));
  if (!from.reason.empty()) to["reason"] = from.reason;
  put_time(to, "read", from.read_at);
  return to;
}

/// Certificates from Secrets, also those of which nothing was read yet.
void add_read_ones(const Gatehouse& gatehouse, json::array& to) {
  std::map<std::string, store::SourceStatus> by_certificate;
  if (gatehouse.kubernetes())
    for (auto& status : gatehouse.kubernetes()->sources())
      by_certificate[status.certificate] = std::move(status);
  const auto& read = gatehouse.secret_credentials();
  for (const store::SourceTarget& target : gatehouse.config().kubernetes.sources) {
    const auto credential = read.find(target.certificate);
    json::object entry;
    if (credential != read.end()) {
      entry = kept_elsewhere(*credential->second, "secret", gatehouse.now());
    } else {
      entry = {{"name", target.certificate},     {"kind", "secret"},
               {"names", strings(target.names)}, {"state", "none"},
               {"is_temporary", true},           {"failures", 0}};
    }
    auto& status = by_certificate[target.certificate];
    status.secret = target.secret;
    entry["source"] = source(status);
    to.emplace_back(std::move(entry));
  }
}

/// To each certificate the Secrets that it is mirrored into, and the gateway that is to serve it.
void add_secrets(const Gatehouse& gatehouse, json::array& to) {
  if (!gatehouse.kubernetes()) return;
  std::map<std::string, json::array> by_certificate;
  for (const auto& status : gatehouse.kubernetes()->secrets())
    by_certificate[status.certificate].emplace_back(secret(status));
  for (auto& entry : to) {
    const auto found = by_certificate.find(std::string(entry.at("name").as_string()));
    if (found != by_certificate.end()) entry.as_object()["secrets"] = std::move(found->second);
  }
  std::map<std::string, json::object> gateways;
  for (const auto& status : gatehouse.kubernetes()->gateways())
    gateways[status.certificate] = gateway(status);
  for (auto& entry : to) {
    const auto found = gateways.find(std::string(entry.at("name").as_string()));
    if (found != gateways.end()) entry.as_object()["gateway"] = std::move(found->second);
  }
}

json::array certificates(const Gatehouse& gatehouse) {
  json::array all;
  for (const auto& status : gatehouse.keeper().status()) all.emplace_back(managed(status));
  for (const auto& credential : gatehouse.file_credentials())
    all.emplace_back(kept_elsewhere(*credential, "file", gatehouse.now()));
  add_read_ones(gatehouse, all);
  add_secrets(gatehouse, all);
  return all;
}

json::array backends(const LoopFacts& loops) {
  std::vector<std::vector<proxy::BackendStatus>> by_loop;
  for (const auto& loop : loops) by_loop.push_back(loop.backends);
  json::array all;
  for (const proxy::BackendStatus& backend : proxy::sum_of(std::move(by_loop))) {
    json::array hosts;
    for (const proxy::HostStatus& host : backend.hosts) {
      json::object to;
      to["address"] = host.address;
      to["state"] = std::string(to_string(host.state));
      if (!host.reason.empty()) to["reason"] = host.reason;
      to["requests"] = host.requests;
      to["connections"] = host.connections;
      hosts.emplace_back(std::move(to));
    }
    json::object to;
    to["name"] = backend.name;
    to["usable"] = backend.usable;
    to["is_panicking"] = backend.is_panicking;
    to["hosts"] = std::move(hosts);
    all.emplace_back(std::move(to));
  }
  return all;
}

json::object cluster(const Cluster::View& from) {
  json::object to;
  to["node"] = from.node;
  to["holder"] = from.holder;
  to["since"] = from.since;
  if (from.seen_ago)
    to["seen_ago_s"] = std::chrono::duration_cast<std::chrono::seconds>(*from.seen_ago).count();
  to["is_holder"] = from.is_holder;
  to["may_issue"] = from.may_issue;
  to["sync"] = from.sync;
  to["certificates"] = from.certificates;
  to["unshared"] = from.unshared;
  to["error"] = from.error;
  return to;
}

/// By the certificate's own name first, then by a covered host.
net::CredentialPtr find(const Gatehouse& gatehouse, std::string_view name) {
  if (auto kept = gatehouse.keeper().find(name)) return kept;
  for (const auto& credential : gatehouse.file_credentials())
    if (credential->name == name) return credential;
  const auto& read = gatehouse.secret_credentials();
  if (const auto known = read.find(std::string(name)); known != read.end()) return known->second;
  const auto& table = gatehouse.proxy().certificates();
  if (table)
    if (auto served = table->find(name, gatehouse.now())) return served;
  // Covered, though no vhost has it.
  for (const auto& credential : gatehouse.file_credentials())
    if (credential->facts.covers(name)) return credential;
  for (const auto& [certificate, credential] : read)
    if (credential->facts.covers(name)) return credential;
  for (const auto& status : gatehouse.keeper().status())
    if (auto kept = gatehouse.keeper().find(status.name); kept && kept->facts.covers(name))
      return kept;
  return nullptr;
}

Error unknown(std::string_view name) {
  return Error{Fault::kNotFound, "no certificate \"" + std::string(name) + "\""};
}
}  // namespace

std::string status_json(const Gatehouse& gatehouse, const LoopFacts& loops) {
  json::object status;
  status["version"] = GATEHOUSE_VERSION;
  status["config"] = gatehouse.config().file;
  status["started"] = format_rfc3339(gatehouse.started());
  status["uptime_s"] =
      std::chrono::duration_cast<std::chrono::seconds>(gatehouse.now() - gatehouse.started())
          .count();
  status["is_draining"] = gatehouse.is_draining();
  json::array listeners;
  for (const auto& [address, is_tls] : gatehouse.proxy().listening())
    listeners.emplace_back(
        json::object{{"address", address}, {"protocol", is_tls ? "https" : "http"}});
  status["listeners"] = std::move(listeners);
  std::size_t connections = 0, requests = 0;
  json::array workers;
  for (const auto& loop : loops) {
    connections += loop.connections;
    requests += loop.requests;
    workers.emplace_back(
        json::object{{"connections", loop.connections}, {"requests", loop.requests}});
  }
  status["connections"] = connections;
  status["requests"] = requests;
  status["workers"] = std::move(workers);
  status["vhosts"] = gatehouse.config().proxy.vhosts.size();
  json::object store;
  store["path"] = gatehouse.database().path();
  if (const auto& recovery = gatehouse.database().recovery()) {
    store["damage"] = recovery->reason;
    store["set_aside"] = strings(recovery->set_aside);
    store["rows_salvaged"] = recovery->rows_salvaged;
  }
  status["store"] = std::move(store);
  if (const auto& reload = gatehouse.last_reload()) {
    json::object facts;
    facts["at"] = format_rfc3339(reload->at);
    facts["taken"] = reload->error.empty();
    if (!reload->error.empty()) facts["error"] = reload->error;
    status["last_reload"] = std::move(facts);
  }
  if (gatehouse.cluster()) status["cluster"] = cluster(gatehouse.cluster()->view());
  status["backends"] = backends(loops);
  status["certificates"] = certificates(gatehouse);
  return to_text(status) + "\n";
}

std::string certificates_json(const Gatehouse& gatehouse) {
  return to_text(certificates(gatehouse)) + "\n";
}

Result<std::string> certificate_pem(const Gatehouse& gatehouse, std::string_view name) {
  const net::CredentialPtr credential = find(gatehouse, name);
  if (!credential) return unknown(name);
  return credential->chain.to_pem();
}

Result<std::string> certificate_json(const Gatehouse& gatehouse, std::string_view name) {
  const net::CredentialPtr credential = find(gatehouse, name);
  const std::string_view wanted = credential ? std::string_view(credential->name) : name;
  for (auto& entry : certificates(gatehouse)) {
    json::object& facts = entry.as_object();
    if (std::string_view(facts["name"].as_string()) != wanted) continue;
    if (credential) {
      facts["fingerprint_sha256"] = credential->facts.fingerprint_sha256_hex;
      facts["signed_by"] = credential->facts.issuer;
      facts["chain"] = credential->chain.to_pem();
    }
    return to_text(facts) + "\n";
  }
  return unknown(name);
}

}  // namespace gatehouse::daemon
