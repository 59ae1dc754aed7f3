#include "proxy/routing/challenge_table.h"

#include <algorithm>
#include <utility>

#include "proxy/routing/path.h"

namespace gatehouse::proxy {
namespace {

constexpr std::string_view kFolder = "/.well-known/acme-challenge";

bool is_base64url(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

bool is_token(std::string_view text) {
  return !text.empty() && text.size() <= ChallengeTable::kTokenBytesMax &&
         std::all_of(text.begin(), text.end(), is_base64url);
}

/// Sets the entry; false when that needs a new one and the table is full.
template <class Map, class Value>
bool put(Map& map, std::string_view key, Value&& value) {
  if (const auto it = map.find(key); it != map.end()) {
    it->second = std::forward<Value>(value);
    return true;
  }
  if (map.size() >= ChallengeTable::kEntriesMax) return false;
  map.emplace(std::string(key), std::forward<Value>(value));
  return true;
}

template <class Map>
void remove(Map& map, std::string_view key) {
  if (const auto it = map.find(key); it != map.end()) map.erase(it);
}

}  // namespace

bool ChallengeTable::put_http(std::string_view token, std::string_view key_authorization) {
  return is_token(token) && put(http_, token, key_authorization);
}

void ChallengeTable::remove_http(std::string_view token) { remove(http_, token); }

bool ChallengeTable::put_tls_alpn(std::string_view server_name, net::CredentialPtr credential) {
  return !server_name.empty() && credential && put(tls_alpn_, server_name, std::move(credential));
}

void ChallengeTable::remove_tls_alpn(std::string_view server_name) {
  remove(tls_alpn_, server_name);
}

bool ChallengeTable::is_challenge_path(std::string_view target) {
  if (!target.starts_with(kFolder)) return false;
  const std::string_view path = path_of(target);
  return path.size() == kFolder.size() || path[kFolder.size()] == '/';
}

std::optional<std::string> ChallengeTable::http_answer(std::string_view authority,
                                                       std::string_view target) const {
  if ((http_.empty() && !thumbprints_) || !is_challenge_path(target)) return std::nullopt;
  if (target.size() <= kFolder.size() + 1) return std::nullopt;
  const std::string_view token = target.substr(kFolder.size() + 1);
  if (const auto it = http_.find(token); it != http_.end()) return it->second;
  // It comes back in the answer, so it may hold nothing but what a token holds.
  if (!thumbprints_ || !is_token(token)) return std::nullopt;
  const std::string* thumbprint = thumbprints_->find(host_of(authority));
  if (!thumbprint) return std::nullopt;
  return std::string(token).append(".").append(*thumbprint);
}

net::CredentialPtr ChallengeTable::tls_alpn(std::string_view server_name) const {
  const auto it = tls_alpn_.find(server_name);
  return it == tls_alpn_.end() ? nullptr : it->second;
}

}  // namespace gatehouse::proxy
