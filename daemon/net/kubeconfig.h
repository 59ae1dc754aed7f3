#pragma once
// Where a Kubernetes apiserver is, and who we are there, as a value: what a pod's service account
// says, or a kubeconfig file (read by daemon/kubeconfig_reader.h, since only the roof knows YAML).
// Files are named here, not read: tokens and certificates rotate, so store/kube_transport reads
// them again and again.

#include <string>
#include <string_view>

#include "daemon/base/error.h"

namespace gatehouse::net {

struct KubeAccess {
  std::string server;      // URL without a slash at its end; its path is a prefix of every request
  std::string name_space;  // the pod's or the context's; may be empty
  std::string ca_file, ca_pem;      // one of them, or neither: the system's roots
  std::string tls_server_name;      // verified instead of the URL's host, when not empty
  bool skips_verification = false;  // "insecure-skip-tls-verify"
  std::string token, token_file;    // the file wins
  std::string certificate_file,
      certificate_pem;  // ours, for the apiserver; one of them, or neither
  std::string key_file, key_pem;

  friend bool operator==(const KubeAccess&, const KubeAccess&) = default;
};

/// The service account of the pod that we run in: KUBERNETES_SERVICE_HOST and _PORT, and the files
/// in /var/run/secrets/kubernetes.io/serviceaccount (GATEHOUSE_SERVICE_ACCOUNT names another
/// directory). kNotFound: this is no pod.
Result<KubeAccess> service_account_access();

/// A small file that others replace under us (by rename), whole. Errors name it.
Result<std::string> read_small_file(const std::string& path);

}  // namespace gatehouse::net
