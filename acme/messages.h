#pragma once
// The objects of ACME (RFC 8555 section 7.1, RFC 9773, draft-ietf-acme-profiles) as types, parsed
// once at the edge: a field that must be there and is not, has another type, an unknown status or
// an unusable URL is an error that names its path. Unknown fields are ignored. Pure.
//
// What is checked here need not be checked below: URLs are https and printable, tokens are of
// base64url's alphabet, lists are bounded.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "acme/problem.h"
#include "daemon/base/clock.h"
#include "daemon/base/error.h"

namespace gatehouse::acme {

struct Directory {
  std::string new_nonce, new_account, new_order;
  std::string revoke_cert, key_change;  // empty when the CA has none
  std::string renewal_info;             // empty: no ARI
  std::string terms_of_service;         // meta
  bool needs_external_account = false;
  std::map<std::string, std::string> profiles;  // name to what the CA says about it
};

struct AccountAnswer {
  std::string status;  // "valid", "deactivated", "revoked"
  std::vector<std::string> contacts;
};

/// RFC 8555 section 7.1.6.
enum class OrderStatus : std::uint8_t { kPending, kReady, kProcessing, kValid, kInvalid };
std::string_view to_string(OrderStatus status);

struct OrderAnswer {
  OrderStatus status = OrderStatus::kPending;
  std::vector<Identifier> identifiers;
  std::vector<std::string> authorizations;  // URLs
  std::string finalize;
  std::string certificate;  // empty until status is valid
  std::string replaces;     // echoed when the CA took it
  std::optional<WallTime> expires;
  std::optional<Problem> error;
};

enum class ChallengeStatus : std::uint8_t { kPending, kProcessing, kValid, kInvalid };

struct Challenge {
  std::string type;  // "http-01"; types that we do not know stay in the list
  std::string url;
  std::string token;  // [A-Za-z0-9_-]{1,128}; empty for types that have none
  ChallengeStatus status = ChallengeStatus::kPending;
  std::optional<Problem> error;
};

enum class AuthorizationStatus : std::uint8_t {
  kPending,
  kValid,
  kInvalid,
  kDeactivated,
  kExpired,
  kRevoked
};
std::string_view to_string(AuthorizationStatus status);

struct Authorization {
  AuthorizationStatus status = AuthorizationStatus::kPending;
  Identifier identifier;  // a wildcard's without "*."
  bool is_wildcard = false;
  std::optional<WallTime> expires;
  std::vector<Challenge> challenges;

  const Challenge* find(std::string_view type) const;
};

struct RenewalWindow {
  WallTime start{}, end{};
  std::string explanation_url;
};

Result<Directory> parse_directory(std::string_view body);
Result<AccountAnswer> parse_account(std::string_view body);
Result<OrderAnswer> parse_order(std::string_view body, WallTime now);
Result<Authorization> parse_authorization(std::string_view body, WallTime now);
Result<Challenge> parse_challenge(std::string_view body, WallTime now);
/// RFC 9773 section 4.2: a window that ends before it starts is an error.
Result<RenewalWindow> parse_renewal_info(std::string_view body);

/// The payload of newAccount. The terms are always agreed to: running Gatehouse accepts them.
/// `external_account_binding`: the JSON of sign_external_account(), or nothing.
std::string new_account_payload(std::string_view email,
                                std::string_view external_account_binding = {});
/// The payload of newAccount that finds an account and makes none.
std::string find_account_payload();
/// The payload that changes the contact of an existing account.
std::string contact_payload(std::string_view email);

struct NewOrder {
  std::vector<Identifier> identifiers;
  std::string profile;   // empty: not sent
  std::string replaces;  // empty: not sent
};
std::string new_order_payload(const NewOrder& order);
std::string finalize_payload(std::string_view csr_der);

/// "192.0.2.1" is of type ip (RFC 8738), everything else of type dns.
Identifier identifier_of(std::string_view name);

}  // namespace gatehouse::acme
