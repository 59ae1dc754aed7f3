#include "store/shared_state.h"

#include <gtest/gtest.h>

#include "tests/support/test_certificates.h"

namespace gatehouse::store {
namespace {

const WallTime kNow{std::chrono::seconds(1785578400)};
const ClusterNames kNames{"edge", "gatehouse", "gatehouse-state", "gatehouse-"};

SharedState some_state() {
  SharedState state;
  state.put(Account{"https://ca/dir", "me@a.test", "PEM", "https://ca/1", "valid", "terms", kNow});
  Order order;
  order.certificate = "www.test";
  order.ca = "ca";
  order.directory = "https://ca/dir";
  order.names = {"www.test", "b.test"};
  order.step = OrderStep::kOrdered;
  order.key_pem = "KEY";
  order.order_url = "https://ca/order/1";
  order.created_at = order.updated_at = kNow;
  order.expires_at = kNow + 24h;
  state.put(order);
  state.tickets = {{std::string(80, '\xff'), kNow}};
  return state;
}

TEST(SharedState, ComesBackAsItWas) {
  const Secret secret = to_secret(some_state(), kNames);
  EXPECT_EQ(secret.at.to_string(), "edge/gatehouse-state");
  EXPECT_EQ(secret.type, "Opaque");
  EXPECT_EQ(secret.label("gatehouse/cluster"), "gatehouse");
  const auto back = parse_shared_state(secret);
  ASSERT_TRUE(back) << back.error().message;
  ASSERT_EQ(back->accounts.size(), 1u);
  EXPECT_EQ(back->accounts[0].key_pem, "PEM");
  EXPECT_EQ(back->accounts[0].created_at, kNow);
  ASSERT_EQ(back->orders.size(), 1u);
  EXPECT_EQ(back->orders[0].names, (std::vector<std::string>{"www.test", "b.test"}));
  EXPECT_EQ(back->orders[0].step, OrderStep::kOrdered);
  EXPECT_EQ(back->orders[0].expires_at, kNow + 24h);
  ASSERT_EQ(back->tickets.size(), 1u);
  EXPECT_EQ(back->tickets[0].secret, std::string(80, '\xff'));
  EXPECT_EQ(to_secret(*back, kNames).data, secret.data);
}

TEST(SharedState, AnEmptySecretIsAnEmptyState) {
  const auto state = parse_shared_state(Secret{});
  ASSERT_TRUE(state);
  EXPECT_TRUE(state->accounts.empty() && state->orders.empty() && state->tickets.empty());
}

TEST(SharedState, WhatDoesNotParseIsAnErrorAndTellsNoSecret) {
  for (const std::string bad :
       {"", "{", "{}", "[1]", R"([{"directory": "secret"}])", R"([{"key_pem": 1}])"}) {
    Secret secret = to_secret(some_state(), kNames);
    secret.data["accounts.json"] = bad;
    const auto state = parse_shared_state(secret);
    ASSERT_FALSE(state) << bad;
    EXPECT_EQ(state.error().message.find("PEM"), std::string::npos);
  }
  Secret secret = to_secret(some_state(), kNames);
  secret.data["tickets.json"] = R"([{"secret": "not base64!", "from": "2026-08-01T00:00:00Z"}])";
  EXPECT_FALSE(parse_shared_state(secret));
}

TEST(SharedState, KeepsOneOfEach) {
  SharedState state = some_state();
  Account account = state.accounts[0];
  account.url = "https://ca/2";
  state.put(account);
  ASSERT_EQ(state.accounts.size(), 1u);
  EXPECT_EQ(state.find_account("https://ca/dir", "me@a.test")->url, "https://ca/2");
  EXPECT_EQ(state.find_account("https://ca/dir", ""), nullptr);
  state.put(state.orders[0]);
  EXPECT_EQ(state.orders.size(), 1u);
  state.remove_order("www.test");
  EXPECT_TRUE(state.orders.empty());
}

TEST(SharedCertificate, ComesBackAsItWas) {
  const LoadedCertificate given{
      make_test_certificate("www.test", {"www.test"}, kNow, kNow + 90 * 24h), "ca", kNow};
  const auto secret = to_secret(given, kNames, "node-1");
  ASSERT_TRUE(secret);
  EXPECT_EQ(secret->at.to_string(), "edge/gatehouse-www.test");
  EXPECT_EQ(secret->type, "kubernetes.io/tls");
  EXPECT_EQ(secret->annotation("gatehouse/node"), "node-1");
  const auto back = parse_shared_certificate(*secret);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->credential->name, "www.test");
  EXPECT_EQ(back->credential->facts.fingerprint_sha256_hex,
            given.credential->facts.fingerprint_sha256_hex);
  EXPECT_EQ(back->ca, "ca");
  EXPECT_EQ(back->issued_at, kNow);
}

TEST(SharedCertificate, GarbageIsRefused) {
  const auto made = [](const std::string& name) {
    return *to_secret({make_test_certificate(name, {name}, kNow, kNow + 90 * 24h), "ca", kNow},
                      kNames, "");
  };
  Secret garbage = made("a.test");
  garbage.data["tls.crt"] = "garbage";
  EXPECT_FALSE(parse_shared_certificate(garbage));
  Secret empty = made("a.test");
  empty.data["tls.key"].clear();
  EXPECT_FALSE(parse_shared_certificate(empty));
  Secret mixed = made("a.test");
  mixed.data["tls.key"] = *net::PrivateKey::generate(net::KeyKind::kEcdsaP256)->to_pem();
  EXPECT_FALSE(parse_shared_certificate(mixed)) << "the key is another's";
  Secret nameless = made("a.test");
  nameless.annotations.clear();
  EXPECT_FALSE(parse_shared_certificate(nameless));
}

TEST(ClusterNames, GiveEveryCertificateAnObjectName) {
  EXPECT_EQ(kNames.certificate_secret("istio-certs").name, "gatehouse-istio-certs");
  for (const std::string name : {"*.shop.test", "2001:db8::1", "Upper_Case", "state", ""}) {
    const auto at = kNames.certificate_secret(name);
    EXPECT_TRUE(is_dns_subdomain(at.name)) << at.name;
    EXPECT_NE(at.name, "gatehouse-state");
    EXPECT_NE(at.name, kNames.certificate_secret(name + "x").name);
  }
  EXPECT_NE(kNames.certificate_secret("*.a.test").name, kNames.certificate_secret("-.a.test").name);
  EXPECT_LE(kNames.certificate_secret(std::string(250, 'a')).name.size(), 253u);
}

}  // namespace
}  // namespace gatehouse::store
