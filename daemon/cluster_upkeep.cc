// What the holder of the Lease looks after: certificates, ended orders and ticket keys in Secrets.

#include <chrono>
#include <set>
#include <utility>

#include "daemon/base/log.h"
#include "daemon/cluster.h"

namespace gatehouse::daemon {

using boost::asio::awaitable;

namespace {
constexpr Duration kLookAfter = 30s;
constexpr auto kTicketRotation = std::chrono::hours(12);
constexpr auto kTicketLife = std::chrono::hours(36);
// A new key is known everywhere before it encrypts, also where a clock is ahead.
constexpr auto kTicketLead = std::chrono::minutes(10);
constexpr std::size_t kTicketKeysMax = 4;
constexpr auto kOrderLife = std::chrono::hours(7 * 24);
}  // namespace

void Cluster::on_certificate() {
  wants_publishing_ = true;
  if (!may_issue() || std::exchange(is_publishing_, true)) return;
  tasks_.start("cluster certificates", publish());
}

bool Cluster::is_shared(const store::LoadedCertificate& certificate) const {
  const auto& credential = *certificate.credential;
  return state_.fingerprint(credential.name) == credential.facts.fingerprint_sha256_hex;
}

awaitable<void> Cluster::publish() {
  while (std::exchange(wants_publishing_, false) && may_issue()) {
    bool is_done = true;
    for (const store::LoadedCertificate& certificate : seams_->keeper.shareable()) {
      if (is_shared(certificate) || !may_issue()) continue;
      auto shared = co_await state_.publish(certificate);
      if (shared) {
        log(Level::kInfo, "certificate.shared").with("name", certificate.credential->name);
        continue;
      }
      is_done = false;
      if (shared.error().fault == Fault::kCancelled) break;
      error_ = shared.error().message;
      log(Level::kError, "certificate.not_shared")
          .with("name", certificate.credential->name)
          .with("error", error_)
          .with("next_try_ms", std::int64_t{kLookAfter / 1ms});
    }
    auto ended = co_await end_shared_orders();
    if (is_done && ended) error_.clear();
    show();
  }
  is_publishing_ = false;
}

/// True when its certificate is shared by now, or will never be.
bool Cluster::has_ended(const store::Order& order) const {
  const WallTime now = parts_.loop.clock().wall_now();
  if (now - order.updated_at > kOrderLife) return true;
  const auto served = seams_->keeper.find(order.certificate);
  if (!served || state_.fingerprint(order.certificate) != served->facts.fingerprint_sha256_hex)
    return false;
  const auto key = net::PrivateKey::from_pem(order.key_pem);
  return key && served->chain.matches(*key);
}

awaitable<Result<void>> Cluster::end_shared_orders() {
  std::set<std::string> ended;
  for (const store::Order& order : state_.state().orders)
    if (has_ended(order)) ended.insert(order.certificate);
  if (ended.empty()) co_return Result<void>();
  std::function<void(store::SharedState&)> edit = [ended](store::SharedState& state) {
    for (const std::string& certificate : ended) state.remove_order(certificate);
  };
  co_return co_await state_.change(std::move(edit));
}

awaitable<Result<void>> Cluster::rotate_tickets() {
  const WallTime now = parts_.loop.clock().wall_now();
  const auto& tickets = state_.state().tickets;
  const bool is_first = tickets.empty();
  if (!is_first && now - tickets.front().from < kTicketRotation &&
      tickets.front().from - now < 2 * kTicketLead)
    co_return Result<void>();
  auto key = net::TicketKeys::make_shared_key(is_first ? now : now + kTicketLead);
  if (!key) co_return std::move(key).error();
  store::SharedTicketKey shared;
  shared.secret.append(reinterpret_cast<const char*>(key->name), sizeof key->name);
  shared.secret.append(reinterpret_cast<const char*>(key->aes), sizeof key->aes);
  shared.secret.append(reinterpret_cast<const char*>(key->hmac), sizeof key->hmac);
  shared.from = key->created;
  std::function<void(store::SharedState&)> edit = [shared, now](store::SharedState& state) {
    std::erase_if(state.tickets, [now](const auto& old) { return now - old.from > kTicketLife; });
    state.tickets.insert(state.tickets.begin(), shared);
    if (state.tickets.size() > kTicketKeysMax) state.tickets.resize(kTicketKeysMax);
  };
  co_return co_await state_.change(std::move(edit));
}

/// Whatever failed or was undone by somebody is done again.
awaitable<void> Cluster::look_after() {
  for (;;) {
    const bool rested = co_await net::sleep_for(parts_.loop, kLookAfter);
    if (!rested) co_return;
    show();
    if (!may_issue()) continue;
    auto rotated = co_await rotate_tickets();
    if (rotated && !state_.is_stored()) {
      std::function<void(store::SharedState&)> as_it_is = [](store::SharedState&) {};
      rotated = co_await state_.change(std::move(as_it_is));
    }
    if (!rotated && rotated.error().fault != Fault::kCancelled) {
      error_ = rotated.error().message;
      log(Level::kError, "cluster.state_not_written").with("error", error_);
    }
    on_certificate();
  }
}

}  // namespace gatehouse::daemon
