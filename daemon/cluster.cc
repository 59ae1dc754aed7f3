#include "daemon/cluster.h"

#include <openssl/rand.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "acme/jws.h"
#include "daemon/base/backoff.h"
#include "daemon/base/log.h"
#include "daemon/base/text.h"

namespace gatehouse::daemon {

using boost::asio::awaitable;

namespace {

// Well below the ten seconds that a holder has for a renewal.
constexpr auto kLeaseDeadline = std::chrono::milliseconds(4000);
// By then every node that hears from the apiserver answers for a new account.
constexpr Duration kPropagation = 2s;
constexpr ExponentialBackoff kAgain{1s, 30s};

/// As client-go's users make it: unique, and readable.
std::string make_identity() {
  char host[256] = "";
  if (::gethostname(host, sizeof host - 1) != 0) std::strcpy(host, "node");
  unsigned char bytes[16];
  check(RAND_bytes(bytes, sizeof bytes) == 1, "there is randomness");
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);  // RFC 9562: version 4
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  std::string text = to_hex(std::string(bytes, bytes + sizeof bytes));
  for (const std::size_t dash : {8, 13, 18, 23}) text.insert(dash, "-");
  return std::string(host) + "_" + text;
}

std::string thumbprint_of(const std::string& key_pem) {
  const auto key = acme::AccountKey::from_pem(key_pem);
  return key ? key->thumbprint() : std::string();
}

}  // namespace

Cluster::Cluster(Parts parts, net::KubeAccess access, store::ClusterNames names)
    : parts_(parts),
      names_(std::move(names)),
      node_(make_identity()),
      transport_(parts.loop, access),
      lease_transport_(parts.loop, std::move(access), {kLeaseDeadline}),
      kube_(parts.loop, transport_),
      lease_kube_(parts.loop, lease_transport_),
      state_({parts.loop, parts.random, kube_}, names_, node_,
             {[this] { return may_issue(); },
              [this](store::LoadedCertificate certificate) {
                seams_->keeper.offer(std::move(certificate));
              },
              [this] { on_state(); }}),
      lease_({parts.loop, parts.random, lease_kube_}, {names_.name_space, names_.lease, node_},
             [this] { on_lease(); }),
      tasks_(parts.loop) {}

Cluster::~Cluster() = default;

void Cluster::start(Seams seams, std::shared_ptr<const Config> config) {
  seams_.emplace(seams);
  if (auto known = parts_.accounts.load_accounts())
    for (const store::Account& account : *known)
      known_keys_[{account.directory, account.email}] = account.key_pem;
  use(std::move(config));
  state_.start();
  lease_.start();
  tasks_.start("cluster", look_after());
  show();
  log(Level::kInfo, "cluster.joined")
      .with("node", node_)
      .with("lease", names_.name_space + "/" + names_.lease);
}

void Cluster::use(std::shared_ptr<const Config> config) {
  config_ = std::move(config);
  use_thumbprints();
}

awaitable<void> Cluster::stop() {
  tasks_.stop();
  co_await state_.stop();  // Answers who waits for a write.
  co_await tasks_.join();
  co_await lease_.stop();
}

// ---- who issues -----------------------------------------------------------------------------

bool Cluster::may_issue() const { return lease_.is_held() && ready_term_ == lease_.term(); }

std::string Cluster::reason() const {
  if (lease_.is_held()) return "this node takes over from another one: it reads what is shared";
  const auto view = lease_.view();
  if (view.holder == node_ || view.holder.empty())
    return "no node holds the lease " + names_.name_space + "/" + names_.lease +
           (view.error.empty() ? "" : ": " + view.error);
  return view.holder + " issues certificates for this cluster";
}

void Cluster::on_lease() {
  show();
  if (lease_.is_held()) tasks_.start("cluster take-over", take_over(lease_.term()));
  seams_->keeper.on_fleet_changed();
}

awaitable<void> Cluster::take_over(std::uint64_t term) {
  for (std::uint64_t failures = 1;; ++failures) {
    auto left = co_await take_what_is_shared();
    if (!lease_.is_held() || lease_.term() != term) co_return;
    if (left) {
      ready_term_ = term;
      log(Level::kInfo, "cluster.ready_to_issue")
          .with("certificates", state_.certificates())
          .with("orders", left->size());
      seams_->keeper.on_fleet_changed(*left);
      show();
      on_certificate();
      auto rotated = co_await rotate_tickets();
      if (!rotated) error_ = rotated.error().message;
      co_return;
    }
    error_ = left.error().message;
    log(Level::kWarn, "cluster.take_over_failed").with("error", left.error().message);
    const bool rested = co_await net::sleep_for(parts_.loop, kAgain.delay(failures, parts_.random));
    if (!rested) co_return;
  }
}

/// Into this node's store; the certificates whose orders go on.
awaitable<Result<std::vector<std::string>>> Cluster::take_what_is_shared() {
  auto read = co_await state_.read_all();
  if (!read) co_return std::move(read).error();
  auto kept = co_await keep_accounts(state_.state().accounts);
  if (!kept) co_return std::move(kept).error();
  std::vector<std::string> left;
  const std::vector<store::Order> orders = state_.state().orders;
  for (const store::Order& order : orders) {
    if (has_ended(order)) continue;
    auto saved = co_await parts_.accounts.save_order(order);
    if (!saved) co_return std::move(saved).error().in("keeping an order that was left");
    left.push_back(order.certificate);
  }
  co_return left;
}

/// The cluster's account is everybody's: a node that had one of its own gives it up.
awaitable<Result<void>> Cluster::keep_accounts(std::vector<store::Account> accounts) {
  for (const store::Account& account : accounts) {
    auto own = co_await parts_.accounts.find_account(account.directory, account.email);
    if (!own) co_return std::move(own).error();
    if (*own && (*own)->key_pem != account.key_pem) {
      log(Level::kWarn, "cluster.account_replaced")
          .with("directory", account.directory)
          .with("account", (*own)->url);
      auto gone = co_await parts_.accounts.delete_account(account.directory, account.email);
      if (!gone) co_return std::move(gone).error();
    }
    auto saved = co_await parts_.accounts.save_account(account);
    if (!saved) co_return std::move(saved).error().in("keeping the account of the cluster");
  }
  co_return Result<void>();
}

// ---- acme::Fleet ----------------------------------------------------------------------------

std::string Cluster::account_key() const {
  const auto& accounts = state_.state().accounts;
  return accounts.empty() ? std::string() : accounts.front().key_pem;
}

awaitable<Result<void>> Cluster::share_account(store::Account account) {
  const auto& known = state_.state().accounts;
  const bool is_new = std::none_of(known.begin(), known.end(), [&](const store::Account& one) {
    return one.key_pem == account.key_pem;
  });
  std::function<void(store::SharedState&)> edit = [account = std::move(account)](auto& state) {
    state.put(account);
  };
  auto written = co_await state_.change(std::move(edit));
  if (!written) co_return written;
  if (!is_new) co_return written;
  const bool has_waited = co_await net::sleep_for(parts_.loop, kPropagation);
  if (!has_waited) co_return Error{Fault::kCancelled, "waiting for the other nodes: cancelled"};
  co_return Result<void>();
}

awaitable<Result<void>> Cluster::share_order(store::Order order) {
  std::function<void(store::SharedState&)> edit = [order = std::move(order)](auto& state) {
    state.put(order);
  };
  co_return co_await state_.change(std::move(edit));
}

awaitable<Result<void>> Cluster::end_order(std::string certificate) {
  std::function<void(store::SharedState&)> edit =
      [certificate = std::move(certificate)](auto& state) { state.remove_order(certificate); };
  co_return co_await state_.change(std::move(edit));
}

// ---- what is seen ---------------------------------------------------------------------------

void Cluster::on_state() {
  for (const store::Account& account : state_.state().accounts)
    known_keys_[{account.directory, account.email}] = account.key_pem;
  use_thumbprints();
  use_tickets();
  show();
  // A restart without the apiserver answers for them, too.
  if (!std::exchange(is_keeping_, true)) tasks_.start("cluster accounts", keep_shared_accounts());
}

awaitable<void> Cluster::keep_shared_accounts() {
  auto kept = co_await keep_accounts(state_.state().accounts);
  is_keeping_ = false;
  if (!kept && kept.error().fault != Fault::kCancelled)
    log(Level::kError, "store.not_saved").with("error", kept.error().message);
}

/// For each host that certificates are issued for: the account at the first of its CAs that has
/// one; else the key that a new account will have.
void Cluster::use_thumbprints() {
  if (!config_) return;
  std::map<std::string, std::string> by_key, by_host;
  const std::string common = account_key();
  for (const acme::ManagedCertificate& managed : config_->acme.certificates) {
    std::string key;
    for (const std::string& issuer : managed.issuers) {
      const auto& cas = config_->acme.cas;
      const auto ca = std::find_if(cas.begin(), cas.end(),
                                   [&](const acme::Ca& one) { return one.name == issuer; });
      if (ca == cas.end() || ca->is_internal) continue;
      const auto known = known_keys_.find({ca->directory, ca->email});
      key = known != known_keys_.end() ? known->second : key.empty() ? common : key;
      if (known != known_keys_.end()) break;
    }
    if (key.empty()) continue;
    const auto [computed, is_new] = by_key.try_emplace(key);
    if (is_new) computed->second = thumbprint_of(key);
    if (computed->second.empty()) continue;
    for (const std::string& name : managed.names)
      if (!name.starts_with("*.")) by_host[name] = computed->second;
  }
  if (by_host == thumbprints_) return;
  thumbprints_ = std::move(by_host);
  auto table = std::make_shared<proxy::ChallengeTable::Thumbprints>();
  for (const auto& [host, thumbprint] : thumbprints_) (void)table->add(host, thumbprint);
  std::shared_ptr<const proxy::ChallengeTable::Thumbprints> made = std::move(table);
  seams_->proxy.change_challenges(
      [made](proxy::ChallengeTable& challenges) { challenges.use_thumbprints(made); });
}

void Cluster::use_tickets() {
  std::vector<net::TicketKeys::Key> keys;
  for (const store::SharedTicketKey& shared : state_.state().tickets) {
    net::TicketKeys::Key key;
    if (shared.secret.size() != sizeof key.name + sizeof key.aes + sizeof key.hmac) continue;
    const char* from = shared.secret.data();
    std::memcpy(key.name, from, sizeof key.name);
    std::memcpy(key.aes, from += sizeof key.name, sizeof key.aes);
    std::memcpy(key.hmac, from + sizeof key.aes, sizeof key.hmac);
    key.created = shared.from;
    keys.push_back(key);
  }
  seams_->proxy.tickets().use_shared(keys);
}

// ---- for people -----------------------------------------------------------------------------

Cluster::View Cluster::view() const {
  View view;
  const auto lease = lease_.view();
  view.node = node_;
  view.holder = lease.holder;
  view.since = lease.acquire_time;
  view.seen_ago = lease.seen_ago;
  view.is_holder = lease_.is_held();
  view.may_issue = may_issue();
  view.sync = store::to_string(state_.sync());
  view.certificates = state_.certificates();
  view.error = error_;
  if (view.error.empty()) view.error = lease.error;
  if (view.error.empty() && state_.sync() != store::SecretWatch::State::kSynced)
    view.error = state_.sync_error().message;
  if (seams_)
    for (const auto& certificate : seams_->keeper.shareable())
      view.unshared += is_shared(certificate) ? 0 : 1;
  return view;
}

void Cluster::show() {
  const View now = view();
  parts_.metrics.gauge("gatehouse_cluster_holder", "1 on the node that issues", {})
      .set(now.is_holder ? 1 : 0);
  parts_.metrics
      .gauge("gatehouse_cluster_synced", "1 while the apiserver tells what the cluster shares", {})
      .set(state_.sync() == store::SecretWatch::State::kSynced ? 1 : 0);
  parts_.metrics
      .gauge("gatehouse_cluster_certificates_unshared",
             "Certificates that are served here and not what the cluster shares", {})
      .set(static_cast<double>(now.unshared));
}

}  // namespace gatehouse::daemon
