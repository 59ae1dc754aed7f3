#include "store/kube_watch.h"

#include <algorithm>
#include <utility>

#include "daemon/base/log.h"
#include "daemon/base/text.h"
#include "daemon/net/task_group.h"

namespace gatehouse::store {

using boost::asio::awaitable;

namespace {

// client-go's reflector: five to ten minutes, so that a fleet does not come back in step.
constexpr std::chrono::seconds kTimeoutLeast{300};
constexpr std::uint64_t kTimeoutSpread = 300;
constexpr Duration kDeniedPause = 1min;
constexpr Duration kFirstDeniedPause = 5s;
constexpr Duration kProven = 35s;   // A connection that nobody takes has failed by then.
constexpr Duration kShortest = 1s;  // A watch that ends sooner is not begun again at once.

}  // namespace

std::string_view to_string(SecretWatch::State state) {
  switch (state) {
    case SecretWatch::State::kStarting: return "starting";
    case SecretWatch::State::kSynced: return "synced";
    case SecretWatch::State::kStale: return "stale";
    case SecretWatch::State::kDenied: return "denied";
  }
  return "";
}

SecretWatch::SecretWatch(Parts parts, SecretQuery query, Handler handler)
    : parts_(parts), query_(std::move(query)), handler_(std::move(handler)) {}

awaitable<void> SecretWatch::run() {
  for (;;) {
    KubeResult<void> done;
    if (version_.empty())
      done = co_await list();
    else
      done = co_await watch();
    if (done) continue;
    const KubeError failed = std::move(done).error();
    if (failed.error.fault == Fault::kCancelled) co_return;
    note(failed);
    const Duration pause = pause_after(failed);
    const bool goes_on = co_await net::sleep_for(parts_.loop, pause);
    if (!goes_on) co_return;
  }
}

/// Where nothing changes, a watch that was taken up again says nothing for minutes: that it lasts
/// is what proves that it works.
SecretWatch::State SecretWatch::state() const {
  const bool is_proven = state_ == State::kStale && watching_since_ &&
                         parts_.loop.clock().steady_now() - *watching_since_ >= kProven;
  return is_proven ? State::kSynced : state_;
}

awaitable<KubeResult<void>> SecretWatch::list() {
  SecretQuery query = query_;
  auto listed = co_await parts_.client.list_secrets(std::move(query));
  if (!listed) co_return std::move(listed).error();
  if (listed->resource_version.empty()) {
    KubeError odd;
    odd.error = {Fault::kProtocol, "a list without a resourceVersion"};
    co_return odd;
  }
  version_ = std::move(listed->resource_version);
  if (state_ != State::kSynced)
    log(Level::kInfo, "kubernetes.watching")
        .with("secrets", query_.to_string())
        .with("found", listed->secrets.size());
  state_ = State::kSynced;
  last_error_ = {};
  handler_.on_list(std::move(listed->secrets));
  co_return KubeResult<void>();
}

awaitable<KubeResult<void>> SecretWatch::watch() {
  const std::chrono::seconds timeout =
      kTimeoutLeast + std::chrono::seconds(parts_.random.below(kTimeoutSpread));
  const SteadyTime begun = parts_.loop.clock().steady_now();
  const std::uint64_t events_before = events_;
  SecretQuery query = query_;
  std::string version = version_;
  std::function<bool(WatchEvent)> on_event = [this](WatchEvent event) {
    return take(std::move(event));
  };
  watching_since_ = begun;
  auto ended = co_await parts_.client.watch_secrets(std::move(query), std::move(version), timeout,
                                                    std::move(on_event));
  watching_since_.reset();
  const Duration lasted = parts_.loop.clock().steady_now() - begun;
  const bool is_quiet = events_ == events_before;
  if (!ended) {
    // Only what went on after the list proves that watching works.
    if (!is_quiet || lasted > 2min) failures_ = 0;
    if (ended.error().is_expired || ended.error().status >= 400) version_.clear();
    co_return std::move(ended).error();
  }
  failures_ = 0;
  // Neither an event nor a bookmark in all that time: the server may not know our version, which is
  // of a future that a restored etcd has not seen.
  if (is_quiet && lasted >= timeout) version_.clear();
  if (lasted < kShortest) {
    const bool goes_on = co_await net::sleep_for(parts_.loop, kShortest);
    if (!goes_on) {
      KubeError cancelled;
      cancelled.error = {Fault::kCancelled, "cancelled"};
      co_return cancelled;
    }
  }
  co_return KubeResult<void>();
}

bool SecretWatch::take(WatchEvent event) {
  ++events_;
  if (!event.secret.resource_version.empty()) version_ = event.secret.resource_version;
  if (state_ != State::kSynced) {
    state_ = State::kSynced;
    last_error_ = {};
  }
  switch (event.kind) {
    case WatchEvent::Kind::kAdded:
    case WatchEvent::Kind::kModified: handler_.on_change(std::move(event.secret)); break;
    case WatchEvent::Kind::kDeleted: handler_.on_delete(std::move(event.secret.at)); break;
    default: break;
  }
  return true;
}

void SecretWatch::note(const KubeError& failed) {
  ++failures_;
  last_error_ = failed.error;
  if (failed.is_expired) {  // Part of a watch's life.
    log(Level::kDebug, "kubernetes.watch_expired").with("secrets", query_.to_string());
    return;
  }
  const bool is_denied = failed.status == 403 || failed.status == 400 || failed.status == 422;
  denials_ = is_denied ? denials_ + 1 : 0;
  const State now = is_denied ? State::kDenied : State::kStale;
  const bool is_news = std::exchange(state_, now) != now;
  log(is_news ? is_denied ? Level::kError : Level::kWarn : Level::kDebug, "kubernetes.watch_failed")
      .with("secrets", query_.to_string())
      .with("reason", failed.error.message);
}

Duration SecretWatch::pause_after(const KubeError& failed) {
  if (failed.is_expired && failures_ == 1) return Duration{};
  const Duration pause = kube_backoff(failures_, failed, parts_.random);
  if (state_ != State::kDenied) return pause;
  // An apiserver that has just started denies everything, until it has read the roles.
  return std::max(pause, denials_ == 1 ? kFirstDeniedPause : kDeniedPause);
}

}  // namespace gatehouse::store
