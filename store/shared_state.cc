#include "store/shared_state.h"

#include <openssl/evp.h>

#include <algorithm>
#include <utility>

#include "daemon/base/json.h"
#include "daemon/base/text.h"

namespace gatehouse::store {

namespace json = boost::json;

namespace {

constexpr std::string_view kManagedBy = "app.kubernetes.io/managed-by";
constexpr std::string_view kCluster = "gatehouse/cluster";
constexpr std::string_view kCertificate = "gatehouse/certificate";
constexpr std::string_view kCa = "gatehouse/ca";
constexpr std::string_view kIssuedAt = "gatehouse/issued-at";
constexpr std::size_t kNameMax = 253;
constexpr std::size_t kDigestBytes = 5;

std::string digest_of(std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  check(EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha256(), nullptr) == 1,
        "SHA-256 is there");
  return to_hex(std::string(digest, digest + kDigestBytes));
}

void label(Secret& secret, const ClusterNames& names) {
  secret.labels[std::string(kManagedBy)] = kFieldManager;
  secret.labels[std::string(kCluster)] = names.lease;
}

json::object to_json(const Account& account) {
  return {{"directory", account.directory},
          {"email", account.email},
          {"key_pem", account.key_pem},
          {"url", account.url},
          {"status", account.status},
          {"terms_agreed", account.terms_agreed},
          {"created_at", format_rfc3339_ms(account.created_at)}};
}

json::object to_json(const Order& order) {
  json::object one{{"certificate", order.certificate},
                   {"ca", order.ca},
                   {"directory", order.directory},
                   {"names", json::array(order.names.begin(), order.names.end())},
                   {"step", static_cast<int>(order.step)},
                   {"key_pem", order.key_pem},
                   {"order_url", order.order_url},
                   {"finalize_url", order.finalize_url},
                   {"replaces", order.replaces},
                   {"created_at", format_rfc3339_ms(order.created_at)},
                   {"updated_at", format_rfc3339_ms(order.updated_at)}};
  if (order.expires_at) one["expires_at"] = format_rfc3339_ms(*order.expires_at);
  return one;
}

json::object to_json(const SharedTicketKey& key) {
  return {{"secret", to_base64(key.secret)}, {"from", format_rfc3339_ms(key.from)}};
}

WallTime time_of(JsonReader& reader, std::string_view key) {
  const auto time = parse_rfc3339(reader.string(key));
  if (!time) reader.fail(key, "expected a time");
  return time.value_or(WallTime{});
}

Account read_account(JsonReader& reader) {
  Account account;
  account.directory = reader.string("directory");
  account.email = reader.string_or("email", "");
  account.key_pem = reader.string("key_pem");
  account.url = reader.string_or("url", "");
  account.status = reader.string_or("status", "");
  account.terms_agreed = reader.string_or("terms_agreed", "");
  account.created_at = time_of(reader, "created_at");
  return account;
}

Order read_order(JsonReader& reader) {
  Order order;
  order.certificate = reader.string("certificate");
  order.ca = reader.string("ca");
  order.directory = reader.string("directory");
  order.names = reader.strings("names");
  const auto step = reader.integer("step");
  if (step < static_cast<int>(OrderStep::kKeyKept) || step > static_cast<int>(OrderStep::kIssued))
    reader.fail("step", "unknown");
  else
    order.step = static_cast<OrderStep>(step);
  order.key_pem = reader.string("key_pem");
  order.order_url = reader.string("order_url");
  order.finalize_url = reader.string_or("finalize_url", "");
  order.replaces = reader.string_or("replaces", "");
  order.created_at = time_of(reader, "created_at");
  order.updated_at = time_of(reader, "updated_at");
  if (reader.has("expires_at")) order.expires_at = time_of(reader, "expires_at");
  return order;
}

SharedTicketKey read_ticket(JsonReader& reader) {
  SharedTicketKey key;
  auto secret = from_base64(reader.string("secret"));
  if (!secret) reader.fail("secret", "expected base64");
  if (secret) key.secret = std::move(*secret);
  key.from = time_of(reader, "from");
  return key;
}

/// Reads each object of a list of its own; an absent one has none.
template <class T>
Result<std::vector<T>> read_all(const Secret& secret, const std::string& key, T read(JsonReader&)) {
  std::vector<T> all;
  const std::string* text = secret.find(key);
  if (!text) return all;
  auto value = parse_json(*text);
  if (!value) return std::move(value).error().in(key);
  json::object whole;
  whole["items"] = std::move(*value);
  const json::value wrapped(std::move(whole));
  JsonReader reader(wrapped, key);
  reader.each("items", [&](JsonReader& one) { all.push_back(read(one)); });
  if (auto error = reader.error()) return std::move(*error);
  return all;
}

template <class T>
std::string write_all(const std::vector<T>& all) {
  json::array items;
  for (const T& one : all) items.push_back(to_json(one));
  return to_text(items);
}

}  // namespace

const Account* SharedState::find_account(std::string_view directory, std::string_view email) const {
  const auto found = std::find_if(accounts.begin(), accounts.end(), [&](const Account& one) {
    return one.directory == directory && one.email == email;
  });
  return found == accounts.end() ? nullptr : &*found;
}

void SharedState::put(Account account) {
  std::erase_if(accounts, [&](const Account& one) {
    return one.directory == account.directory && one.email == account.email;
  });
  accounts.push_back(std::move(account));
}

void SharedState::put(Order order) {
  remove_order(order.certificate);
  orders.push_back(std::move(order));
}

void SharedState::remove_order(std::string_view certificate) {
  std::erase_if(orders, [&](const Order& one) { return one.certificate == certificate; });
}

std::string ClusterNames::label_selector() const {
  return std::string(kManagedBy).append("=").append(kFieldManager) + "," +
         std::string(kCluster).append("=").append(lease);
}

SecretName ClusterNames::certificate_secret(std::string_view certificate) const {
  std::string name = secret_prefix + std::string(certificate);
  if (is_dns_subdomain(name) && name != state_secret) return {name_space, name};
  const std::string digest = "-" + digest_of(certificate);
  name = secret_prefix;
  for (const char c : certificate) name += is_digit(c) || is_alpha(c) ? to_lower(c) : '-';
  name.resize(std::min(name.size(), kNameMax - digest.size()));
  return {name_space, name + digest};
}

Secret to_secret(const SharedState& state, const ClusterNames& names) {
  Secret secret;
  secret.at = names.state();
  secret.type = "Opaque";
  label(secret, names);
  secret.data["accounts.json"] = write_all(state.accounts);
  secret.data["orders.json"] = write_all(state.orders);
  secret.data["tickets.json"] = write_all(state.tickets);
  return secret;
}

Result<SharedState> parse_shared_state(const Secret& secret) {
  SharedState state;
  auto accounts = read_all<Account>(secret, "accounts.json", read_account);
  if (!accounts) return std::move(accounts).error().in(secret.at.to_string());
  auto orders = read_all<Order>(secret, "orders.json", read_order);
  if (!orders) return std::move(orders).error().in(secret.at.to_string());
  auto tickets = read_all<SharedTicketKey>(secret, "tickets.json", read_ticket);
  if (!tickets) return std::move(tickets).error().in(secret.at.to_string());
  state.accounts = std::move(*accounts);
  state.orders = std::move(*orders);
  state.tickets = std::move(*tickets);
  return state;
}

Result<Secret> to_secret(const LoadedCertificate& certificate, const ClusterNames& names,
                         const std::string& node) {
  const net::Credential& credential = *certificate.credential;
  Secret secret;
  secret.at = names.certificate_secret(credential.name);
  secret.type = kTlsSecretType;
  label(secret, names);
  auto key = credential.key.to_pem();
  if (!key) return std::move(key).error();
  secret.data["tls.crt"] = credential.chain.to_pem();
  secret.data["tls.key"] = std::move(*key);
  secret.annotations[std::string(kCertificate)] = credential.name;
  secret.annotations[std::string(kCa)] = certificate.ca;
  secret.annotations[std::string(kIssuedAt)] = format_rfc3339_ms(certificate.issued_at);
  secret.annotations["gatehouse/not-after"] = format_rfc3339(credential.facts.not_after);
  secret.annotations["gatehouse/sha256"] = credential.facts.fingerprint_sha256_hex;
  secret.annotations["gatehouse/node"] = node;
  return secret;
}

Result<LoadedCertificate> parse_shared_certificate(const Secret& secret) {
  const std::string name = secret.annotation(std::string(kCertificate));
  const std::string* chain_pem = secret.find("tls.crt");
  const std::string* key_pem = secret.find("tls.key");
  if (name.empty() || !chain_pem || !key_pem)
    return Error{Fault::kInvalid, secret.at.to_string() + ": no shared certificate"};
  auto chain = net::CertificateChain::from_pem(*chain_pem);
  if (!chain) return std::move(chain).error().in(secret.at.to_string());
  auto key = net::PrivateKey::from_pem(*key_pem);
  if (!key) return std::move(key).error().in(secret.at.to_string());
  auto credential = net::make_credential(name, std::move(*chain), std::move(*key));
  if (!credential) return std::move(credential).error().in(secret.at.to_string());
  LoadedCertificate loaded;
  loaded.credential = std::move(*credential);
  loaded.ca = secret.annotation(std::string(kCa));
  loaded.issued_at = parse_rfc3339(secret.annotation(std::string(kIssuedAt)))
                         .value_or(loaded.credential->facts.not_before);
  return loaded;
}

}  // namespace gatehouse::store
