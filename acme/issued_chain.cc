#include "acme/issued_chain.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <utility>

namespace gatehouse::acme {
namespace {

constexpr std::size_t kChainMax = 10;
constexpr auto kClockSkew = std::chrono::hours(24);

Result<void> check_links(const net::CertificateChain& chain) {
  for (std::size_t i = 0; i + 1 < chain.size(); ++i) {
    X509* issuer = chain.at(i + 1);
    const bool is_named = X509_check_issued(issuer, chain.at(i)) == X509_V_OK;
    const bool is_signed = is_named && X509_verify(chain.at(i), X509_get0_pubkey(issuer)) == 1;
    ERR_clear_error();
    if (is_signed) continue;
    return Error{Fault::kInvalid, "certificate " + std::to_string(i + 2) +
                                      " of the chain did not sign the one before it"};
  }
  return {};
}

}  // namespace

Result<net::CredentialPtr> check_issued_chain(std::string_view pem, const ExpectedChain& expected,
                                              WallTime now) {
  auto chain = net::CertificateChain::from_pem(pem);
  if (!chain) return Error{Fault::kCorrupt, std::move(chain).error().message};
  if (chain->empty()) return Error{Fault::kCorrupt, "no certificate in it"};
  if (chain->size() > kChainMax) return Error{Fault::kInvalid, "the chain is too long"};
  if (!chain->matches(expected.key))
    return Error{Fault::kInvalid, "the first certificate is not for our key"};
  auto facts = chain->facts();
  if (!facts) return Error{Fault::kInvalid, std::move(facts).error().message};
  for (const auto& name : expected.names) {
    if (!facts->covers(name)) return Error{Fault::kInvalid, "it does not cover " + name};
  }
  if (facts->not_after <= now) return Error{Fault::kInvalid, "it has expired already"};
  if (facts->not_before > now + kClockSkew)
    return Error{Fault::kInvalid, "it is not valid before tomorrow; is our clock right?"};
  if (facts->not_after <= facts->not_before)
    return Error{Fault::kInvalid, "it ends before it begins"};
  if (auto linked = check_links(*chain); !linked) return std::move(linked).error();
  auto credential = net::make_credential(expected.name, std::move(*chain), expected.key);
  if (!credential) return Error{Fault::kInvalid, std::move(credential).error().message};
  return std::move(*credential);
}

}  // namespace gatehouse::acme
