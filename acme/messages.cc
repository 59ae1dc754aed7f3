#include "acme/messages.h"

#include <algorithm>
#include <array>
#include <utility>

#include "daemon/base/json.h"
#include "daemon/base/text.h"
#include "daemon/net/address.h"

namespace gatehouse::acme {
namespace {

constexpr JsonLimits kLimits{.bytes = 256 * 1024, .depth = 16};
constexpr std::size_t kListMax = 1000;  // Identifiers, authorizations; no CA allows more names.
constexpr std::size_t kUrlBytesMax = 2048, kTokenBytesMax = 128;

template <class Enum>
struct Word {
  std::string_view text;
  Enum value;
};
template <class Enum>  // clang 14 does not deduce aggregates.
Word(const char*, Enum)->Word<Enum>;

constexpr std::array kOrderWords{
    Word{"pending", OrderStatus::kPending}, Word{"ready", OrderStatus::kReady},
    Word{"processing", OrderStatus::kProcessing}, Word{"valid", OrderStatus::kValid},
    Word{"invalid", OrderStatus::kInvalid}};

constexpr std::array kChallengeWords{
    Word{"pending", ChallengeStatus::kPending}, Word{"processing", ChallengeStatus::kProcessing},
    Word{"valid", ChallengeStatus::kValid}, Word{"invalid", ChallengeStatus::kInvalid}};

constexpr std::array kAuthorizationWords{Word{"pending", AuthorizationStatus::kPending},
                                         Word{"valid", AuthorizationStatus::kValid},
                                         Word{"invalid", AuthorizationStatus::kInvalid},
                                         Word{"deactivated", AuthorizationStatus::kDeactivated},
                                         Word{"expired", AuthorizationStatus::kExpired},
                                         Word{"revoked", AuthorizationStatus::kRevoked}};

template <class Words>
auto status_of(JsonReader& reader, const Words& words) {
  const auto text = reader.string("status");
  for (const auto& word : words) {
    if (word.text == text) return word.value;
  }
  if (!text.empty()) reader.fail("status", "unknown status \"" + printable(text, 40) + "\"");
  return words[0].value;
}

template <class Words, class Enum>
std::string_view word_of(const Words& words, Enum value) {
  for (const auto& word : words) {
    if (word.value == value) return word.text;
  }
  return "unknown";
}

/// RFC 8555 section 6.1: everything is https. Printable, so that it fits a request line and a log.
bool is_url(std::string_view text) {
  return text.starts_with("https://") && text.size() > 8 && text.size() <= kUrlBytesMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

std::string checked_url(JsonReader& reader, std::string_view key, std::string text) {
  if (is_url(text)) return text;
  reader.fail(key, "expected an https URL");
  return "";
}

std::string url(JsonReader& reader, std::string_view key) {
  return checked_url(reader, key, reader.string(key));
}

std::string url_or_none(JsonReader& reader, std::string_view key) {
  auto text = reader.string_or(key, "");
  return text.empty() ? text : checked_url(reader, key, std::move(text));
}

std::optional<WallTime> time_or_none(JsonReader& reader, std::string_view key) {
  const auto text = reader.string_or(key, "");
  if (text.empty()) return std::nullopt;
  const auto time = parse_rfc3339(text);
  if (!time) reader.fail(key, "expected a date and time as of RFC 3339");
  return time;
}

/// RFC 8555 section 8.3: the token goes into a path and must hold nothing else than base64url.
std::string token_of(JsonReader& reader) {
  auto token = reader.string_or("token", "");
  const bool is_good =
      token.size() <= kTokenBytesMax && std::all_of(token.begin(), token.end(), [](char c) {
        return is_digit(c) || is_alpha(c) || c == '-' || c == '_';
      });
  if (is_good) return token;
  reader.fail("token", "expected at most 128 characters of base64url");
  return "";
}

Identifier identifier_in(JsonReader& reader) {
  Identifier identifier;
  identifier.type = printable(reader.string("type"), 32);
  identifier.value = printable(reader.string("value"), 256);
  return identifier;
}

/// The member `error` of an object that was read already.
std::optional<Problem> problem_in(const boost::json::value& value, WallTime now) {
  const auto* object = value.if_object();
  const auto* error = object ? object->if_contains("error") : nullptr;
  if (!error || !error->is_object()) return std::nullopt;
  return parse_problem(*error, now);
}

Challenge read_challenge(JsonReader& reader) {
  Challenge challenge;
  challenge.type = printable(reader.string("type"), 64);
  challenge.url = url(reader, "url");
  challenge.status = status_of(reader, kChallengeWords);
  challenge.token = token_of(reader);
  const bool needs_token = challenge.type == "http-01" || challenge.type == "tls-alpn-01";
  if (needs_token && challenge.token.empty()) reader.fail("token", "expected a token");
  return challenge;
}

boost::json::array contacts_of(std::string_view email) {
  boost::json::array contacts;
  if (!email.empty()) contacts.emplace_back("mailto:" + std::string(email));
  return contacts;
}

}  // namespace

std::string_view to_string(OrderStatus status) { return word_of(kOrderWords, status); }
std::string_view to_string(AuthorizationStatus status) {
  return word_of(kAuthorizationWords, status);
}

const Challenge* Authorization::find(std::string_view type) const {
  const auto found =
      std::find_if(challenges.begin(), challenges.end(),
                   [type](const Challenge& challenge) { return challenge.type == type; });
  return found == challenges.end() ? nullptr : &*found;
}

Result<Directory> parse_directory(std::string_view body) {
  auto value = parse_json(body, kLimits);
  if (!value) return std::move(value).error().in("directory");
  JsonReader reader(*value, "directory");
  Directory directory;
  directory.new_nonce = url(reader, "newNonce");
  directory.new_account = url(reader, "newAccount");
  directory.new_order = url(reader, "newOrder");
  directory.revoke_cert = url_or_none(reader, "revokeCert");
  directory.key_change = url_or_none(reader, "keyChange");
  directory.renewal_info = url_or_none(reader, "renewalInfo");
  while (directory.renewal_info.ends_with('/')) directory.renewal_info.pop_back();
  if (reader.has("meta")) {
    JsonReader meta = reader.object("meta");
    directory.terms_of_service = printable(meta.string_or("termsOfService", ""), kUrlBytesMax);
    directory.needs_external_account = meta.boolean_or("externalAccountRequired", false);
    meta.each_string("profiles", [&](std::string_view name, std::string_view about) {
      directory.profiles.emplace(printable(name, 64), printable(about, 256));
    });
  }
  if (auto error = reader.error()) return std::move(*error);
  return directory;
}

Result<AccountAnswer> parse_account(std::string_view body) {
  auto value = parse_json(body, kLimits);
  if (!value) return std::move(value).error().in("account");
  JsonReader reader(*value, "account");
  AccountAnswer account;
  account.status = printable(reader.string("status"), 64);
  account.contacts = reader.strings_or_none("contact");
  if (auto error = reader.error()) return std::move(*error);
  return account;
}

Result<OrderAnswer> parse_order(std::string_view body, WallTime now) {
  auto value = parse_json(body, kLimits);
  if (!value) return std::move(value).error().in("order");
  JsonReader reader(*value, "order");
  OrderAnswer order;
  order.status = status_of(reader, kOrderWords);
  order.expires = time_or_none(reader, "expires");
  reader.each("identifiers",
              [&](JsonReader& one) { order.identifiers.push_back(identifier_in(one)); });
  for (auto& text : reader.strings("authorizations"))
    order.authorizations.push_back(checked_url(reader, "authorizations", std::move(text)));
  order.finalize = url(reader, "finalize");
  order.certificate = url_or_none(reader, "certificate");
  order.replaces = printable(reader.string_or("replaces", ""), 256);
  order.error = problem_in(*value, now);
  if (order.status == OrderStatus::kValid && order.certificate.empty())
    reader.fail("certificate", "a valid order must have one");
  if (order.authorizations.size() > kListMax) reader.fail("authorizations", "too many");
  if (order.identifiers.size() > kListMax) reader.fail("identifiers", "too many");
  if (order.identifiers.empty()) reader.fail("identifiers", "expected at least one");
  if (auto error = reader.error()) return std::move(*error);
  return order;
}

Result<Authorization> parse_authorization(std::string_view body, WallTime now) {
  auto value = parse_json(body, kLimits);
  if (!value) return std::move(value).error().in("authorization");
  JsonReader reader(*value, "authorization");
  Authorization authorization;
  authorization.status = status_of(reader, kAuthorizationWords);
  {
    JsonReader identifier = reader.object("identifier");
    authorization.identifier = identifier_in(identifier);
  }
  authorization.is_wildcard = reader.boolean_or("wildcard", false);
  authorization.expires = time_or_none(reader, "expires");
  reader.each("challenges",
              [&](JsonReader& one) { authorization.challenges.push_back(read_challenge(one)); });
  if (auto error = reader.error()) return std::move(*error);
  // Read without fault, so the array is there and holds one object for each challenge.
  if (const auto* list = value->get_object().if_contains("challenges"); list && list->is_array()) {
    std::size_t index = 0;
    for (const auto& one : list->get_array()) {
      if (index == authorization.challenges.size()) break;
      authorization.challenges[index++].error = problem_in(one, now);
    }
  }
  return authorization;
}

Result<Challenge> parse_challenge(std::string_view body, WallTime now) {
  auto value = parse_json(body, kLimits);
  if (!value) return std::move(value).error().in("challenge");
  JsonReader reader(*value, "challenge");
  Challenge challenge = read_challenge(reader);
  if (auto error = reader.error()) return std::move(*error);
  challenge.error = problem_in(*value, now);
  return challenge;
}

Result<RenewalWindow> parse_renewal_info(std::string_view body) {
  auto value = parse_json(body, kLimits);
  if (!value) return std::move(value).error().in("renewal information");
  JsonReader reader(*value, "renewalInfo");
  RenewalWindow window;
  {
    JsonReader suggested = reader.object("suggestedWindow");
    for (const auto& [key, time] :
         {std::pair{"start", &window.start}, std::pair{"end", &window.end}}) {
      const auto text = suggested.string(key);
      const auto parsed = parse_rfc3339(text);
      if (parsed) *time = *parsed;
      if (!parsed) suggested.fail(key, "expected a date and time as of RFC 3339");
    }
    if (window.end <= window.start) suggested.fail("end", "the window ends before it starts");
  }
  window.explanation_url = printable(reader.string_or("explanationURL", ""), kUrlBytesMax);
  if (auto error = reader.error()) return std::move(*error);
  return window;
}

std::string new_account_payload(std::string_view email, std::string_view external_account_binding) {
  boost::json::object payload;
  payload["termsOfServiceAgreed"] = true;
  if (!email.empty()) payload["contact"] = contacts_of(email);
  std::string text = to_text(payload);
  if (external_account_binding.empty()) return text;
  text.pop_back();
  return text.append(R"(,"externalAccountBinding":)").append(external_account_binding).append("}");
}

std::string find_account_payload() { return R"({"onlyReturnExisting":true})"; }

std::string contact_payload(std::string_view email) {
  boost::json::object payload;
  payload["contact"] = contacts_of(email);
  return to_text(payload);
}

std::string new_order_payload(const NewOrder& order) {
  boost::json::object payload;
  boost::json::array identifiers;
  for (const auto& identifier : order.identifiers) {
    boost::json::object one;
    one["type"] = identifier.type;
    one["value"] = identifier.value;
    identifiers.push_back(std::move(one));
  }
  payload["identifiers"] = std::move(identifiers);
  if (!order.profile.empty()) payload["profile"] = order.profile;
  if (!order.replaces.empty()) payload["replaces"] = order.replaces;
  return to_text(payload);
}

std::string finalize_payload(std::string_view csr_der) {
  boost::json::object payload;
  payload["csr"] = to_base64url(csr_der);
  return to_text(payload);
}

Identifier identifier_of(std::string_view name) {
  if (auto address = net::IpAddress::parse(name)) return Identifier{"ip", address->to_string()};
  return Identifier{"dns", to_lower(name)};
}

}  // namespace gatehouse::acme
