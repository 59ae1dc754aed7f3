#include "store/secret_source.h"

#include <algorithm>
#include <utility>

#include "daemon/base/log.h"
#include "daemon/base/text.h"
#include "store/mirror_decision.h"
#include "store/source_decision.h"

namespace gatehouse::store {

using boost::asio::awaitable;
using State = SourceStatus::State;

namespace {

constexpr std::size_t kBatchMax = 64;  // Secrets that are read in one job
constexpr Duration kLook = 10s;        // at the watches, for the metrics
constexpr Duration kSaveAgain = 1min;

Labels labels_of(const SecretName& name) { return {{"secret", name.to_string()}}; }

bool is_same(const net::Credential& a, const net::Credential& b) {
  return a.facts.fingerprint_sha256_hex == b.facts.fingerprint_sha256_hex &&
         a.chain.to_pem() == b.chain.to_pem();
}

}  // namespace

std::string_view to_string(State state) {
  switch (state) {
    case State::kWaiting: return "waiting";
    case State::kSynced: return "synced";
    case State::kMissing: return "missing";
    case State::kUnusable: return "unusable";
    case State::kStale: return "stale";
    case State::kDenied: return "denied";
  }
  return "";
}

struct SecretSource::Entry {
  SourceTarget target;
  net::CredentialPtr served;  // null: nothing yet
  bool is_saved = false;      // what is served is in the database
  State state = State::kWaiting;
  std::string reason;
  std::optional<WallTime> read_at;
  std::string version;         // of the Secret as it was seen last; empty: there is none
  std::optional<Secret> news;  // what was seen last, until it is read
};

struct SecretSource::Follower {
  explicit Follower(net::Loop& loop) : tasks(loop) {}
  std::set<SecretName> members;
  std::unique_ptr<SecretWatch> watch;
  net::TaskGroup tasks;
};

SecretSource::SecretSource(Parts parts, OnFound on_found)
    : parts_(parts),
      on_found_(std::move(on_found)),
      look_(parts.loop.timers(), [this] { look(); }),
      tasks_(parts.loop) {}

SecretSource::~SecretSource() = default;

void SecretSource::use(std::vector<SourceTarget> targets, const Credentials& served) {
  std::set<SecretName> wanted;
  for (const SourceTarget& target : targets) wanted.insert(target.secret);
  std::erase_if(entries_, [&](const auto& one) {
    if (wanted.contains(one.first)) return false;
    drop(*one.second);
    return true;
  });
  for (SourceTarget& target : targets) {
    auto& entry = entries_[target.secret];
    if (entry && entry->target.certificate == target.certificate) {
      entry->target.names = std::move(target.names);
      continue;
    }
    if (entry) drop(*entry);
    entry = std::make_unique<Entry>();
    const auto known = served.find(target.certificate);
    if (known != served.end()) entry->served = known->second;
    entry->is_saved = entry->served && !is_started_;
    entry->target = std::move(target);
  }
  if (is_started_) follow();
}

void SecretSource::drop(const Entry& entry) {
  const SecretName& name = entry.target.secret;
  parts_.metrics.remove("gatehouse_secret_source_in_sync", labels_of(name));
  parts_.metrics.remove("gatehouse_secret_source_not_after_seconds", labels_of(name));
  changed_.erase(name);
  unsaved_.erase(entry.target.certificate);
  for (auto& [key, follower] : followers_) follower->members.erase(name);
}

void SecretSource::start() {
  is_started_ = true;
  follow();
  look();
}

awaitable<void> SecretSource::stop() {
  is_stopped_ = true;
  look_.cancel();
  for (auto& [key, follower] : followers_) follower->tasks.stop();
  for (auto& follower : retired_) follower->tasks.stop();
  tasks_.stop();
  for (auto& [key, follower] : followers_) co_await follower->tasks.join();
  for (auto& follower : retired_) co_await follower->tasks.join();
  co_await tasks_.join();
}

// ---- who tells of what ----------------------------------------------------------------------

void SecretSource::follow() {
  std::map<std::string, std::set<SecretName>> by_namespace;
  for (const auto& [name, entry] : entries_) by_namespace[name.name_space].insert(name);
  std::map<SecretName, std::set<SecretName>> wanted;
  for (auto& [name_space, names] : by_namespace) {
    if (names.size() > kWatchesMax)
      wanted.emplace(SecretName{name_space, ""}, std::move(names));
    else
      for (const SecretName& name : names) wanted.emplace(name, std::set<SecretName>{name});
  }
  for (auto at = followers_.begin(); at != followers_.end();) {
    const auto still = wanted.find(at->first);
    // Whoever joins a namespace that is watched already was not in its list.
    const bool stays = still != wanted.end() &&
                       std::includes(at->second->members.begin(), at->second->members.end(),
                                     still->second.begin(), still->second.end());
    if (stays) {
      at->second->members = std::move(still->second);
      wanted.erase(still);
      ++at;
      continue;
    }
    at->second->tasks.stop();
    retired_.push_back(std::move(at->second));
    at = followers_.erase(at);
  }
  retired_.remove_if([](const auto& follower) { return follower->tasks.is_empty(); });
  for (auto& [key, members] : wanted) followers_[key] = make_follower(key, std::move(members));
}

std::unique_ptr<SecretSource::Follower> SecretSource::make_follower(const SecretName& key,
                                                                    std::set<SecretName> members) {
  auto follower = std::make_unique<Follower>(parts_.loop);
  follower->members = std::move(members);
  SecretWatch::Handler handler;
  handler.on_list = [this, key](std::vector<Secret> all) { on_list(key, std::move(all)); };
  handler.on_change = [this](Secret now) { on_secret(std::move(now)); };
  handler.on_delete = [this](const SecretName& gone) {
    if (const auto found = entries_.find(gone); found != entries_.end()) on_missing(*found->second);
  };
  follower->watch =
      std::make_unique<SecretWatch>(SecretWatch::Parts{parts_.loop, parts_.random, parts_.client},
                                    SecretQuery{key.name_space, key.name, ""}, std::move(handler));
  follower->tasks.start("watch of " + key.to_string(), follower->watch->run());
  return follower;
}

void SecretSource::on_list(const SecretName& followed, std::vector<Secret> all) {
  const auto follower = followers_.find(followed);
  if (follower == followers_.end()) return;
  std::set<SecretName> missing = follower->second->members;
  for (Secret& secret : all) {
    missing.erase(secret.at);
    on_secret(std::move(secret));
  }
  for (const SecretName& name : missing)
    if (const auto found = entries_.find(name); found != entries_.end()) on_missing(*found->second);
}

void SecretSource::on_secret(Secret secret) {
  const auto found = entries_.find(secret.at);
  if (found == entries_.end() || is_stopped_) return;
  Entry& entry = *found->second;
  if (entry.version == secret.resource_version) return;  // A list, with no news for us.
  entry.version = secret.resource_version;
  entry.news = std::move(secret);
  changed_.insert(found->first);
  if (!std::exchange(is_digesting_, true)) tasks_.start("secrets", digest());
}

void SecretSource::on_missing(Entry& entry) {
  entry.version.clear();
  entry.news.reset();
  changed_.erase(entry.target.secret);
  settle(entry, State::kMissing, "there is no such Secret");
}

// ---- what they say --------------------------------------------------------------------------

std::vector<SecretSource::News> SecretSource::take_news() {
  std::vector<News> batch;
  while (!changed_.empty() && batch.size() < kBatchMax) {
    Entry& entry = *entries_.at(*changed_.begin());
    changed_.erase(changed_.begin());
    batch.push_back({entry.target.certificate, *std::exchange(entry.news, std::nullopt)});
  }
  return batch;
}

awaitable<void> SecretSource::digest() {
  using Found = std::vector<Result<net::CredentialPtr>>;
  while (!changed_.empty() && !is_stopped_) {
    const auto batch = std::make_shared<const std::vector<News>>(take_news());
    std::function<Found()> read = [batch] {
      Found found;
      for (const News& news : *batch)
        found.push_back(usable_credential(news.secret, news.certificate));
      return found;
    };
    Found found = co_await parts_.jobs.run(std::move(read));
    std::vector<net::CredentialPtr> fresh;
    for (std::size_t i = 0; i < batch->size(); ++i) {
      const auto known = entries_.find((*batch)[i].secret.at);
      if (known == entries_.end() || is_stopped_) continue;
      Entry& entry = *known->second;
      // Another certificate reads it now, or it has changed again: that one is on its way.
      if (entry.target.certificate != (*batch)[i].certificate ||
          entry.version != (*batch)[i].secret.resource_version)
        continue;
      if (auto credential = judge(entry, std::move(found[i]))) fresh.push_back(credential);
    }
    if (!fresh.empty()) on_found_(fresh);
  }
  is_digesting_ = false;
}

net::CredentialPtr SecretSource::judge(Entry& entry, Result<net::CredentialPtr> found) {
  if (!found) {
    settle(entry, State::kUnusable, found.error().message);
    return nullptr;
  }
  const net::CredentialPtr fresh = std::move(*found);
  const WallTime now = parts_.loop.clock().wall_now();
  if (std::string reason = why_not(entry.target, *fresh, entry.served.get(), now);
      !reason.empty()) {
    settle(entry, State::kUnusable, std::move(reason));
    return nullptr;
  }
  const bool is_news = !entry.served || !is_same(*entry.served, *fresh);
  std::string worth_a_look = complaint(fresh->facts, entry.target.names, now);
  if (is_news) {
    entry.served = fresh;
    entry.is_saved = false;
    log(worth_a_look.empty() ? Level::kInfo : Level::kWarn, "certificate.read")
        .with("name", entry.target.certificate)
        .with("secret", entry.target.secret.to_string())
        .with("serial", fresh->facts.serial_hex)
        .with("not_after", format_rfc3339(fresh->facts.not_after))
        .with("reason", worth_a_look);
  }
  entry.read_at = now;
  settle(entry, State::kSynced, std::move(worth_a_look));
  if (!entry.is_saved) keep(entry);
  return is_news ? fresh : nullptr;
}

/// What a person must set right is logged once.
void SecretSource::settle(Entry& entry, State state, std::string reason) {
  const bool is_news = entry.state != state || entry.reason != reason;
  entry.state = state;
  entry.reason = std::move(reason);
  show(entry);
  if (!is_news || state == State::kSynced) return;
  log(Level::kError, "secret_source." + std::string(to_string(state)))
      .with("secret", entry.target.secret.to_string())
      .with("certificate", entry.target.certificate)
      .with("reason", entry.reason)
      .with("serving", entry.served ? "the one before" : "a temporary one");
}

// ---- the database ---------------------------------------------------------------------------

void SecretSource::keep(const Entry& entry) {
  CertificateRecord record;
  record.name = entry.target.certificate;
  const auto& facts = entry.served->facts;
  record.names = facts.dns_names;
  record.names.insert(record.names.end(), facts.ip_addresses.begin(), facts.ip_addresses.end());
  record.chain_pem = entry.served->chain.to_pem();
  auto key = entry.served->key.to_pem();
  if (key) record.key_pem = std::move(*key);
  record.issued_at = parts_.loop.clock().wall_now();
  unsaved_.insert_or_assign(record.name, std::move(record));
  if (!std::exchange(is_saving_, true)) tasks_.start("saving secrets", save());
}

awaitable<void> SecretSource::save() {
  std::uint64_t failures = 0;
  while (!unsaved_.empty()) {
    CertificateRecord record = std::move(unsaved_.extract(unsaved_.begin()).mapped());
    const CertificateRecord again = record;
    auto saved = co_await parts_.certificates.save(std::move(record));
    const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const auto& one) {
      return one.second->target.certificate == again.name;
    });
    if (entry == entries_.end()) continue;
    if (saved) {
      // Unless a newer one waits for its turn.
      entry->second->is_saved = !unsaved_.contains(again.name);
      failures = 0;
      continue;
    }
    log(failures++ == 0 ? Level::kError : Level::kDebug, "store.not_saved")
        .with("name", again.name)
        .with("error", saved.error().message);
    unsaved_.try_emplace(again.name, again);
    const bool goes_on = co_await net::sleep_for(parts_.loop, kSaveAgain);
    if (!goes_on) break;
  }
  is_saving_ = false;
}

// ---- for people -----------------------------------------------------------------------------

SourceStatus SecretSource::status_of(const Entry& entry) const {
  SourceStatus status{entry.target.secret, entry.target.certificate, entry.state, entry.reason,
                      entry.read_at};
  auto follower = followers_.find(entry.target.secret);
  if (follower == followers_.end())
    follower = followers_.find(SecretName{entry.target.secret.name_space, ""});
  if (follower == followers_.end()) return status;
  const SecretWatch& watch = *follower->second->watch;
  if (watch.state() != SecretWatch::State::kStale && watch.state() != SecretWatch::State::kDenied)
    return status;
  status.state = watch.state() == SecretWatch::State::kDenied ? State::kDenied : State::kStale;
  status.reason = watch.last_error().message;
  const bool is_whole = follower->first.name.empty();
  if (is_whole && status.state == State::kDenied)
    status.reason += " (more than " + std::to_string(kWatchesMax) +
                     " Secrets of a namespace are watched together: the role needs list and watch "
                     "without resourceNames)";
  return status;
}

std::vector<SourceStatus> SecretSource::status() const {
  std::vector<SourceStatus> all;
  all.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) all.push_back(status_of(*entry));
  return all;
}

void SecretSource::show(const Entry& entry) {
  const Labels labels = labels_of(entry.target.secret);
  parts_.metrics
      .gauge("gatehouse_secret_source_in_sync",
             "1 while what is served is what the Secret has; 0 is worth an alert", labels)
      .set(status_of(entry).state == State::kSynced ? 1 : 0);
  if (!entry.served) return;
  const auto end = entry.served->facts.not_after.time_since_epoch();
  parts_.metrics
      .gauge("gatehouse_secret_source_not_after_seconds",
             "End of the certificate that is served from the Secret, Unix time", labels)
      .set(static_cast<double>(std::chrono::duration_cast<std::chrono::seconds>(end).count()));
}

/// The watches say nothing when the server goes away or comes back.
void SecretSource::look() {
  for (const auto& [name, entry] : entries_) show(*entry);
  look_.arm(kLook);
}

}  // namespace gatehouse::store
