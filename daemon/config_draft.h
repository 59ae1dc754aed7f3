#pragma once
// The configuration while it is read: what the parts (config_*.cc) tell each other. Parts are read
// in the order of what refers to what: server, issuers, certificates, backends, vhosts. A thing
// with errors is registered all the same, so that references to it are not errors again.

#include <map>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/certificate_files.h"
#include "daemon/config.h"
#include "daemon/config_fields.h"

namespace gatehouse::daemon {

/// A host or a certificate's name, and where it stands.
struct PlacedName {
  std::string name;  // normal form
  Mark mark;
};

struct IssuerEntry {
  Mark mark;
  bool is_internal = false;
  bool is_letsencrypt = false;
  std::string profile;
  std::optional<Mark> challenges = {};  // where they were chosen
};

struct CertificateEntry {
  Mark mark;
  bool is_used = false;
  bool is_file = false;
  bool is_broken = false;                 // its names are not known
  std::unordered_set<std::string> names;  // that it covers; those of a file are in its credential
  net::CredentialPtr credential;          // of a file
  std::optional<std::size_t> source;      // in kubernetes.sources: it is read from a Secret
};

struct BackendEntry {
  Mark mark;
  std::size_t index = 0;  // in proxy.backends
  bool is_used = false;
  bool is_inline = false;  // a URL, not a key under `backends:`
};

struct ConfigDraft {
  ConfigDraft(Reader& with, Config& into, WallTime time, const Config* before)
      : reader(with), config(into), now(time), files(before) {}

  Reader& reader;
  Config& config;
  WallTime now;

  std::string email;
  std::unordered_map<std::string, IssuerEntry> issuers;
  std::vector<std::string> issuer_names;  // in the order of the file
  bool has_issuers = false;               // the file has `issuers:`, whether right or wrong
  std::vector<std::string> default_issuers;
  bool has_default_complaint = false;  // that there is none: said once
  /// What is needed while reading alone lies together, so that it leaves no holes in the heap
  /// between what stays for as long as the configuration is served.
  std::pmr::monotonic_buffer_resource room{256 * 1024};
  std::pmr::unordered_map<std::string, CertificateEntry> certificates{&room};
  std::unordered_map<std::string, BackendEntry> backends;
  std::unordered_map<std::string, Mark> hosts;                // of all vhosts
  std::unordered_map<std::string, int> good_regexes;          // and how many groups they have
  std::unordered_map<std::string, std::size_t> tls_policies;  // by name, index into proxy's
  std::unordered_set<std::string> client_files;               // of client certificates: seen
  CertificateFiles files;
  std::map<std::string, Mark> secrets;  // that certificates are mirrored into
  std::map<std::string, Mark> sources;  // that certificates are read from
};

/// The keys of a certificate that say where it is mirrored to.
struct MirrorFields {
  Field secrets, adopt, labels, annotations, verify;
};

// Each part takes its keys from the root.
void read_server(ConfigDraft& draft, Fields& root);
void read_listeners(ConfigDraft& draft, const Field& field);
void read_limits(ConfigDraft& draft, const Field& field);
void read_issuers(ConfigDraft& draft, Fields& root);
void read_certificates(ConfigDraft& draft, const Field& field);
void read_backends(ConfigDraft& draft, const Field& field);
void read_vhosts(ConfigDraft& draft, Fields& root);
void read_kubernetes(ConfigDraft& draft, const Field& field);
void read_cluster(ConfigDraft& draft, const Field& field);
void read_tracing(ConfigDraft& draft, const Field& field);

// Parts of parts.
void read_email(Reader& reader, const Field& field, std::string& into);
void read_routes(ConfigDraft& draft, const Field& field, std::string_view vhost,
                 std::vector<proxy::Route>& into);

/// A file of PEM, which is to be watched from then on. False: there is none, or it was complained
/// of.
bool read_pem_file(ConfigDraft& draft, const Field& field, std::string& path,
                   std::shared_ptr<const std::string>& pem);
/// The `tls` of a vhost, whose `http` and routes have been read before.
void read_vhost_tls(ConfigDraft& draft, const Field& field, proxy::Vhost& vhost);

/// A name in normal form from a list of names, "*" when allowed. Complains about any other.
std::optional<PlacedName> read_host(Reader& reader, const Field& field, bool may_be_any);

/// A name under `issuers:`, or "internal". Complains about any other.
std::optional<std::string> read_issuer(ConfigDraft& draft, const Field& field);
/// Who issues for these names: `chosen`, or by the rules of DESIGN.md. Complains when nobody can.
std::vector<std::string> issuers_for(ConfigDraft& draft, const std::vector<PlacedName>& names,
                                     const std::optional<std::string>& chosen);

/// A name from `backends:` or a URL, as index into proxy.backends. Complains about any other.
std::optional<std::size_t> read_backend_reference(ConfigDraft& draft, const Field& field);

/// "namespace/name". Complains about anything else.
std::optional<store::SecretName> read_secret_name(Reader& reader, const Field& field);
/// The Secrets of one certificate.
void read_mirror(ConfigDraft& draft, const MirrorFields& fields, const std::string& certificate,
                 const std::unordered_set<std::string>& names);
/// The Secret that a certificate is read from.
void read_source(ConfigDraft& draft, const Field& field, const std::string& certificate,
                 CertificateEntry& entry);

/// When requests of a route are sent again.
void read_retries(Reader& reader, const Field& field, std::optional<proxy::Retries>& into);

/// Networks, such as 10.0.0.0/8.
void read_networks(Reader& reader, const Field& field, std::vector<net::Network>& into);

}  // namespace gatehouse::daemon
