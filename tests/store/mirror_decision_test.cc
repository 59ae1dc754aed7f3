#include "store/mirror_decision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/certificates.h"

namespace gatehouse::store {
namespace {

using ::testing::HasSubstr;
using Action = MirrorDecision::Action;

struct MirrorDecisionTest : ::testing::Test {
  MirrorDecisionTest() {
    target.secret = {"ns", "shop"};
    target.certificate = "shop";
    target.names = {"www.shop.example"};
    credential = net::testing::issue(authority, {"www.shop.example"});
    wanted = *wanted_secret(target, {credential, "le", ""}, "node-1");
    now = credential->facts.not_before + 1h;
  }
  /// What a server has after we wrote it.
  Secret ours() const {
    Secret there = wanted;
    there.resource_version = "7";
    there.uid = "u";
    there.data_managers = {"gatehouse"};
    return there;
  }
  MirrorDecision with(const std::optional<Secret>& found) const {
    return decide(target, wanted, *credential, found, past, now);
  }

  net::testing::Authority authority = net::testing::make_authority();
  MirrorTarget target;
  net::CredentialPtr credential;
  Secret wanted;
  MirrorPast past;
  WallTime now;
};

TEST_F(MirrorDecisionTest, WritesWhatIsNotThereAndLeavesWhatIsRight) {
  EXPECT_EQ(with(std::nullopt).action, Action::kWrite);
  EXPECT_EQ(with(ours()).action, Action::kNothing);
}

TEST_F(MirrorDecisionTest, DoesNotMindWhichNodeWroteIt) {
  Secret there = ours();
  there.annotations["gatehouse/node"] = "node-2";
  there.labels["somebody"] = "else";
  EXPECT_EQ(with(there).action, Action::kNothing);
}

TEST_F(MirrorDecisionTest, LeavesForeignSecretsAndNamesTheirOwner) {
  Secret there = ours();
  there.labels.clear();
  there.data_managers = {"helm", "kubectl-edit"};
  EXPECT_EQ(with(there).action, Action::kLeave);
  EXPECT_EQ(with(there).owner, "helm, kubectl-edit");
  EXPECT_FALSE(with(there).is_fight);
}

TEST_F(MirrorDecisionTest, AdoptsOnce) {
  target.adopts = true;
  Secret there = ours();
  there.labels.clear();
  there.data["tls.crt"] = "theirs";
  there.data_managers = {"helm"};
  EXPECT_EQ(with(there).action, Action::kAdopt);
  past.has_adopted = true;
  EXPECT_EQ(with(there).action, Action::kLeave);
}

TEST_F(MirrorDecisionTest, NeverTouchesWhatCertManagerKeeps) {
  target.adopts = true;
  past.was_ours = true;
  Secret there = ours();
  there.annotations["cert-manager.io/certificate-name"] = "shop-tls";
  EXPECT_EQ(with(there).action, Action::kLeave);
  EXPECT_EQ(with(there).owner, "cert-manager (Certificate shop-tls)");
  there = ours();
  there.labels["controller.cert-manager.io/fao"] = "true";
  EXPECT_EQ(with(there).action, Action::kLeave);
}

TEST_F(MirrorDecisionTest, LeavesWhatTheServerWouldNotLetItChange) {
  target.adopts = true;
  Secret there = ours();
  there.type = "Opaque";
  EXPECT_THAT(with(there).reason, HasSubstr("type Opaque"));
  there = ours();
  there.is_immutable = true;
  EXPECT_EQ(with(there).action, Action::kNothing) << "nothing is to be changed";
  there.data["tls.crt"] = "old";
  EXPECT_THAT(with(there).reason, HasSubstr("immutable"));
}

TEST_F(MirrorDecisionTest, RepairsOnceWhatWasWrittenOver) {
  Secret there = ours();
  there.data["tls.crt"] = "theirs";
  there.data_managers = {"gatehouse", "kubectl-edit"};
  EXPECT_EQ(with(there).action, Action::kRepair);
  EXPECT_EQ(with(there).owner, "kubectl-edit");
  past.overwrites = 1;
  EXPECT_EQ(with(there).action, Action::kLeave);
  EXPECT_TRUE(with(there).is_fight);
}

TEST_F(MirrorDecisionTest, CountsALostLabelAsWrittenOverWhenItWasOurs) {
  Secret there = ours();
  there.labels.clear();
  past.was_ours = true;
  EXPECT_EQ(with(there).action, Action::kRepair);
}

TEST_F(MirrorDecisionTest, TheNewestCertificateOfAnyNodeWins) {
  net::IssueRequest request = net::testing::valid_now({"www.shop.example"});
  request.not_before = credential->facts.not_before + 30min;
  const auto key = net::testing::make_key();
  auto chain = net::issue_certificate(request, key, authority.root, authority.key);
  ASSERT_TRUE(chain);
  const net::CredentialPtr newer = *net::make_credential("shop", *chain, key);
  Secret there = *wanted_secret(target, {newer, "le", ""}, "node-2");
  there.data_managers = {"gatehouse"};
  EXPECT_EQ(with(there).action, Action::kTakeOurs);
  now = newer->facts.not_before - 5min;
  EXPECT_EQ(with(there).action, Action::kTakeOurs) << "our clock is behind";
  // Ours is the newer one now.
  EXPECT_EQ(decide(target, there, *newer, ours(), past, now).action, Action::kWrite);
  there.data["tls.key"] = *credential->key.to_pem();
  EXPECT_EQ(with(there).action, Action::kWrite) << "not usable: it does not count";
}

TEST_F(MirrorDecisionTest, ChecksACertificateBeforeItIsWritten) {
  EXPECT_EQ(unfit(target, *credential, now), "");
  EXPECT_THAT(unfit(target, *credential, credential->facts.not_after), HasSubstr("expired"));
  EXPECT_THAT(unfit(target, *credential, credential->facts.not_before - 1h),
              HasSubstr("not valid before"));
  target.names.push_back("other.example");
  EXPECT_THAT(unfit(target, *credential, now), HasSubstr("does not cover other.example"));
}

TEST_F(MirrorDecisionTest, GivesALeafFirstAndARootOnlyWhenAsked) {
  EXPECT_EQ(wanted.find("ca.crt"), nullptr);
  EXPECT_EQ(*wanted.find("tls.crt"), credential->chain.to_pem());
  const auto with_root = wanted_secret(target, {credential, "local", "PEM"}, "node-1");
  EXPECT_EQ(*with_root->find("ca.crt"), "PEM");
  EXPECT_TRUE(is_of_gatehouse(ours()));
}

TEST_F(MirrorDecisionTest, ReadsAPairAndSaysWhatIsWrongWithOne) {
  EXPECT_TRUE(credential_in(wanted, "shop"));
  Secret broken = wanted;
  broken.data.erase("tls.key");
  EXPECT_THAT(credential_in(broken, "shop").error().message, HasSubstr("has no tls.key"));
  broken = wanted;
  broken.data["tls.crt"] = "garbage";
  EXPECT_THAT(credential_in(broken, "shop").error().message, HasSubstr("Secret ns/shop: tls.crt"));
}

}  // namespace
}  // namespace gatehouse::store
