#pragma once
// The apiserver as we use it: Secrets are read, applied (server-side, never by PUT) and listed;
// anything else, Leases above all, is read and put as JSON text. Each call is one awaited answer;
// how it failed says KubeError (kube_objects.h). Owned by the roof, used on the control loop only.
//
// Repeats by itself, as client-go does: what the server answers with Retry-After (429 or 5xx),
// after that time, ten times at most; a 401 once, with a token that is read again; an idempotent
// request on a connection that turned out to be closed. Everything else is the caller's to repeat.
// At most eight requests are on their way at once, so that the server is not flooded by us.

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <list>
#include <string>
#include <string_view>

#include "daemon/base/random.h"
#include "daemon/net/loop.h"
#include "store/kube_objects.h"
#include "store/kube_transport.h"

namespace boost::asio {
class io_context;
}

namespace gatehouse::store {

/// Which Secrets of a namespace: one by name (roles by resourceNames allow that), or by labels
/// ("app.kubernetes.io/managed-by=gatehouse,gatehouse/shared=true"); neither: all.
struct SecretQuery {
  std::string name_space;
  std::string name;
  std::string label_selector;

  std::string to_string() const;
};

enum class Force : std::uint8_t { kNo, kTakeOwnership };

class KubeClient {
 public:
  static constexpr int kWaitsMax = 10;  // for a Retry-After

  KubeClient(net::Loop& loop, KubeTransport& transport);
  ~KubeClient();
  KubeClient(const KubeClient&) = delete;
  KubeClient& operator=(const KubeClient&) = delete;

  // Secrets.
  boost::asio::awaitable<KubeResult<Secret>> get_secret(SecretName name);
  /// Server-side apply: creates it, or makes it what is `wanted`, as the field manager "gatehouse".
  /// With the resource_version and uid of what was read, it changes nothing that was changed or
  /// made anew meanwhile (kConflict without owners, or kInvalid when it is gone). What it gives is
  /// what the server has now; the resource_version is the old one when nothing was different.
  boost::asio::awaitable<KubeResult<Secret>> apply_secret(Secret wanted, Force force = Force::kNo);
  /// All of them, page by page, with the resource_version to watch from.
  boost::asio::awaitable<KubeResult<SecretList>> list_secrets(SecretQuery query);
  /// Events from there on, each given to `on_event` (false: enough), until the server ends the
  /// watch after about `timeout`. Prefer SecretWatch (kube_watch.h), which goes on.
  boost::asio::awaitable<KubeResult<void>> watch_secrets(SecretQuery query,
                                                         std::string resource_version,
                                                         std::chrono::seconds timeout,
                                                         std::function<bool(WatchEvent)> on_event);

  // Any object, by path: "/apis/coordination.k8s.io/v1/namespaces/NS/leases/NAME".
  /// `waits`: how often a Retry-After is waited for. The answer is the object as JSON text.
  boost::asio::awaitable<KubeResult<std::string>> get(std::string path, int waits = kWaitsMax);
  boost::asio::awaitable<KubeResult<std::string>> put(std::string path, std::string json,
                                                      int waits = kWaitsMax);

 private:
  struct Room;
  boost::asio::awaitable<KubeResult<std::string>> call(net::HttpRequest request, int waits);
  boost::asio::awaitable<KubeResult<std::string>> call_once(net::HttpRequest request);
  boost::asio::awaitable<bool> enter();
  void leave();

  net::Loop& loop_;
  KubeTransport& transport_;
  int on_their_way_ = 0;
  std::list<Room*> waiting_;
};

/// How long to wait after that many failures in a row, as client-go does: 0.8 s, doubled up to 30
/// s, and up to as much again by chance; never less than the server has asked for.
Duration kube_backoff(std::uint64_t failures, const KubeError& last, Random& random);

/// For paths and queries: everything but letters, digits and "-._~" becomes %XX.
std::string percent_encoded(std::string_view text);

}  // namespace gatehouse::store
