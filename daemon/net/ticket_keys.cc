#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <mutex>

#include "daemon/net/tls_context.h"

namespace gatehouse::net {

namespace {
constexpr auto kRotateAfter = 12h;
constexpr auto kTicketLifetime = 24h;
constexpr std::size_t kKeysMax = 3;  // The current one, and the two that live tickets may have.
// A set that is shared: the next one, too, and our own from before. The holder of the set renews it
// twice a day; a day without a new key means that it is not renewed any more.
constexpr std::size_t kSharedKeysMax = 8;
constexpr auto kSharedLife = 24h;

bool is_same(const TicketKeys::Key& a, const TicketKeys::Key& b) {
  return std::memcmp(a.name, b.name, sizeof a.name) == 0;
}

bool fill(TicketKeys::Key& key) {
  return RAND_bytes(key.name, sizeof key.name) == 1 &&
         RAND_priv_bytes(key.aes, sizeof key.aes) == 1 &&
         RAND_priv_bytes(key.hmac, sizeof key.hmac) == 1;
}
}  // namespace

struct TicketKeys::State {
  const Clock& clock;
  mutable std::mutex mutex;
  EarlyDataGuard early_data;
  std::list<Key> keys;  // newest first; a list, so that a key stays where it is
  bool is_shared = false;

  explicit State(const Clock& given) : clock(given), early_data(given) {}

  bool add_key() {
    keys.emplace_front();
    Key& key = keys.front();
    key.created = clock.wall_now();
    if (fill(key)) return true;
    keys.pop_front();
    return false;
  }

  void drop_oldest() {
    OPENSSL_cleanse(&keys.back(), sizeof keys.back());
    keys.pop_back();
  }

  /// A key encrypts until the next one is made, and its tickets live on from there. (A clock that
  /// was set back makes ages negative: then nothing is dropped early, and kKeysMax still holds.)
  bool is_oldest_spent(WallTime now) const {
    if (keys.size() < 2) return false;
    if (is_shared || keys.back().is_shared)
      return now - keys.back().created >= kRotateAfter + kTicketLifetime;
    const auto newer = std::prev(keys.end(), 2);
    return now - newer->created >= kTicketLifetime;
  }

  /// The newest key of the set whose time has come; with a clock that is behind, the oldest one.
  const Key& shared_current(WallTime now) const {
    const Key* oldest = nullptr;
    for (const Key& key : keys) {
      if (!key.is_shared) continue;
      if (key.created <= now) return key;
      oldest = &key;
    }
    return oldest ? *oldest : keys.front();
  }
};

Result<std::shared_ptr<TicketKeys>> TicketKeys::create(const Clock& clock) {
  auto keys = std::make_shared<TicketKeys>();
  keys->state_ = std::make_unique<State>(clock);
  if (!keys->state_->add_key()) return openssl_error("making a key for session tickets");
  return keys;
}

TicketKeys::~TicketKeys() {
  while (state_ && !state_->keys.empty()) state_->drop_oldest();
}

Result<TicketKeys::Key> TicketKeys::make_shared_key(WallTime from) {
  Key key;
  key.created = from;
  key.is_shared = true;
  if (!fill(key)) return openssl_error("making a key for session tickets");
  return key;
}

void TicketKeys::use_shared(const std::vector<Key>& keys) {
  const std::lock_guard lock(state_->mutex);
  auto& kept = state_->keys;
  bool has_news = false;
  for (const Key& key : keys) {
    const auto same = [&key](const Key& one) { return is_same(one, key); };
    if (std::any_of(kept.begin(), kept.end(), same)) continue;
    const auto older = [&key](const Key& one) { return one.created <= key.created; };
    const auto place = kept.insert(std::find_if(kept.begin(), kept.end(), older), key);
    place->is_shared = has_news = true;
  }
  state_->is_shared = state_->is_shared || has_news;
  const WallTime now = state_->clock.wall_now();
  while (kept.size() > kSharedKeysMax || state_->is_oldest_spent(now)) state_->drop_oldest();
}

void TicketKeys::rotate_if_due() {
  const std::lock_guard lock(state_->mutex);
  const WallTime now = state_->clock.wall_now();
  if (state_->is_shared) {
    while (state_->is_oldest_spent(now)) state_->drop_oldest();
    const Key& current = state_->shared_current(now);
    if (current.is_shared && now - current.created < kSharedLife) return;
    state_->is_shared = false;  // Nobody renews them any more.
  }
  const WallTime created = state_->keys.front().created;
  // Also when the clock was set back behind the key's birth: its age is not known any more.
  const bool is_due = now - created >= kRotateAfter || now < created;
  // Without randomness the old key goes on: a ticket matters less than a handshake.
  if (is_due && !state_->add_key()) ERR_clear_error();
  while (state_->keys.size() > kKeysMax || state_->is_oldest_spent(now)) state_->drop_oldest();
}

EarlyDataGuard& TicketKeys::early_data() { return state_->early_data; }

const TicketKeys::Key& TicketKeys::current() const {
  const std::lock_guard lock(state_->mutex);
  if (!state_->is_shared) return state_->keys.front();
  return state_->shared_current(state_->clock.wall_now());
}

const TicketKeys::Key* TicketKeys::find(const unsigned char name[16]) const {
  const std::lock_guard lock(state_->mutex);
  const WallTime now = state_->clock.wall_now();
  auto newer = state_->keys.end();
  for (auto key = state_->keys.begin(); key != state_->keys.end(); newer = key++) {
    if (std::memcmp(key->name, name, sizeof key->name) != 0) continue;
    if (state_->is_shared || key->is_shared)
      return now - key->created >= kRotateAfter + kTicketLifetime ? nullptr : &*key;
    // Nobody may have asked for a rotation since this key's tickets ended.
    const WallTime retired =
        newer == state_->keys.end() ? key->created + kRotateAfter : newer->created;
    return now - retired >= kTicketLifetime ? nullptr : &*key;
  }
  return nullptr;
}

}  // namespace gatehouse::net
