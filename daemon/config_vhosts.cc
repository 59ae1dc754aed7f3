// Vhosts: their hosts, their certificates, and what they do on the plain port.

#include <algorithm>
#include <utility>

#include "daemon/config_draft.h"
#include "daemon/config_hosts.h"

namespace gatehouse::daemon {

namespace {

/// `host:` or `hosts:`, each host once in the whole file.
std::vector<PlacedName> read_hosts(ConfigDraft& draft, Fields& fields) {
  Reader& reader = draft.reader;
  const Field one = fields.find("host"), many = fields.find("hosts");
  std::vector<PlacedName> hosts;
  if (one && many) {
    reader.error(one.key_mark, "\"host\" and \"hosts\" together", "put all of them under hosts");
  } else if (!one && !many) {
    fields.need("host", "host: www.mydomain.com");
  }
  std::vector<Field> given = reader.items(many);
  if (one) given.insert(given.begin(), one);
  for (const Field& field : given) {
    auto host = read_host(reader, field, /*may_be_any=*/true);
    if (!host) continue;
    const auto [first, is_new] = draft.hosts.try_emplace(host->name, host->mark);
    if (is_new) {
      hosts.push_back(std::move(*host));
    } else if (!(first->second == host->mark)) {
      reader.error(host->mark, "host " + in_quotes(host->name) + " is here twice, first on line " +
                                   std::to_string(first->second.line));
    } else {
      reader.error(host->mark, "host " + in_quotes(host->name) + " is in two vhosts by an alias");
    }
  }
  if (many && many.value.is_sequence() && many.value.size() == 0)
    reader.error(many.mark(), "\"hosts\" needs at least one host");
  return hosts;
}

void complain_of_uncovered(ConfigDraft& draft, const std::string& name,
                           const CertificateEntry& certificate,
                           const std::vector<PlacedName>& hosts) {
  for (const PlacedName& host : hosts) {
    const bool is_served = certificate.credential ? certificate.credential->facts.covers(host.name)
                                                  : is_covered(certificate.names, host.name);
    if (host.name == "*" || is_served) continue;
    std::string message =
        "certificate " + in_quotes(name) + " does not cover " + in_quotes(host.name);
    // Names of file certificates only warn (DESIGN.md "Names of certificates").
    if (certificate.is_file)
      draft.reader.findings().warn(host.mark, std::move(message), "visitors will see an error");
    else
      draft.reader.error(host.mark, std::move(message),
                         "add it to the names on line " + std::to_string(certificate.mark.line));
  }
}

void use_named_certificate(ConfigDraft& draft, const Field& field,
                           const std::vector<PlacedName>& hosts) {
  const auto given = draft.reader.scalar(field, "the name of a certificate");
  if (!given) return;
  const std::string name(*given);
  const auto known = draft.certificates.find(name);
  if (known == draft.certificates.end()) {
    std::vector<std::string> names;
    if (draft.reader.findings().wants_guesses())
      for (const auto& [candidate, entry] : draft.certificates) names.push_back(candidate);
    std::sort(names.begin(), names.end());
    draft.reader.error(field.mark(), "there is no certificate " + in_quotes(name),
                       draft.reader.did_you_mean(name, names,
                                                 "declare it under certificates, or leave the line "
                                                 "out: the vhost then gets its own"));
    return;
  }
  known->second.is_used = true;
  if (!known->second.is_broken) complain_of_uncovered(draft, name, known->second, hosts);
  for (const PlacedName& host : hosts) {
    draft.config.host_certificates.push_back({host.name, name});
    if (known->second.source && host.name != "*")
      draft.config.kubernetes.sources[*known->second.source].names.push_back(host.name);
  }
}

/// A certificate of its own for these hosts, named after the first.
void add_own_certificate(ConfigDraft& draft, const std::vector<PlacedName>& hosts,
                         const std::optional<std::string>& issuer) {
  if (hosts.empty()) return;
  acme::ManagedCertificate certificate;
  certificate.name = hosts.front().name;
  const auto clash = draft.certificates.find(certificate.name);
  if (clash != draft.certificates.end()) {
    clash->second.is_used = true;
    draft.reader.error(hosts.front().mark,
                       "the certificate of this vhost would have the name of the one on line " +
                           std::to_string(clash->second.mark.line),
                       "add certificate: " + certificate.name + " here, or rename that one");
    return;
  }
  for (const PlacedName& host : hosts) {
    certificate.names.push_back(host.name);
    draft.config.host_certificates.push_back({host.name, certificate.name});
  }
  certificate.issuers = issuers_for(draft, hosts, issuer);
  draft.config.acme.certificates.push_back(std::move(certificate));
}

/// DESIGN.md "Issuers": local names and public ones have different CAs, so a vhost with both has a
/// certificate for each.
void use_own_certificates(ConfigDraft& draft, const std::vector<PlacedName>& hosts,
                          const std::optional<std::string>& issuer, Mark mark) {
  std::vector<PlacedName> local, others;
  const PlacedName* any = nullptr;
  for (const PlacedName& host : hosts) {
    if (host.name == "*")
      any = &host;
    else
      (is_local(host.name) && !issuer ? local : others).push_back(host);
  }
  add_own_certificate(draft, others, issuer);
  add_own_certificate(draft, local, issuer);
  if (any == nullptr) return;
  const std::vector<PlacedName>& named = others.empty() ? local : others;
  if (!named.empty()) {
    draft.config.host_certificates.push_back({"*", named.front().name});
  } else if (!draft.config.proxy.https.empty()) {
    draft.reader.findings().warn(
        any->mark.line > 0 ? any->mark : mark,
        "host \"*\" has no certificate: on the TLS port only names of others reach it",
        "add certificate: NAME of one under certificates");
  }
}

/// `allow` or `deny`. An empty list would say the opposite of what it looks like.
void read_client_networks(Reader& reader, const Field& field, std::vector<net::Network>& into,
                          std::string hint) {
  read_networks(reader, field, into);
  if (field && field.value.is_sequence() && field.value.size() == 0)
    reader.error(field.mark(), in_quotes(field.key) + " needs at least one network",
                 std::move(hint));
}

void read_vhost(ConfigDraft& draft, const Field& field) {
  static constexpr Choice<proxy::PlainPolicy> kPolicies[] = {
      {"redirect", proxy::PlainPolicy::kRedirect},
      {"serve", proxy::PlainPolicy::kServe},
      {"refuse", proxy::PlainPolicy::kRefuse}};
  Reader& reader = draft.reader;
  if (!field.value.is_mapping()) {
    reader.error(field.mark(), "a vhost is a mapping with a host and a backend",
                 "host: www.mydomain.com");
    return;
  }
  // The first host is its name in messages, whatever is wrong with it.
  std::string_view title;
  for (std::size_t i = 0; i < field.value.size() && title.empty(); ++i) {
    const YamlNode value = field.value.value(i);
    const bool is_host = field.value.key(i).text() == "host" && value.is_scalar();
    const bool is_hosts = field.value.key(i).text() == "hosts" && value.is_sequence() &&
                          value.size() > 0 && value.item(0).is_scalar();
    if (is_host) title = value.text();
    if (is_hosts) title = value.item(0).text();
  }
  Fields fields(reader, field.value, {"vhost", title});
  proxy::Vhost vhost;
  const std::vector<PlacedName> hosts = read_hosts(draft, fields);
  for (const PlacedName& host : hosts) vhost.hosts.push_back(host.name);

  const Field certificate = fields.find("certificate"), issuer = fields.find("issuer");
  const auto chosen = read_issuer(draft, issuer);
  if (certificate) {
    if (issuer)
      reader.error(issuer.key_mark, "\"issuer\" has no effect beside \"certificate\"",
                   "put it at the certificate");
    use_named_certificate(draft, certificate, hosts);
  } else if (!issuer || chosen) {
    use_own_certificates(draft, hosts, chosen, field.mark());
  }

  reader.choice<proxy::PlainPolicy>(fields.find("http"), vhost.http, kPolicies);
  read_client_networks(reader, fields.find("allow"), vhost.allow,
                       "without the key all are allowed; deny: [0.0.0.0/0, \"::/0\"] denies all");
  read_client_networks(reader, fields.find("deny"), vhost.deny, "without the key none is denied");
  const Field backend = fields.find("backend"), routes = fields.find("routes");
  const std::string name = hosts.empty() ? "vhost" : hosts.front().name;
  if (backend && routes) {
    reader.error(backend.key_mark, "\"backend\" and \"routes\" together",
                 "put the backend into a last route without match");
  } else if (!backend && !routes) {
    fields.need("backend", "backend: http://127.0.0.1:8080, or routes");
  }
  if (const auto index = read_backend_reference(draft, backend)) {
    proxy::Route route;
    route.name = name + "/0";
    route.split.push_back({*index, 1});
    vhost.routes.push_back(std::move(route));
  }
  read_routes(draft, routes, name, vhost.routes);
  read_vhost_tls(draft, fields.find("tls"), vhost);
  fields.finish();
  draft.config.proxy.vhosts.push_back(std::move(vhost));
}

}  // namespace

void read_vhosts(ConfigDraft& draft, Fields& root) {
  const Field field = root.need("vhosts",
                                "vhosts: [{host: www.mydomain.com, backend: "
                                "\"http://127.0.0.1:8080\"}]");
  if (field && field.value.is_sequence() && field.value.size() == 0)
    draft.reader.error(field.mark(), "\"vhosts\" is empty: there is nothing to serve",
                       "vhosts: [{host: www.mydomain.com, backend: \"http://127.0.0.1:8080\"}]");
  draft.hosts.reserve(field ? field.value.size() : 0);
  for (const Field& vhost : draft.reader.items(field)) read_vhost(draft, vhost);
}

}  // namespace gatehouse::daemon
