// Gatehouse's part in a cluster of nodes.

#include "daemon/base/log.h"
#include "daemon/gatehouse.h"

namespace gatehouse::daemon {

/// Asks nobody: the apiserver may be away, and the daemon serves all the same.
Result<void> Gatehouse::join_cluster() {
  if (!config_->kubernetes.cluster) return {};
  net::KubeAccess access = kube_access_of(*config_);
  store::ClusterNames names = *config_->kubernetes.cluster;
  if (names.name_space.empty()) names.name_space = access.name_space;
  if (names.name_space.empty())
    return Error{Fault::kInvalid,
                 "kubernetes.cluster: nothing tells the namespace; set it, or the one of the "
                 "kubeconfig's context"};
  cluster_ = std::make_unique<Cluster>(Cluster::Parts{loop_, random_, metrics_, *account_store_},
                                       std::move(access), std::move(names));
  return {};
}

}  // namespace gatehouse::daemon
