#include "store/secret_mirror.h"

#include <algorithm>
#include <utility>

#include "daemon/base/backoff.h"
#include "daemon/base/log.h"
#include "daemon/base/text.h"

namespace gatehouse::store {

using boost::asio::awaitable;
using State = MirrorStatus::State;
using Action = MirrorDecision::Action;

namespace {

constexpr std::size_t kWatchesMax = 16;  // each has a connection
constexpr Duration kPeriod = 1min;       // and a second for each Secret, when they are many
constexpr Duration kPatience = 1min;     // for the first look at all Secrets
constexpr Duration kForPeople = 1min;    // until what a person must set right is tried again
constexpr int kTriesAtOnce = 4;          // when others write at the same time

Labels labels_of(const SecretName& name) { return {{"secret", name.to_string()}}; }

}  // namespace

std::string_view to_string(State state) {
  switch (state) {
    case State::kWaiting: return "waiting";
    case State::kSynced: return "synced";
    case State::kForeign: return "foreign";
    case State::kOverwritten: return "overwritten";
    case State::kDenied: return "denied";
    case State::kRefused: return "refused";
    case State::kFailed: return "failed";
  }
  return "";
}

struct SecretMirror::Entry {
  Entry(net::Loop& loop, std::function<void()> on_due)
      : timer(loop.timers(), std::move(on_due)), watching(loop) {}

  MirrorTarget target;
  MirrorStatus status;
  MirrorPast past;
  Timer timer;
  bool is_running = false;  // its task
  bool is_again = false;    // something happened meanwhile
  bool is_looked = false;
  std::uint64_t failures = 0;
  std::string version;  // that we know; a watch that tells it has no news
  std::unique_ptr<SecretWatch> watch;
  net::TaskGroup watching;
};

SecretMirror::SecretMirror(Parts parts, std::string node, Handler handler)
    : parts_(parts),
      node_(std::move(node)),
      handler_(std::move(handler)),
      patience_(parts.loop.timers(),
                [this] {
                  for (auto& [name, entry] : entries_) note_looked(*entry);
                }),
      tasks_(parts.loop) {}

SecretMirror::~SecretMirror() = default;

void SecretMirror::use(std::vector<MirrorTarget> targets) {
  std::map<SecretName, MirrorTarget> wanted;
  for (MirrorTarget& target : targets) wanted.insert_or_assign(target.secret, std::move(target));
  for (auto at = entries_.begin(); at != entries_.end();) {
    if (wanted.contains(at->first)) {
      ++at;
      continue;
    }
    log(Level::kInfo, "secret.left")
        .with("secret", at->first.to_string())
        .with("reason", "it is no longer configured; it stays as it is");
    parts_.metrics.remove("gatehouse_secret_in_sync", labels_of(at->first));
    at->second->timer.cancel();
    at->second->watching.stop();
    retired_.push_back(std::move(at->second));
    at = entries_.erase(at);
  }
  retired_.remove_if([](const auto& entry) { return entry->watching.is_empty(); });
  for (auto& [name, target] : wanted) {
    Entry* known = find(name);
    if (known && known->target == target) continue;
    if (!known) {
      auto entry = std::make_unique<Entry>(parts_.loop, [this, at = name] { on_due(at); });
      known = entries_.emplace(name, std::move(entry)).first->second.get();
    }
    known->target = std::move(target);
    known->status.secret = name;
    known->status.certificate = known->target.certificate;
    known->past = {};
    known->is_looked = false;
    if (is_started_) begin(*known);
  }
  if (is_started_) patience_.arm(kPatience);
}

void SecretMirror::put(MirrorSource source) {
  const std::string name = source.credential->name;
  given_.insert_or_assign(name, Given{std::move(source), parts_.loop.clock().steady_now()});
  for (auto& [at, entry] : entries_)
    if (entry->target.certificate == name && is_started_) plan(*entry, Duration{});
}

void SecretMirror::start() {
  is_started_ = true;
  for (auto& [name, entry] : entries_) begin(*entry);
  patience_.arm(kPatience);
}

void SecretMirror::begin(Entry& entry) {
  plan(entry, Duration{});
  std::size_t watches = 0;
  for (const auto& [name, other] : entries_) watches += other->watch ? 1 : 0;
  if (entry.watch || watches >= kWatchesMax) return;
  const SecretName name = entry.target.secret;
  const auto on_news = [this, name](const std::string& version) {
    if (Entry* known = find(name); known && known->version != version) plan(*known, Duration{});
  };
  SecretWatch::Handler handler;
  handler.on_list = [on_news](std::vector<Secret> all) {
    on_news(all.empty() ? "" : all.front().resource_version);
  };
  handler.on_change = [on_news](Secret now) { on_news(now.resource_version); };
  handler.on_delete = [on_news](SecretName) { on_news(""); };
  entry.watch = std::make_unique<SecretWatch>(
      SecretWatch::Parts{parts_.loop, parts_.random, parts_.client},
      SecretQuery{name.name_space, name.name, ""}, std::move(handler));
  entry.watching.start("watch of " + name.to_string(), entry.watch->run());
}

awaitable<void> SecretMirror::stop() {
  is_stopped_ = true;
  patience_.cancel();
  for (auto& [name, entry] : entries_) entry->timer.cancel();
  for (auto& [name, entry] : entries_) entry->watching.stop();
  for (auto& entry : retired_) entry->watching.stop();
  tasks_.stop();
  for (auto& [name, entry] : entries_) co_await entry->watching.join();
  for (auto& entry : retired_) co_await entry->watching.join();
  co_await tasks_.join();
}

SecretMirror::Entry* SecretMirror::find(const SecretName& name) {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : found->second.get();
}

Duration SecretMirror::period() const {
  return std::max<Duration>(kPeriod, std::chrono::seconds(entries_.size()));
}

void SecretMirror::plan(Entry& entry, Duration after) {
  if (is_stopped_) return;
  if (entry.is_running) {
    entry.is_again |= after == Duration{};
    return;
  }
  entry.status.next_try =
      parts_.loop.clock().wall_now() + std::chrono::duration_cast<WallTime::duration>(after);
  entry.timer.arm(after);
}

void SecretMirror::on_due(SecretName name) {
  Entry* entry = find(name);
  if (!entry || entry->is_running || is_stopped_) return;
  entry->is_running = true;
  entry->is_again = false;
  tasks_.start("mirror " + name.to_string(), reconcile(name));
}

awaitable<void> SecretMirror::reconcile(SecretName name) {
  SecretName at = name;
  auto done = co_await look_and_write(std::move(at));
  Entry* entry = find(name);
  if (!entry) co_return;
  entry->is_running = false;
  if (!done && done.error().error.fault == Fault::kCancelled) co_return;
  if (done) {
    entry->failures = 0;
    plan(*entry, with_jitter(period(), 0.1, parts_.random));
  } else {
    note_failure(*entry, done.error());
  }
  if (entry->is_again) plan(*entry, Duration{});
}

/// What to do again when others write at the same time; everything else is decided here.
awaitable<KubeResult<void>> SecretMirror::look_and_write(SecretName name) {
  for (int tries = 0; tries < kTriesAtOnce; ++tries) {
    SecretName at = name;
    auto read = co_await parts_.client.get_secret(std::move(at));
    Entry* entry = find(name);
    if (!entry) co_return KubeResult<void>();
    if (!read && read.error().error.fault != Fault::kNotFound) co_return std::move(read).error();
    std::optional<Secret> found;
    if (read) found = std::move(*read);
    entry->version = found ? found->resource_version : "";
    take_from(*entry, found);
    note_looked(*entry);
    const auto given = given_.find(entry->target.certificate);
    const WallTime now = parts_.loop.clock().wall_now();
    const std::string why_not = given == given_.end()
                                    ? "there is no certificate yet"
                                    : unfit(entry->target, *given->second.source.credential, now);
    if (!why_not.empty()) {
      settle(*entry, State::kWaiting, why_not, "");
      co_return KubeResult<void>();
    }
    auto wanted = wanted_secret(entry->target, given->second.source, node_);
    if (!wanted) {
      settle(*entry, State::kWaiting, wanted.error().message, "");
      co_return KubeResult<void>();
    }
    const net::CredentialPtr credential = given->second.source.credential;
    const MirrorDecision decision =
        decide(entry->target, *wanted, *credential, found, entry->past, now);
    const bool writes = decision.action == Action::kWrite || decision.action == Action::kAdopt ||
                        decision.action == Action::kRepair;
    if (!writes) {
      settle_unwritten(*entry, decision, credential);
      co_return KubeResult<void>();
    }
    if (found) {
      wanted->resource_version = found->resource_version;
      wanted->uid = found->uid;
    }
    Secret whole = std::move(*wanted);
    auto written = co_await parts_.client.apply_secret(
        std::move(whole), decision.action == Action::kWrite ? Force::kNo : Force::kTakeOwnership);
    entry = find(name);
    if (!entry) co_return KubeResult<void>();
    if (written) {
      entry->version = written->resource_version;
      note_written(*entry, decision, credential);
      co_return KubeResult<void>();
    }
    const KubeError failed = std::move(written).error();
    const bool has_moved = (failed.error.fault == Fault::kConflict && failed.owners.empty()) ||
                           (failed.error.fault == Fault::kInvalid && found &&
                            tries == 0);  // Another one of that name.
    if (has_moved) continue;
    if (failed.error.fault != Fault::kConflict) co_return failed;
    std::string owners;
    for (const std::string& owner : failed.owners) owners += (owners.empty() ? "" : ", ") + owner;
    settle(*entry, State::kForeign, "fields of it belong to another manager", owners);
    co_return KubeResult<void>();
  }
  KubeError busy;
  busy.error = {Fault::kConflict, "it changes faster than we can write"};
  co_return busy;
}

void SecretMirror::settle_unwritten(Entry& entry, const MirrorDecision& decision,
                                    const net::CredentialPtr& credential) {
  if (decision.action == Action::kNothing) {
    entry.past.was_ours = true;
    settle(entry, State::kSynced, "", "");
    note_synced(entry, credential, /*is_written=*/false);
  } else if (decision.action == Action::kLeave) {
    settle(entry, decision.is_fight ? State::kOverwritten : State::kForeign, decision.reason,
           decision.owner);
  } else {
    settle(entry, State::kSynced, decision.reason, "");
  }
}

void SecretMirror::note_written(Entry& entry, const MirrorDecision& decision,
                                const net::CredentialPtr& credential) {
  const bool is_news = entry.status.serial != credential->facts.serial_hex;
  entry.past.was_ours = true;
  entry.past.has_adopted |= decision.action == Action::kAdopt;
  if (decision.action == Action::kRepair) ++entry.past.overwrites;
  entry.status.written_at = parts_.loop.clock().wall_now();
  if (is_news) {
    const auto given = given_.find(entry.target.certificate);
    entry.status.lag = parts_.loop.clock().steady_now() - given->second.since;
    parts_.metrics
        .gauge("gatehouse_secret_lag_seconds",
               "From a certificate's arrival to its Secret, the last time",
               labels_of(entry.target.secret))
        .set(std::chrono::duration<double>(*entry.status.lag).count());
  }
  parts_.metrics
      .counter("gatehouse_secret_writes_total", "Writes to Secrets", labels_of(entry.target.secret))
      .add();
  const bool is_drift = decision.action == Action::kRepair || decision.action == Action::kAdopt;
  log(is_drift ? Level::kWarn : Level::kInfo, decision.action == Action::kRepair ? "secret.repaired"
                                              : decision.action == Action::kAdopt
                                                  ? "secret.adopted"
                                                  : "secret.written")
      .with("secret", entry.target.secret.to_string())
      .with("certificate", entry.target.certificate)
      .with("serial", credential->facts.serial_hex)
      .with("reason", decision.reason)
      .with("owner", decision.owner)
      .with("lag_ms", entry.status.lag
                          ? std::int64_t{std::chrono::duration_cast<std::chrono::milliseconds>(
                                             *entry.status.lag)
                                             .count()}
                          : std::int64_t{0});
  settle(entry, State::kSynced, "", "");
  note_synced(entry, credential, /*is_written=*/true);
}

void SecretMirror::note_synced(Entry& entry, const net::CredentialPtr& credential,
                               bool is_written) {
  entry.status.serial = credential->facts.serial_hex;
  if (handler_.on_synced) handler_.on_synced(credential, is_written);
}

/// One state for people, one metric for alarms; news are logged once.
void SecretMirror::settle(Entry& entry, State state, std::string reason, std::string owner) {
  auto& status = entry.status;
  const bool is_news = status.state != state || status.reason != reason || status.owner != owner;
  status.state = state;
  status.reason = std::move(reason);
  status.owner = std::move(owner);
  parts_.metrics
      .gauge("gatehouse_secret_in_sync",
             "1 while the Secret has the certificate; 0 is worth an alert",
             labels_of(entry.target.secret))
      .set(state == State::kSynced ? 1 : 0);
  if (!is_news || state == State::kSynced || state == State::kWaiting) return;
  log(state == State::kFailed ? Level::kWarn : Level::kError,
      "secret." + std::string(to_string(state)))
      .with("secret", entry.target.secret.to_string())
      .with("certificate", entry.target.certificate)
      .with("reason", status.reason)
      .with("owner", status.owner);
}

void SecretMirror::note_failure(Entry& entry, const KubeError& failed) {
  ++entry.failures;
  Duration pause = kube_backoff(entry.failures, failed, parts_.random);
  State state = State::kFailed;
  if (failed.error.fault == Fault::kPermission) state = State::kDenied;
  if (failed.error.fault == Fault::kInvalid && failed.status != 0) state = State::kRefused;
  if (state != State::kFailed) pause = std::max(pause, with_jitter(kForPeople, 0.1, parts_.random));
  settle(entry, state, failed.error.message, "");
  parts_.metrics
      .counter("gatehouse_secret_failures_total", "Failed attempts to read or write a Secret",
               labels_of(entry.target.secret))
      .add();
  plan(entry, pause);
}

void SecretMirror::note_looked(Entry& entry) {
  if (std::exchange(entry.is_looked, true) || !handler_.on_looked) return;
  const std::string certificate = entry.target.certificate;
  if (has_looked(certificate)) handler_.on_looked(certificate);
}

bool SecretMirror::has_looked(const std::string& certificate) const {
  return std::all_of(entries_.begin(), entries_.end(), [&](const auto& one) {
    return one.second->target.certificate != certificate || one.second->is_looked;
  });
}

/// A newer certificate that a Gatehouse has put there: of another node, or ours of former times.
void SecretMirror::take_from(Entry& entry, const std::optional<Secret>& found) {
  if (!found || !is_of_gatehouse(*found) || !handler_.on_found) return;
  auto there = credential_in(*found, entry.target.certificate);
  if (!there) {
    log(Level::kWarn, "secret.unusable")
        .with("secret", entry.target.secret.to_string())
        .with("reason", there.error().message);
    return;
  }
  if (!unfit(entry.target, **there, parts_.loop.clock().wall_now()).empty()) return;
  const auto given = given_.find(entry.target.certificate);
  if (given != given_.end() &&
      given->second.source.credential->facts.not_before >= (*there)->facts.not_before)
    return;
  handler_.on_found(std::move(*there), found->annotation("gatehouse/issuer"));
}

std::vector<MirrorStatus> SecretMirror::status() const {
  std::vector<MirrorStatus> all;
  for (const auto& [name, entry] : entries_) all.push_back(entry->status);
  return all;
}

}  // namespace gatehouse::store
