#pragma once
// The whole configuration: the options of every room in one struct, checked and with every name
// resolved. Made by read_config() (config_reader.h); a reload makes a new one.

#include <string>
#include <vector>

#include "acme/options.h"
#include "daemon/base/log.h"
#include "daemon/net/address.h"
#include "daemon/net/certificate.h"
#include "proxy/options.h"
#include "proxy/routing/certificate_table.h"
#include "store/options.h"

namespace gatehouse::daemon {

struct AdminOptions {
  net::ListenAddress listen;                           // never a unix socket
  std::string socket = "/run/gatehouse/control.sock";  // what the commands talk to
};

/// A certificate that the operator keeps in files. Key and chain belong together.
struct FileCertificate {
  std::string name;  // the key under `certificates:`
  std::string certificate_file, key_file;
  net::CredentialPtr credential;  // as it was when the configuration was read
};

struct Config {
  std::string file;  // that it was read from
  proxy::Options proxy;
  acme::Options acme;  // only CAs that are in the file or that some certificate needs
  store::Options store;
  AdminOptions admin;
  Level log_level = Level::kInfo;
  std::vector<FileCertificate> file_certificates;
  /// Which certificate serves a host, for every host of every vhost that has one. Names are those
  /// of acme.certificates and file_certificates.
  std::vector<proxy::HostCertificate> host_certificates;
};

}  // namespace gatehouse::daemon
