#include "acme/internal_ca.h"

#include <algorithm>
#include <utility>

#include "daemon/base/log.h"
#include "daemon/base/text.h"
#include "daemon/net/job_thread.h"

namespace gatehouse::acme {
namespace {

using boost::asio::awaitable;

constexpr auto kRootLife = std::chrono::hours(24 * 3652);  // ten years
// Seven days, renewed at half of that: short enough to do without revocation, long enough for a
// machine that is off over a long weekend, and below the limit of every client.
constexpr auto kLeafLife = std::chrono::hours(24 * 7);
constexpr auto kBackdated = std::chrono::hours(1);  // Clients whose clock is a little behind.
constexpr std::size_t kCommonNameBytesMax = 64;     // RFC 5280, ub-common-name

net::KeyKind key_kind(KeyType type) {
  switch (type) {
    case KeyType::kEcdsaP256: return net::KeyKind::kEcdsaP256;
    case KeyType::kEcdsaP384: return net::KeyKind::kEcdsaP384;
    case KeyType::kRsa2048: return net::KeyKind::kRsa2048;
    case KeyType::kRsa3072: return net::KeyKind::kRsa3072;
    case KeyType::kRsa4096: return net::KeyKind::kRsa4096;
  }
  return net::KeyKind::kEcdsaP256;
}

std::string common_name(const std::string& host) {
  std::string name = "Gatehouse internal CA " + host;
  if (name.size() <= kCommonNameBytesMax) return name;
  name.resize(kCommonNameBytesMax);
  while (!name.empty() && !is_utf8(name)) name.pop_back();
  return name;
}

AttemptFailure failure_of(Error error) {
  AttemptFailure failure;
  // A name that cannot be in a certificate needs a person; a full disk heals.
  if (error.fault == Fault::kInvalid) failure.reaction = Reaction::kPersistent;
  failure.error = std::move(error);
  return failure;
}

}  // namespace

Result<store::Root> InternalCa::make_root(WallTime now) const {
  auto key = net::PrivateKey::generate(net::KeyKind::kEcdsaP256);
  if (!key) return std::move(key).error();
  net::IssueRequest request;
  request.common_name = common_name(host_);
  request.not_before = now - kBackdated;
  request.not_after = now + kRootLife;
  request.is_ca = true;
  auto chain = net::issue_certificate(request, *key, {}, {});
  if (!chain) return std::move(chain).error();
  auto pem = key->to_pem();
  if (!pem) return std::move(pem).error();
  return store::Root{name_, chain->to_pem(), std::move(*pem)};
}

Result<InternalCa::Signer> InternalCa::read_root(const store::Root& root) {
  auto chain = net::CertificateChain::from_pem(root.chain_pem);
  if (!chain) return std::move(chain).error();
  auto key = net::PrivateKey::from_pem(root.key_pem);
  if (!key) return std::move(key).error();
  if (!chain->matches(*key)) return Error{Fault::kCorrupt, "key and certificate do not match"};
  auto facts = chain->facts();
  if (!facts) return std::move(facts).error();
  return Signer{std::move(*chain), std::move(*key), facts->not_after};
}

/// The root that the store has; made, and kept before it signs anything, when it has none.
awaitable<Result<InternalCa::Signer>> InternalCa::signer() {
  if (signer_) co_return *signer_;
  auto make = [this, now = parts_.clock.wall_now()] { return make_root(now); };
  auto made = co_await parts_.compute.run(std::move(make));
  if (!made) co_return std::move(made).error().in("making the root of the internal CA");
  const std::string fresh = made->chain_pem;
  auto kept = co_await parts_.certificates.keep_root(std::move(*made));
  if (!kept) co_return std::move(kept).error().in("keeping the root of the internal CA");
  auto read = read_root(*kept);
  if (!read) co_return std::move(read).error().in("reading the root of the internal CA");
  signer_ = *read;
  if (kept->chain_pem == fresh)
    log(Level::kInfo, "internal_ca.root_made")
        .with("ca", name_)
        .with("not_after", format_rfc3339(read->not_after));
  co_return read;
}

awaitable<Result<net::CredentialPtr>> InternalCa::sign(ManagedCertificate wanted, Signer with) {
  net::IssueRequest request;
  request.names = wanted.names;
  const WallTime now = parts_.clock.wall_now();
  request.not_before = now - kBackdated;
  request.not_after = std::min<WallTime>(now + kLeafLife, with.not_after);
  auto job = [wanted = std::move(wanted), with = std::move(with),
              request = std::move(request)]() -> Result<net::CredentialPtr> {
    auto key = net::PrivateKey::generate(key_kind(wanted.key));
    if (!key) return std::move(key).error();
    auto chain = net::issue_certificate(request, *key, with.chain, with.key);
    if (!chain) return std::move(chain).error();
    return net::make_credential(wanted.name, std::move(*chain), std::move(*key));
  };
  co_return co_await parts_.compute.run(std::move(job));
}

awaitable<AttemptResult> InternalCa::issue(IssueTask task) {
  if (task.on_step) task.on_step("signing");
  auto with = co_await signer();
  if (!with) co_return failure_of(std::move(with).error());
  if (with->not_after <= parts_.clock.wall_now()) {
    Error over{Fault::kInvalid, "the root of the internal CA ended " +
                                    format_rfc3339(with->not_after) +
                                    "; name a new internal issuer, and give clients its root"};
    co_return failure_of(std::move(over));
  }
  auto signed_one = co_await sign(std::move(task.certificate), std::move(*with));
  if (!signed_one)
    co_return failure_of(std::move(signed_one).error().in("signing by the internal CA"));
  co_return std::move(*signed_one);
}

awaitable<Result<AriAnswer>> InternalCa::renewal_info(std::string) {
  Error none{Fault::kUnsupported, "the internal CA has no renewal information"};
  co_return none;
}

awaitable<Result<std::string>> InternalCa::root_pem() {
  auto with = co_await signer();
  if (!with) co_return std::move(with).error();
  co_return with->chain.to_pem();
}

}  // namespace gatehouse::acme
