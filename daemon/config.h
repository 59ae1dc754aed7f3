#pragma once
// The whole configuration: the options of every room in one struct, checked and with every name
// resolved. Made by read_config() (config_reader.h); a reload makes a new one.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "acme/options.h"
#include "daemon/base/log.h"
#include "daemon/file_stamp.h"
#include "daemon/net/address.h"
#include "daemon/net/certificate.h"
#include "daemon/net/kubeconfig.h"
#include "proxy/options.h"
#include "proxy/routing/certificate_table.h"
#include "store/options.h"
#include "store/shared_state.h"

namespace gatehouse::daemon {

struct AdminOptions {
  net::ListenAddress listen;                           // never a unix socket
  std::string socket = "/run/gatehouse/control.sock";  // what the commands talk to
};

/// A certificate that the operator keeps in files. Key and chain belong together.
struct FileCertificate {
  std::string name;  // the key under `certificates:`
  std::string certificate_file, key_file;
  FileStamp certificate_stamp, key_stamp;  // of the files when they were read
  net::CredentialPtr credential;           // what was in them then
};

/// What is mirrored into Secrets or read from them, which cluster of nodes we are of, and who we
/// are to do that.
struct KubernetesOptions {
  std::optional<net::KubeAccess> access;  // nothing: it is not needed, or nobody knows (warned)
  std::vector<store::MirrorTarget> mirrors;
  std::vector<store::GatewayTarget> gateways;  // that are to serve what is mirrored
  std::vector<store::SourceTarget> sources;
  /// Nodes that share certificates. An empty namespace is that of the access.
  std::optional<store::ClusterNames> cluster;

  /// Secrets of certificates are named.
  bool has_secrets() const { return !mirrors.empty() || !sources.empty(); }
};

struct Config {
  std::string file;                           // that it was read from
  std::optional<std::string> volume_version;  // where it then stood (file_watch.h)
  proxy::Options proxy;
  acme::Options acme;  // only CAs that are in the file or that some certificate needs
  store::Options store;
  AdminOptions admin;
  KubernetesOptions kubernetes;
  Level log_level = Level::kInfo;
  std::vector<FileCertificate> file_certificates;
  /// The other files of TLS, which are in `proxy` (tls_files.h), as they were when they were read.
  std::map<std::string, FileStamp> tls_files;
  /// Which certificate serves a host, for every host of every vhost that has one. Names are those
  /// of acme.certificates, file_certificates and kubernetes.sources.
  std::vector<proxy::HostCertificate> host_certificates;
};

}  // namespace gatehouse::daemon
