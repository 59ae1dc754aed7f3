#include "proxy/routing/certificate_table.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/fake_clock.h"

namespace gatehouse::proxy {
namespace {

/// A credential with facts only: nothing here looks at keys. Valid from `from` to `to`, as offsets
/// from the time at which a FakeClock begins.
net::CredentialPtr credential(std::string name, std::vector<std::string> names, std::string serial,
                              Duration from = -24h, Duration to = 24h) {
  const WallTime now = FakeClock{}.wall_now();
  auto made = std::make_shared<net::Credential>();
  made->name = std::move(name);
  made->facts.dns_names = std::move(names);
  made->facts.serial_hex = std::move(serial);
  made->facts.not_before = now + std::chrono::duration_cast<WallTime::duration>(from);
  made->facts.not_after = now + std::chrono::duration_cast<WallTime::duration>(to);
  return made;
}

net::CredentialPtr temporary(std::string name, std::vector<std::string> names) {
  auto made = std::make_shared<net::Credential>(*credential(std::move(name), names, "00"));
  made->is_temporary = true;
  return made;
}

std::string serial_of(const net::CredentialPtr& found) {
  return found ? found->facts.serial_hex : "none";
}

class CertificateTableTest : public testing::Test {
 protected:
  std::string serial_for(const CertificateTable& table, std::string_view host) const {
    return serial_of(table.find(host, clock_.wall_now()));
  }
  FakeClock clock_;
};

TEST_F(CertificateTableTest, FindsByExactHostThenWildcard) {
  const auto table =
      CertificateTable::build({{"a.shop.example", "one"}, {"*.shop.example", "two"}},
                              {credential("one", {}, "01"), credential("two", {}, "02")});
  EXPECT_EQ(serial_for(*table, "a.shop.example"), "01");
  EXPECT_EQ(serial_for(*table, "b.shop.example"), "02");
  EXPECT_EQ(serial_for(*table, "a.b.shop.example"), "none");
  EXPECT_EQ(serial_for(*table, "other.example"), "none");
}

TEST_F(CertificateTableTest, ManyHostsMayShareACertificate) {
  const auto table = CertificateTable::build({{"a.example", "c"}, {"b.example", "c"}})
                         ->with(credential("c", {}, "01"));
  EXPECT_EQ(serial_for(*table, "a.example"), "01");
  EXPECT_EQ(serial_for(*table, "b.example"), "01");
}

TEST_F(CertificateTableTest, AHostWhoseCertificateIsNotThereYetHasNone) {
  const auto table = CertificateTable::build({{"a.example", "c"}});
  EXPECT_EQ(serial_for(*table, "a.example"), "none");
}

TEST_F(CertificateTableTest, AnUnknownNameIsServedByTheAsterisksCertificateOnlyIfThatCoversIt) {
  const auto table = CertificateTable::build(
      {{"a.example", "a"}, {"*", "all"}},
      {credential("a", {"a.example"}, "01"), credential("all", {"m.example"}, "02")});
  EXPECT_EQ(serial_for(*table, "m.example"), "02");
  EXPECT_EQ(serial_for(*table, "unknown.example"), "none");
  EXPECT_EQ(serial_of(table->find_fallback(clock_.wall_now())), "02");
}

TEST_F(CertificateTableTest, DerivingLeavesTheOldTableAsItWas) {
  const auto before = CertificateTable::build({{"a.example", "c"}}, {credential("c", {}, "01")});
  const auto after = before->with(credential("c", {}, "02"));
  EXPECT_EQ(serial_for(*before, "a.example"), "01");
  EXPECT_EQ(serial_for(*after, "a.example"), "02");
}

TEST_F(CertificateTableTest, ARealCertificateReplacesTheTemporaryOneAndNotTheReverse) {
  auto table = CertificateTable::build({{"a.example", "c"}}, {temporary("c", {"a.example"})});
  EXPECT_EQ(serial_for(*table, "a.example"), "00");
  table = table->with(credential("c", {"a.example"}, "01"));
  EXPECT_EQ(serial_for(*table, "a.example"), "01");
  table = table->with(temporary("c", {"a.example"}));
  EXPECT_EQ(serial_for(*table, "a.example"), "01");
}

TEST_F(CertificateTableTest, ServesTheOldOneUntilTheNewOneIsValid) {
  const auto table = CertificateTable::build(
      {{"a.example", "c"}}, {credential("c", {}, "01"), credential("c", {}, "02", 1h, 48h)});
  EXPECT_EQ(serial_for(*table, "a.example"), "01");
  clock_.advance(1h);
  EXPECT_EQ(serial_for(*table, "a.example"), "02");
}

TEST_F(CertificateTableTest, ServesTheNewestWhenNoneIsValid) {
  const auto table = CertificateTable::build(
      {{"a.example", "c"}}, {credential("c", {}, "01"), credential("c", {}, "02")});
  clock_.advance(1000h);
  EXPECT_EQ(serial_for(*table, "a.example"), "02");
}

TEST_F(CertificateTableTest, WithoutForgetsACertificate) {
  const auto table = CertificateTable::build(
      {{"a.example", "a"}, {"b.example", "b"}},
      {credential("a", {}, "01"), credential("a", {}, "02"), credential("b", {}, "03")});
  const auto after = table->without("a")->without("never there");
  EXPECT_EQ(serial_for(*after, "a.example"), "none");
  EXPECT_EQ(serial_for(*after, "b.example"), "03");
}

TEST_F(CertificateTableTest, IgnoresACredentialThatNoHostUses) {
  const auto table = CertificateTable::build({{"a.example", "a"}});
  const auto after = table->with({credential("b", {"a.example"}, "01")});
  EXPECT_EQ(serial_for(*after, "a.example"), "none");
  EXPECT_EQ(after->find_certificate("b", clock_.wall_now()), nullptr);
}

TEST_F(CertificateTableTest, FindsByTheCertificatesName) {
  const auto table = CertificateTable::build({{"a.example", "a"}}, {credential("a", {}, "01")});
  EXPECT_EQ(serial_of(table->find_certificate("a", clock_.wall_now())), "01");
}

TEST_F(CertificateTableTest, ACertificateCoversTheAuthoritiesOfItsNames) {
  const auto shared = credential("c", {"a.example", "*.b.example"}, "01");
  EXPECT_TRUE(covers(*shared, "a.example", "a.example:8443"));
  EXPECT_TRUE(covers(*shared, "a.example", "x.b.example"));
  EXPECT_FALSE(covers(*shared, "a.example", "c.example"));
  EXPECT_FALSE(covers(*shared, "", ""));
}

TEST_F(CertificateTableTest, TheNameThatTheClientAskedForIsAlwaysCovered) {
  const auto foreign = credential("from-file", {"other.example"}, "01");
  EXPECT_TRUE(covers(*foreign, "a.example", "a.example"));
  EXPECT_FALSE(covers(*foreign, "a.example", "b.example"));
}

class CertificateChooserTest : public CertificateTableTest {
 protected:
  std::string choose(std::string_view server_name, bool offers_acme = false) {
    return serial_of(chooser_.choose({server_name, offers_acme, nullptr}));
  }
  void use(const std::vector<HostCertificate>& hosts) {
    std::vector<net::CredentialPtr> credentials;
    for (const auto& entry : hosts)
      credentials.push_back(credential(entry.certificate, {entry.host}, entry.certificate));
    chooser_.use(CertificateTable::build(hosts, credentials));
  }
  ChallengeTable challenges_;
  std::string local_ = "192.0.2.1";
  CertificateChooser chooser_{clock_, challenges_, [this](const SSL*) { return local_; }};
};

TEST_F(CertificateChooserTest, HasNothingBeforeTheFirstTable) {
  EXPECT_EQ(choose("a.example"), "none");
  EXPECT_EQ(choose(""), "none");
}

TEST_F(CertificateChooserTest, ChoosesBySni) {
  use({{"a.example", "a"}, {"b.example", "b"}});
  EXPECT_EQ(choose("a.example"), "a");
  EXPECT_EQ(choose("b.example"), "b");
}

TEST_F(CertificateChooserTest, RefusesAnUnknownName) {
  use({{"a.example", "a"}, {"*", "all"}, {"192.0.2.1", "ip"}});
  EXPECT_EQ(choose("unknown.example"), "none");
}

TEST_F(CertificateChooserTest, WithoutSniTakesTheHostThatIsTheLocalAddress) {
  use({{"192.0.2.1", "ip"}, {"2001:db8::1", "ip6"}, {"*", "all"}});
  EXPECT_EQ(choose(""), "ip");
  local_ = "2001:db8::1";
  EXPECT_EQ(choose(""), "ip6");
}

TEST_F(CertificateChooserTest, WithoutSniTakesTheAsteriskNext) {
  use({{"192.0.2.9", "ip"}, {"*", "all"}});
  EXPECT_EQ(choose(""), "all");
  local_ = "";
  EXPECT_EQ(choose(""), "all");
}

TEST_F(CertificateChooserTest, WithoutSniRefusesWhenNothingFits) {
  use({{"a.example", "a"}, {"192.0.2.9", "ip"}});
  EXPECT_EQ(choose(""), "none");
}

TEST_F(CertificateChooserTest, AnAcmeHandshakeGetsOnlyAChallengesCertificate) {
  use({{"a.example", "a"}, {"b.example", "b"}, {"*", "all"}});
  challenges_.put_tls_alpn("a.example", credential("challenge", {"a.example"}, "challenge"));
  EXPECT_EQ(choose("a.example", true), "challenge");
  EXPECT_EQ(choose("b.example", true), "none");
  EXPECT_EQ(choose("", true), "none");
}

TEST_F(CertificateChooserTest, OthersNeverGetAChallengesCertificate) {
  use({{"a.example", "a"}});
  challenges_.put_tls_alpn("a.example", credential("challenge", {"a.example"}, "challenge"));
  challenges_.put_tls_alpn("c.example", credential("challenge", {"c.example"}, "challenge"));
  EXPECT_EQ(choose("a.example"), "a");
  EXPECT_EQ(choose("c.example"), "none");
}

TEST_F(CertificateChooserTest, TheVhostOfTheNameSaysWhatItsTlsIs) {
  auto options = std::make_shared<Options>();
  options->tls_policies.emplace_back().profile = TlsProfile::kModern;
  for (const char* host : {"modern.example", "192.0.2.1", "early.example", "plain.example"}) {
    Vhost& vhost = options->vhosts.emplace_back();
    vhost.hosts = {host};
    vhost.routes.emplace_back().respond = RespondAction{};
  }
  options->vhosts[0].tls_policy = options->vhosts[1].tls_policy = 0;
  options->vhosts[2].routes[0].allows_early_data = true;
  chooser_.use(*Router::compile(options));
  const auto rules = [&](std::string_view name, bool offers_acme = false) {
    return chooser_.rules_for({name, offers_acme, nullptr});
  };
  EXPECT_NE(rules("modern.example").policy, nullptr);
  EXPECT_EQ(rules("").policy, rules("modern.example").policy);  // By the local address.
  EXPECT_FALSE(rules("modern.example").allows_early_data);
  EXPECT_TRUE(rules("early.example").allows_early_data);
  for (const char* name : {"early.example", "plain.example", "unknown.example"})
    EXPECT_EQ(rules(name).policy, nullptr) << name;
  EXPECT_EQ(rules("modern.example", true).policy, nullptr);  // A CA's check has no certificate.
}

TEST_F(CertificateChooserTest, ANewTableCountsFromTheNextHandshake) {
  use({{"a.example", "a"}});
  chooser_.use(chooser_.table()->with(credential("a", {"a.example"}, "renewed")));
  EXPECT_EQ(choose("a.example"), "renewed");
}

}  // namespace
}  // namespace gatehouse::proxy
