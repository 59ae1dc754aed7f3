#pragma once
// Certificates for tests: a root, and leafs that it signed. P-256, so that a test costs
// milliseconds.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "daemon/net/certificate.h"

namespace gatehouse::net::testing {

struct Authority {
  PrivateKey key;
  CertificateChain root;
};

inline IssueRequest valid_now(std::vector<std::string> names) {
  IssueRequest request;
  request.names = std::move(names);
  const WallTime now = std::chrono::system_clock::now();
  request.not_before = now - 1h;
  request.not_after = now + 24h;
  return request;
}

inline PrivateKey make_key(KeyKind kind = KeyKind::kEcdsaP256) {
  auto key = PrivateKey::generate(kind);
  check(key.has_value(), "a test needs a key");
  return *key;
}

inline Authority make_authority(std::string name = "Test Root") {
  Authority made;
  made.key = make_key();
  IssueRequest request = valid_now({});
  request.common_name = std::move(name);
  request.is_ca = true;
  auto root = issue_certificate(request, made.key, {}, {});
  check(root.has_value(), "a test needs a root");
  made.root = *root;
  return made;
}

inline CredentialPtr issue(const Authority& authority, std::vector<std::string> names,
                           KeyKind kind = KeyKind::kEcdsaP256) {
  const PrivateKey key = make_key(kind);
  const std::string name = names.front();
  auto chain = issue_certificate(valid_now(std::move(names)), key, authority.root, authority.key);
  check(chain.has_value(), "a test needs a certificate");
  auto credential = make_credential(name, *chain, key);
  check(credential.has_value(), "a test needs a credential");
  return *credential;
}

}  // namespace gatehouse::net::testing
