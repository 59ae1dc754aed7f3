#pragma once
// What the daemon does with a Kubernetes apiserver, joined to the rest: certificates go to the
// mirror as they come, and come from there when our own disk was lost: no order for a mirrored name
// before its Secrets were read, or could not be for a minute. What the mirror has written is looked
// for at the gateway that is to serve it; certificates that others keep are read from their
// Secrets. Made when the configuration names Secrets, made anew when it names another apiserver.
// Start-up and readiness never wait for it.

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "acme/keeper.h"
#include "daemon/authorities.h"
#include "daemon/base/metrics.h"
#include "daemon/base/random.h"
#include "daemon/config.h"
#include "daemon/net/job_thread.h"
#include "daemon/net/loop.h"
#include "daemon/net/resolver.h"
#include "daemon/net/task_group.h"
#include "store/certificate_store.h"
#include "store/gateway_check.h"
#include "store/kube_client.h"
#include "store/kube_transport.h"
#include "store/secret_mirror.h"
#include "store/secret_source.h"

namespace gatehouse::daemon {

class Kubernetes {
 public:
  struct Parts {
    net::Loop& loop;
    Random& random;
    Metrics& metrics;
    net::Resolver& resolver;
    net::JobThread& jobs;  // not the store's: Secrets are parsed there
    store::CertificateStore& certificates;
    acme::Keeper& keeper;
    Authorities& authorities;
  };
  /// `on_read`: certificates from Secrets that are to be served from now on.
  Kubernetes(Parts parts, const net::KubeAccess& access, store::SecretSource::OnFound on_read);
  ~Kubernetes();

  /// At start and at each reload. `read`: what there is of the certificates from Secrets.
  void use(const Config& config, const store::SecretSource::Credentials& read);
  /// A certificate that is served from now on.
  void put(const net::CredentialPtr& credential);
  void start() {
    mirror_.start();
    source_.start();
  }
  /// Nothing runs any more when it returns.
  boost::asio::awaitable<void> stop();

  const net::KubeAccess& access() const { return access_; }
  store::KubeClient& client() { return client_; }
  std::vector<store::MirrorStatus> secrets() const { return mirror_.status(); }
  std::vector<store::GatewayStatus> gateways() const { return gateways_.status(); }
  std::vector<store::SourceStatus> sources() const { return source_.status(); }

 private:
  boost::asio::awaitable<void> put_with_issuer(net::CredentialPtr credential);

  const Parts parts_;
  const net::KubeAccess access_;
  store::HttpsKubeTransport transport_;
  store::KubeClient client_;
  store::GatewayCheck gateways_;
  store::SecretMirror mirror_;
  store::SecretSource source_;
  std::set<std::string> mirrored_;  // names of certificates
  net::TaskGroup tasks_;
};

/// Names of the certificates that have Secrets.
std::set<std::string> mirrored_names(const Config& config);
/// The access of the configuration; when nothing says where the apiserver is, a pod's, so that what
/// is wrong is seen in the state of each Secret.
net::KubeAccess kube_access_of(const Config& config);

}  // namespace gatehouse::daemon
