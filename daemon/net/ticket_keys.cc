#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include <cstring>
#include <list>
#include <mutex>

#include "daemon/net/tls_context.h"

namespace gatehouse::net {

namespace {
constexpr auto kRotateAfter = 12h;
constexpr auto kTicketLifetime = 24h;
constexpr std::size_t kKeysMax = 3;  // The current one, and the two that live tickets may have.
}  // namespace

struct TicketKeys::State {
  const Clock& clock;
  mutable std::mutex mutex;
  std::list<Key> keys;  // newest first; a list, so that a key stays where it is

  explicit State(const Clock& given) : clock(given) {}

  bool add_key() {
    keys.emplace_front();
    Key& key = keys.front();
    key.created = clock.wall_now();
    if (RAND_bytes(key.name, sizeof key.name) == 1 &&
        RAND_priv_bytes(key.aes, sizeof key.aes) == 1 &&
        RAND_priv_bytes(key.hmac, sizeof key.hmac) == 1)
      return true;
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
    const auto newer = std::prev(keys.end(), 2);
    return now - newer->created >= kTicketLifetime;
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

void TicketKeys::rotate_if_due() {
  const std::lock_guard lock(state_->mutex);
  const WallTime now = state_->clock.wall_now();
  const WallTime created = state_->keys.front().created;
  // Also when the clock was set back behind the key's birth: its age is not known any more.
  const bool is_due = now - created >= kRotateAfter || now < created;
  // Without randomness the old key goes on: a ticket matters less than a handshake.
  if (is_due && !state_->add_key()) ERR_clear_error();
  while (state_->keys.size() > kKeysMax || state_->is_oldest_spent(now)) state_->drop_oldest();
}

const TicketKeys::Key& TicketKeys::current() const {
  const std::lock_guard lock(state_->mutex);
  return state_->keys.front();
}

const TicketKeys::Key* TicketKeys::find(const unsigned char name[16]) const {
  const std::lock_guard lock(state_->mutex);
  const WallTime now = state_->clock.wall_now();
  auto newer = state_->keys.end();
  for (auto key = state_->keys.begin(); key != state_->keys.end(); newer = key++) {
    if (std::memcmp(key->name, name, sizeof key->name) != 0) continue;
    // Nobody may have asked for a rotation since this key's tickets ended.
    const WallTime retired =
        newer == state_->keys.end() ? key->created + kRotateAfter : newer->created;
    return now - retired >= kTicketLifetime ? nullptr : &*key;
  }
  return nullptr;
}

}  // namespace gatehouse::net
