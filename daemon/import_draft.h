#pragma once
// What an import has found so far: the parts (import_*.cc) tell each other through it. They run in
// the order of what refers to what: Services and Secrets, issuers, certificates, Gateways, then
// Ingresses and HTTPRoutes in the order of the input; import_writer.cc makes a configuration of it.

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "daemon/import.h"
#include "daemon/import_manifest.h"

namespace gatehouse::daemon {

/// An Issuer or ClusterIssuer. One that cannot be translated is kept, for those that refer to it.
struct ImportedIssuer {
  const Manifest* from = nullptr;
  std::string key;  // under `issuers:`
  std::string directory, email, profile;
  std::string ca_file;                // beside the result; empty: none
  std::string key_id, hmac_key_file;  // of an external account; empty: none
  bool is_internal = false;
  bool can_issue = false;
  std::vector<std::string> notes;  // comments in the result
};

struct ImportedCertificate {
  std::string key;       // under `certificates:`
  std::string origin;    // for a comment
  std::string secret;    // namespace/name that it is in
  bool is_read = false;  // from the Secret, which somebody else fills; else issued, and mirrored
  std::vector<std::string> names;
  std::string issuer;    // a key
  std::string key_type;  // empty: the default
  std::vector<std::pair<std::string, std::string>> labels, annotations;
  std::vector<std::string> notes;
  bool covers(const std::string& host) const;
};

struct ImportedBackend {
  std::string key;  // under `backends:`
  std::string origin;
  std::string endpoint;
  bool is_http2 = false;
  std::vector<std::string> notes;
};

struct ImportedRoute {
  enum class Path { kAny, kPrefix, kExact, kRegex };
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  struct Edits {
    Pairs set, add;
    std::vector<std::string> remove;
    bool empty() const { return set.empty() && add.empty() && remove.empty(); }
  };

  Path path = Path::kAny;
  std::string path_text;
  std::string method;
  Pairs headers, query;

  // The action: backends, a redirect, or an answer.
  std::vector<std::pair<std::string, std::uint64_t>> backends;  // key and weight
  std::string redirect_to;
  int redirect_status = 0;
  int respond_status = 0;
  std::string respond_body;

  std::string rewrite_path, rewrite_host, timeout;
  Edits request_headers, response_headers;

  Item source;             // what the report says of it when another route takes its place
  std::size_t length = 0;  // of the path as it was matched in the cluster
  bool is_plain = false;   // from an object without TLS

  /// Exact before prefix, then the longer path, then the more conditions; the order of the input
  /// decides the rest.
  auto rank() const {
    return std::tuple(path != Path::kExact, ~length, path == Path::kRegex, method.empty(),
                      ~headers.size(), ~query.size());
  }
  bool matches_all() const {
    return path == Path::kAny && method.empty() && headers.empty() && query.empty();
  }
  std::string match_text() const;   // equal for those that match the same
  std::string action_text() const;  // equal for those that do the same
};

struct ImportedHost {
  std::string host;
  Item where;  // that names it; none for "*"
  std::vector<std::string> origins;
  std::vector<ImportedRoute> routes;
  std::string certificate;  // a key; empty: one of its own
  std::string issuer;       // a key, for one of its own
  bool has_tls = false;     // an object with TLS has it
  bool is_plain = false;    // an object without
  bool wants_redirect = false;
  bool refuses_plain = false;
  std::vector<std::string> notes;
};

/// A port of a Service, as a backend refers to it.
struct BackendReference {
  std::string name_space, service;
  Item port;              // number or name
  bool is_named = false;  // by the field's meaning, not by its look
};

/// A Gateway's listener.
struct ImportedListener {
  std::string name, hostname, port;
  bool is_tls = false;
  bool is_usable = false;
  std::string certificate;  // a key; empty: none is named
};

struct ImportDraft {
  explicit ImportDraft(const ImportOptions& given) : options(given) {}

  const ImportOptions& options;
  std::vector<std::unique_ptr<Manifest>> manifests;
  std::map<std::string, Manifest*> services;      // by namespace/name
  std::multimap<std::string, Manifest*> secrets;  // by name
  std::vector<ImportedIssuer> issuers;
  std::vector<ImportedCertificate> certificates;
  std::vector<ImportedBackend> backends;
  std::vector<ImportedHost> hosts;
  std::map<std::string, std::vector<ImportedListener>> gateways;  // by namespace/name
  std::vector<ImportedFile> files;
  std::vector<ImportedAccount> accounts;

  ImportedHost& host(const std::string& name);
  /// A key that no other has, made from `wanted`, or else `fallback`.
  template <class List>
  static std::string free_key(const List& list, std::string wanted, std::string fallback) {
    const auto is_taken = [&](const std::string& key) {
      for (const auto& entry : list)
        if (entry.key == key) return true;
      return false;
    };
    if (!is_taken(wanted)) return wanted;
    std::string key = fallback;
    for (int i = 2; is_taken(key); ++i) key = fallback + "-" + std::to_string(i);
    return key;
  }
};

inline constexpr std::string_view kInProcess =
    "challenges are answered in-process: no solver, Service or Ingress is needed";

// ---- the parts ----

void import_issuer(ImportDraft& draft, Manifest& manifest);
/// By kind and name; nullptr: there is none.
const ImportedIssuer* find_issuer(const ImportDraft& draft, std::string_view kind,
                                  std::string_view name_space, std::string_view name);

// What an issuer of ACME has outside its manifest (import_accounts.cc): roots, and keys in Secrets.
// Each takes the issuer with its key, directory and email, and an item that may be none.
void import_ca_bundle(ImportDraft& draft, const Item& bundle, ImportedIssuer& issuer);
void import_external_account(ImportDraft& draft, const Item& account, ImportedIssuer& issuer);
void import_account_key(ImportDraft& draft, const Item& reference, const ImportedIssuer& issuer);
/// Nothing of a Secret is needed, until an issuer refers to it.
void import_secret(Manifest& manifest);

void import_certificate(ImportDraft& draft, Manifest& manifest);
/// The certificate in a Secret: one that is known, or else a new one. By issuer-annotations of
/// `owner` it is issued, for these names; without them it is read.
std::string certificate_in_secret(ImportDraft& draft, Manifest& owner, const Item& secret_name,
                                  const std::string& name_space,
                                  const std::vector<std::string>& names);
/// The issuer that annotations of cert-manager's ingress-shim name, and a word on each of them.
const ImportedIssuer* annotated_issuer(ImportDraft& draft, Manifest& owner, bool has_tls);
/// A name for a certificate or a vhost in normal form. Else a word on the field, and nullopt.
std::optional<std::string> import_host(const Item& item);

/// All of a Service is not needed, until a backend refers to it.
void import_service(Manifest& manifest);
/// The key of the backend; nullopt: the port is refused, with the reason.
std::optional<std::string> import_backend(ImportDraft& draft, const BackendReference& reference);

void import_ingress(ImportDraft& draft, Manifest& manifest);
void import_gateway(ImportDraft& draft, Manifest& manifest);
void import_http_route(ImportDraft& draft, Manifest& manifest);
/// `filters` of a rule. False: requests must not pass without one that is refused.
bool import_filters(const Item& filters, ImportedRoute& route, const ImportedHost& host);

/// An answer in place of a backend that is not to be had, so that no other route gets its requests.
void answer_instead(ImportedRoute& route, int status, std::string_view why);
/// A regex that matches this text.
std::string regex_of(std::string_view text);
/// Sorts, and takes out what no request would reach.
void arrange_routes(ImportedHost& host);
/// What can be decided only when all is known: routes in order, a certificate for each host.
void settle_hosts(ImportDraft& draft);

/// The configuration; empty when there is nothing to serve.
std::string write_config(const ImportDraft& draft);
void write_route(const ImportedRoute& route, std::string& out);
/// As a YAML scalar, in quotes where it needs them.
std::string yaml_text(std::string_view text);
std::string yaml_mapping(const ImportedRoute::Pairs& pairs);

}  // namespace gatehouse::daemon
