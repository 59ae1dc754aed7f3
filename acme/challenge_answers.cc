#include "acme/challenge_answers.h"

#include <utility>

#include "daemon/net/address.h"

namespace gatehouse::acme {
namespace {

/// RFC 1035 section 3.5 and RFC 3596 section 2.5, without a dot at the end.
std::string reverse_name(const net::IpAddress& address) {
  const auto bytes = address.bytes();
  std::string name;
  constexpr std::string_view kHex = "0123456789abcdef";
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
    const auto value = static_cast<unsigned char>(*byte);
    if (address.is_v6()) {
      name += {kHex[value & 0xf], '.', kHex[value >> 4], '.'};
    } else {
      name += std::to_string(value) + ".";
    }
  }
  return name + (address.is_v6() ? "ip6.arpa" : "in-addr.arpa");
}

}  // namespace

std::string_view to_string(ChallengeType type) {
  return type == ChallengeType::kHttp01 ? "http-01" : "tls-alpn-01";
}

Result<std::string> validation_server_name(const Identifier& identifier) {
  if (identifier.type != "ip") return identifier.value;
  auto address = net::IpAddress::parse(identifier.value);
  if (!address) return std::move(address).error().in("identifier");
  return reverse_name(*address);
}

Result<net::CredentialPtr> tls_alpn_credential(const Identifier& identifier,
                                               std::string_view key_authorization, WallTime now) {
  // A key of its own: the certificate's must not be seen before there is a certificate.
  auto key = net::PrivateKey::generate(net::KeyKind::kEcdsaP256);
  if (!key) return std::move(key).error().in("making the answer of tls-alpn-01");
  net::IssueRequest request;
  request.names = {identifier.value};
  request.not_before = now - 1h;
  request.not_after = now + std::chrono::hours(24 * 7);
  request.acme_identifier_digest = sha256(key_authorization);
  auto chain = net::issue_certificate(request, *key, net::CertificateChain(), *key);
  if (!chain) return std::move(chain).error().in("making the answer of tls-alpn-01");
  return net::make_credential("acme-tls/1 " + identifier.value, std::move(*chain), std::move(*key));
}

void ChallengeAnswers::put_http(const std::string& token, const std::string& key_authorization) {
  sink_.put_http(token, key_authorization);
  tokens_.push_back(token);
}

void ChallengeAnswers::put_tls_alpn(const std::string& server_name, net::CredentialPtr credential) {
  sink_.put_tls_alpn(server_name, std::move(credential));
  server_names_.push_back(server_name);
}

void ChallengeAnswers::clear() {
  for (const auto& token : std::exchange(tokens_, {})) sink_.remove_http(token);
  for (const auto& name : std::exchange(server_names_, {})) sink_.remove_tls_alpn(name);
}

}  // namespace gatehouse::acme
