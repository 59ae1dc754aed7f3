#pragma once
// Certificates for tests of the stores and the keeper: self-signed or from a small CA (then with an
// authority key id, so with an ARI id), all with one shared key, because making keys is slow.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/net/certificate.h"

namespace gatehouse {

inline const net::PrivateKey& test_key() {
  static const auto* key =
      new net::PrivateKey(*net::PrivateKey::generate(net::KeyKind::kEcdsaP256));
  return *key;
}

inline net::CredentialPtr make_test_certificate(const std::string& name,
                                                const std::vector<std::string>& names,
                                                WallTime not_before, WallTime not_after) {
  net::IssueRequest root;
  root.common_name = "test CA";
  root.is_ca = true;
  root.not_before = not_before - std::chrono::hours(1);
  root.not_after = not_after + std::chrono::hours(1);
  auto ca = net::issue_certificate(root, test_key(), {}, {});
  net::IssueRequest leaf;
  leaf.names = names;
  leaf.not_before = not_before;
  leaf.not_after = not_after;
  auto chain = net::issue_certificate(leaf, test_key(), *ca, test_key());
  auto credential = net::make_credential(name, *chain, test_key());
  EXPECT_TRUE(credential) << (credential ? "" : credential.error().message);
  return credential ? *credential : nullptr;
}

}  // namespace gatehouse
