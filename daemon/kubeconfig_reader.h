#pragma once
// A kubeconfig file to where the apiserver is and who we are: its current context, one cluster, one
// user. What kubectl knows and we do not is refused by name, since leaving it out would mean to be
// somebody else. Other keys are ignored, as kubectl does. No merging of several files.

#include <string>
#include <string_view>

#include "daemon/base/error.h"
#include "daemon/net/kubeconfig.h"

namespace gatehouse::daemon {

/// Files that it names are looked for beside it, and only named here. Errors begin with
/// "PATH:LINE:COLUMN: ".
Result<net::KubeAccess> read_kubeconfig(const std::string& path);
Result<net::KubeAccess> read_kubeconfig_text(std::string_view text, const std::string& path);

}  // namespace gatehouse::daemon
