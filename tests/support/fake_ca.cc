#include "tests/support/fake_ca.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/x509v3.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "acme/challenge_answers.h"
#include "acme/jws.h"
#include "acme/messages.h"
#include "daemon/base/json.h"
#include "daemon/base/text.h"
#include "daemon/net/address.h"
#include "daemon/net/certificate.h"

namespace gatehouse {

namespace json = boost::json;

// GCC 12 takes the allocation of a coroutine's frame for a plain one when it inlines only half of
// Asio's pair of operators.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace {

constexpr std::string_view kJson = "application/json";

std::string to_string(const json::value& value) { return std::string(value.as_string()); }

/// Whether r||s is a signature of the message by the P-256 key of the JWK.
bool verifies(const json::value& jwk, const std::string& message, const std::string& signature) {
  const auto x = from_base64url(to_string(jwk.at("x"))), y = from_base64url(to_string(jwk.at("y")));
  if (!x || !y || x->size() != 32 || y->size() != 32 || signature.size() != 64) return false;
  std::string point = "\x04" + *x + *y, group = "prime256v1";
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()),
      OSSL_PARAM_construct_end()};
  const net::EvpKeyContextPtr context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* raw = nullptr;
  if (EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &raw, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
    return false;
  const net::EvpKeyPtr key(raw);
  const auto* bytes = reinterpret_cast<const unsigned char*>(signature.data());
  ECDSA_SIG* parts = ECDSA_SIG_new();
  ECDSA_SIG_set0(parts, BN_bin2bn(bytes, 32, nullptr), BN_bin2bn(bytes + 32, 32, nullptr));
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(parts, &der);
  ECDSA_SIG_free(parts);
  const net::EvpDigestPtr digest(EVP_MD_CTX_new());
  const auto* text = reinterpret_cast<const unsigned char*>(message.data());
  const bool good =
      EVP_DigestVerifyInit(digest.get(), nullptr, EVP_sha256(), nullptr, key.get()) == 1 &&
      EVP_DigestVerify(digest.get(), der, static_cast<std::size_t>(size), text, message.size()) ==
          1;
  OPENSSL_free(der);
  return good;
}

/// Signs a leaf for the key of a CSR (or another key).
std::string sign_leaf(EVP_PKEY* subject, const std::vector<std::string>& names, WallTime not_before,
                      WallTime not_after, X509* issuer, EVP_PKEY* issuer_key, long serial) {
  const net::X509Ptr leaf(X509_new());
  X509_set_version(leaf.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(leaf.get()), serial);
  X509_set_pubkey(leaf.get(), subject);
  X509_set_issuer_name(leaf.get(), X509_get_subject_name(issuer));
  ASN1_TIME_set(X509_getm_notBefore(leaf.get()), std::chrono::system_clock::to_time_t(not_before));
  ASN1_TIME_set(X509_getm_notAfter(leaf.get()), std::chrono::system_clock::to_time_t(not_after));
  std::string san;
  for (const auto& name : names) {
    const auto identifier = acme::identifier_of(name);
    san += (san.empty() ? "" : ",") + std::string(identifier.type == "ip" ? "IP:" : "DNS:") + name;
  }
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, leaf.get(), nullptr, nullptr, 0);
  for (const auto& [nid, value] :
       {std::pair<int, std::string>{NID_subject_alt_name, san},
        std::pair<int, std::string>{NID_authority_key_identifier, "keyid:always"}}) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    check(extension != nullptr, "the fake CA cannot make an extension");
    X509_add_ext(leaf.get(), extension, -1);
    X509_EXTENSION_free(extension);
  }
  check(X509_sign(leaf.get(), issuer_key, EVP_sha256()) > 0, "the fake CA cannot sign");
  const net::BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), leaf.get());
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<std::size_t>(size));
}

std::vector<std::string> names_of(X509_REQ* request) {
  std::vector<std::string> names;
  STACK_OF(X509_EXTENSION)* extensions = X509_REQ_get_extensions(request);
  auto* san = static_cast<GENERAL_NAMES*>(
      X509V3_get_d2i(extensions, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(san); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(san, i);
    const auto* bytes = ASN1_STRING_get0_data(name->d.ia5);
    const auto size = ASN1_STRING_length(name->d.ia5);
    if (name->type == GEN_IPADD) {
      names.push_back(net::IpAddress::from_bytes(bytes, size == 16).to_string());
    } else {
      names.emplace_back(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    }
  }
  GENERAL_NAMES_free(san);
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  return names;
}

}  // namespace

struct FakeCa::State {
  struct Account {
    json::value jwk;
    std::string thumbprint;
  };
  struct Authorization {
    acme::Identifier identifier;
    std::string token, status = "pending", told_type, error;
    int polls = 0;
  };
  struct Order {
    std::string account, status = "pending", certificate;
    std::vector<std::string> names;
    std::vector<int> authorizations;
    int polls = 0;
  };
  struct Instead {
    std::string path;
    net::HttpResponse response;
    int times;
  };

  int last_id = 0;
  std::set<std::string> nonces;
  std::map<std::string, Account> accounts;  // by URL
  std::map<int, Authorization> authorizations;
  std::map<int, Order> orders;
  std::vector<Instead> instead;
  int lose_in = 0;
  bool lose_after = false;
  bool is_losing_silent = false, is_silent = false;
  net::PrivateKey key, other_key;
  net::CertificateChain root;

  std::string nonce() {
    auto made = "nonce-" + std::to_string(++last_id);
    nonces.insert(made);
    return made;
  }
};

FakeCa::FakeCa(net::Loop& loop, RecordingSink& sink)
    : loop_(&loop), sink_(&sink), state_(std::make_unique<State>()) {
  state_->key = *net::PrivateKey::generate(net::KeyKind::kEcdsaP256);
  state_->other_key = *net::PrivateKey::generate(net::KeyKind::kEcdsaP256);
  net::IssueRequest request;
  request.common_name = "Fake Root";
  request.is_ca = true;
  request.not_before = loop.clock().wall_now() - 24h;
  request.not_after = loop.clock().wall_now() + 24h * 3650;
  state_->root = *net::issue_certificate(request, state_->key, {}, {});
}
FakeCa::~FakeCa() = default;

net::HttpResponse FakeCa::problem(unsigned status, const std::string& type,
                                  const std::string& detail) {
  net::HttpResponse response;
  response.status = status;
  response.fields.push_back({"Content-Type", "application/problem+json"});
  json::object body;
  body["type"] = "urn:ietf:params:acme:error:" + type;
  body["detail"] = detail;
  response.body = to_text(body);
  return response;
}

void FakeCa::answer_instead(const std::string& path, net::HttpResponse response, int times) {
  state_->instead.push_back({path, std::move(response), times});
}

void FakeCa::lose_request(int n, bool after) {
  state_->lose_in = n;
  state_->lose_after = after;
  state_->is_losing_silent = false;
}

void FakeCa::keep_silent_at(int n, bool after) {
  lose_request(n, after);
  state_->is_losing_silent = true;
}

bool FakeCa::is_silent() const { return state_->is_silent; }

void FakeCa::move_to(net::Loop& loop, RecordingSink& sink) {
  state_->is_silent = false;
  state_->lose_in = 0;
  loop_ = &loop;
  sink_ = &sink;
}

void FakeCa::forget_everything() {
  state_->accounts.clear();
  state_->orders.clear();
  state_->authorizations.clear();
  state_->nonces.clear();
}

boost::asio::awaitable<Result<net::HttpResponse>> FakeCa::send(net::HttpRequest request) {
  // A turn passes in each direction, so that other orders and cancellation get their chance.
  co_await boost::asio::post(loop_->context(), boost::asio::use_awaitable);
  auto response = serve(request);
  if (state_->is_silent) {
    boost::asio::steady_timer never(loop_->context(), SteadyTime::max());
    co_await never.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  }
  co_await boost::asio::post(loop_->context(), boost::asio::use_awaitable);
  co_return response;
}

Result<net::HttpResponse> FakeCa::serve(const net::HttpRequest& request) {
  ++requests;
  std::string path = request.url;
  if (!path.starts_with(url(""))) return Error{Fault::kResolve, "no such host"};
  path.erase(0, url("").size());
  log.push_back(request.method + " " + path);
  const bool is_lost = state_->lose_in > 0 && --state_->lose_in == 0;
  state_->is_silent |= is_lost && state_->is_losing_silent;
  if (is_lost && !state_->lose_after) return Error{Fault::kConnection, "the connection broke"};
  net::HttpResponse response;
  bool is_instead = false;
  for (auto& one : state_->instead) {
    if (one.times == 0 || !path.starts_with(one.path)) continue;
    --one.times;
    is_instead = true;
    response = one.response;
    break;
  }
  const auto reply = [&](const json::value& body) {
    response.status = 200;
    response.fields.push_back({"Content-Type", std::string(kJson)});
    response.body = to_text(body);
  };
  if (is_instead) {
  } else if (path == "/dir") {
    json::object directory{
        {"newNonce", url("/nonce")},
        {"newAccount", url("/account-new")},
        {"newOrder", url("/order-new")},
        {"meta",
         {{"termsOfService", url("/terms")}, {"externalAccountRequired", needs_external_account}}}};
    if (has_ari) directory["renewalInfo"] = url("/ari/");
    reply(directory);
  } else if (path == "/nonce") {
    response.status = 200;
  } else if (path.starts_with("/ari/")) {
    response.status = 200;
    response.fields.push_back({"Content-Type", std::string(kJson)});
    response.fields.push_back({"Retry-After", "21600"});
    response.body = renewal_info;
  } else {
    response = serve_signed(request, path);
  }
  const bool has_nonce = path != "/dir" && !path.starts_with("/ari/");
  if (has_nonce) response.fields.push_back({"Replay-Nonce", state_->nonce()});
  if (is_lost) return Error{Fault::kConnection, "the connection broke"};
  return response;
}

/// RFC 8555 section 7.3.4; empty: nothing.
std::string FakeCa::wrong_in_binding(const json::value& binding, const json::value& jwk,
                                     const std::string& new_account_url) const {
  const auto protected64 = to_string(binding.at("protected")),
             payload64 = to_string(binding.at("payload"));
  const auto header = parse_json(*from_base64url(protected64));
  if (!header || header->as_object().contains("nonce")) return "the header";
  if (to_string(header->at("alg")) != "HS256") return "the algorithm";
  if (to_string(header->at("kid")) != customer->key_id) return "the key id";
  if (to_string(header->at("url")) != new_account_url) return "the url";
  if (*parse_json(*from_base64url(payload64)) != jwk) return "the payload is not the account's key";
  const std::string message = protected64 + "." + payload64;
  unsigned char code[32];
  HMAC(EVP_sha256(), customer->hmac_key.data(), static_cast<int>(customer->hmac_key.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), code, nullptr);
  const std::string_view expected(reinterpret_cast<const char*>(code), sizeof code);
  return *from_base64url(to_string(binding.at("signature"))) == expected ? "" : "the code";
}

net::HttpResponse FakeCa::serve_signed(const net::HttpRequest& request, const std::string& path) {
  auto& state = *state_;
  const auto jws = parse_json(request.body);
  if (!jws || request.method != "POST") return problem(400, "malformed");
  const auto protected64 = to_string(jws->at("protected"));
  const auto header = parse_json(*from_base64url(protected64));
  const auto payload64 = to_string(jws->at("payload"));
  const auto payload_text = *from_base64url(payload64);
  if (to_string(header->at("url")) != request.url) complaints.push_back("wrong url in " + path);
  const auto& fields = header->as_object();
  const bool is_new_account = path == "/account-new";
  if (is_new_account == (fields.count("kid") > 0)) complaints.push_back("kid or jwk in " + path);
  if (bad_nonces > 0) {
    --bad_nonces;
    return problem(400, "badNonce");
  }
  if (state.nonces.erase(to_string(header->at("nonce"))) == 0) return problem(400, "badNonce");
  std::string account;
  json::value jwk;
  if (is_new_account) {
    jwk = header->at("jwk");
    const auto thumbprint = acme::jwk_thumbprint(to_text(jwk));
    for (const auto& [known, one] : state.accounts)
      if (one.thumbprint == thumbprint) account = known;
  } else {
    account = to_string(header->at("kid"));
    if (state.accounts.count(account) == 0) return problem(400, "accountDoesNotExist");
    jwk = state.accounts[account].jwk;
  }
  if (!verifies(jwk, protected64 + "." + payload64,
                *from_base64url(to_string(jws->at("signature")))))
    return problem(400, "malformed", "signature");
  const bool is_get = payload_text.empty();
  const auto payload = is_get ? json::value(json::object()) : *parse_json(payload_text);

  net::HttpResponse response;
  const auto reply = [&](unsigned status, const json::value& body) {
    response.status = status;
    response.fields.push_back({"Content-Type", std::string(kJson)});
    response.body = to_text(body);
    return response;
  };
  const auto read_contacts = [&] {
    if (!payload.as_object().contains("contact")) return;
    contacts.clear();
    for (const auto& one : payload.at("contact").as_array()) contacts.push_back(to_string(one));
  };
  if (is_new_account) {
    const bool is_known = !account.empty();
    const auto& said = payload.as_object();
    if (!said.contains("onlyReturnExisting")) {
      if (needs_external_account && !said.contains("externalAccountBinding"))
        return problem(403, "externalAccountRequired");
      if (customer) {  // As strict as a CA may be: it looks at the binding before it looks for the
                       // account.
        const std::string wrong =
            wrong_in_binding(said.at("externalAccountBinding"), jwk, request.url);
        if (!wrong.empty()) return problem(403, "unauthorized", wrong);
        if (bindings_spent++ > 0) return problem(403, "unauthorized", "the binding is spent");
      }
    }
    if (!is_known) {
      if (payload.as_object().contains("onlyReturnExisting"))
        return problem(400, "accountDoesNotExist");
      if (!payload.at("termsOfServiceAgreed").as_bool()) complaints.push_back("terms");
      account = url("/account/" + std::to_string(++state.last_id));
      state.accounts[account] = {jwk, acme::jwk_thumbprint(to_text(jwk))};
      ++accounts_made;
      read_contacts();
    }
    response.fields.push_back({"Location", account});
    json::array told;
    for (const auto& one : contacts) told.emplace_back(one);
    return reply(is_known ? 200 : 201, json::object{{"status", "valid"}, {"contact", told}});
  }
  if (path.starts_with("/account/")) {
    read_contacts();
    return reply(200, json::object{{"status", "valid"}});
  }

  const auto number = [&](std::string_view prefix) {
    const auto rest = std::string_view(path).substr(prefix.size());
    return static_cast<int>(parse_decimal(rest.substr(0, rest.find('/'))).value_or(0));
  };
  const auto order_json = [&](int id) {
    auto& order = state.orders[id];
    if (order.status == "pending") {
      bool all_valid = true;
      for (const int one : order.authorizations) {
        const auto& status = state.authorizations[one].status;
        all_valid = all_valid && status == "valid";
        if (status == "invalid") order.status = "invalid";
      }
      if (all_valid) order.status = "ready";
    }
    json::object body{{"status", order.status},
                      {"expires", format_rfc3339(loop_->clock().wall_now() + 24h * 7)},
                      {"finalize", url("/finalize/" + std::to_string(id))}};
    json::array identifiers, authorizations;
    for (const auto& name : order.names) {
      const auto identifier = acme::identifier_of(name);
      identifiers.push_back(json::object{{"type", identifier.type}, {"value", identifier.value}});
    }
    for (const int one : order.authorizations)
      authorizations.emplace_back(url("/authz/" + std::to_string(one)));
    body["identifiers"] = identifiers;
    body["authorizations"] = authorizations;
    if (order.status == "valid") body["certificate"] = url("/cert/" + std::to_string(id));
    return body;
  };
  if (path == "/order-new") {
    order_payloads.push_back(payload_text);
    if (const auto* replaces = payload.as_object().if_contains("replaces");
        replaces && replaced.count(to_string(*replaces)))
      return problem(409, "alreadyReplaced");
    const int id = ++state.last_id;
    ++orders_placed;
    State::Order order;
    order.account = account;
    for (const auto& one : payload.at("identifiers").as_array()) {
      order.names.push_back(to_string(one.at("value")));
      int found = 0;
      if (reuses_authorizations)
        for (const auto& [known, authorization] : state.authorizations)
          if (authorization.identifier.value == order.names.back() &&
              authorization.status == "valid")
            found = known;
      if (found == 0) {
        found = ++state.last_id;
        State::Authorization made;
        made.identifier = acme::identifier_of(order.names.back());
        made.token = "token-" + std::to_string(found);
        state.authorizations[found] = made;
      }
      order.authorizations.push_back(found);
    }
    state.orders[id] = order;
    response.fields.push_back({"Location", url("/order/" + std::to_string(id))});
    return reply(201, order_json(id));
  }
  if (path.starts_with("/order/")) {
    const int id = number("/order/");
    if (state.orders.count(id) == 0) return problem(404, "malformed", "no such order");
    auto& order = state.orders[id];
    if (order.status == "processing" && ++order.polls >= polls_until_issued) order.status = "valid";
    return reply(200, order_json(id));
  }
  if (path.starts_with("/authz/") || path.starts_with("/chall/")) {
    const int id = number(path.starts_with("/authz/") ? "/authz/" : "/chall/");
    if (state.authorizations.count(id) == 0) return problem(404, "malformed", "no such authz");
    auto& authorization = state.authorizations[id];
    const auto& name = authorization.identifier.value;
    const auto challenge_json = [&](const std::string& type) {
      const bool is_it = type == authorization.told_type;
      json::object body{{"type", type},
                        {"url", url("/chall/" + std::to_string(id) + "/" + type)},
                        {"token", authorization.token},
                        {"status", "pending"}};
      if (is_it)
        body["status"] = authorization.status == "pending" ? "processing" : authorization.status;
      if (is_it && !authorization.error.empty())
        body["error"] = json::object{{"type", "urn:ietf:params:acme:error:" + authorization.error},
                                     {"detail", "looked at " + name}};
      return body;
    };
    if (path.starts_with("/chall/")) {
      const auto type = path.substr(path.rfind('/') + 1);
      if (authorization.status != "pending") return problem(400, "malformed", "not pending");
      authorization.told_type = type;
      challenges.push_back(type + " " + name);
      // The answer must be there before the CA is told: it may look at once.
      const auto wanted = authorization.token + "." + state.accounts[account].thumbprint;
      const auto server_name = acme::validation_server_name(authorization.identifier);
      const bool is_there = type == "http-01" ? sink_->http[authorization.token] == wanted
                                              : sink_->tls_alpn.count(*server_name) > 0;
      if (!is_there) complaints.push_back("no answer in place for " + name);
      return reply(200, challenge_json(type));
    }
    if (authorization.status == "pending" && !authorization.told_type.empty() &&
        ++authorization.polls >= polls_until_valid) {
      authorization.error = verdict ? verdict(authorization.told_type, name) : "";
      authorization.status = authorization.error.empty() ? "valid" : "invalid";
    }
    json::array offered;
    for (const auto& type : offers) offered.push_back(challenge_json(type));
    return reply(200, json::object{{"status", authorization.status},
                                   {"identifier",
                                    {{"type", authorization.identifier.type}, {"value", name}}},
                                   {"challenges", offered}});
  }
  if (path.starts_with("/finalize/")) {
    const int id = number("/finalize/");
    if (state.orders.count(id) == 0) return problem(404, "malformed", "no such order");
    auto& order = state.orders[id];
    (void)order_json(id);
    if (order.status != "ready") return problem(403, "orderNotReady");
    const auto der = *from_base64url(to_string(payload.at("csr")));
    const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
    const net::X509ReqPtr csr(d2i_X509_REQ(nullptr, &bytes, static_cast<long>(der.size())));
    if (!csr || X509_REQ_verify(csr.get(), X509_REQ_get0_pubkey(csr.get())) != 1)
      return problem(400, "badCSR");
    auto names = names_of(csr.get());
    if (std::set<std::string>(names.begin(), names.end()) !=
        std::set<std::string>(order.names.begin(), order.names.end()))
      return problem(400, "badCSR", "names");
    const auto now = loop_->clock().wall_now();
    const bool is_expired = chain == Chain::kExpired;
    if (chain == Chain::kOtherName) names = {"other.example"};
    order.certificate = sign_leaf(
        chain == Chain::kWrongKey ? state.other_key.native() : X509_REQ_get0_pubkey(csr.get()),
        names, now - (is_expired ? 48h : 1h), now + (is_expired ? -1h : 24h * 90),
        state.root.leaf(),
        chain == Chain::kNotLinked ? state.other_key.native() : state.key.native(),
        ++state.last_id);
    ++certificates_issued;
    order.status = polls_until_issued > 0 ? "processing" : "valid";
    return reply(200, order_json(id));
  }
  if (path.starts_with("/cert/")) {
    const auto& leaf = state.orders[number("/cert/")].certificate;
    const auto root = state.root.to_pem();
    response.status = 200;
    response.fields.push_back({"Content-Type", chain == Chain::kHtml
                                                   ? "text/html"
                                                   : "application/pem-certificate-chain"});
    response.body = leaf + root;
    if (chain == Chain::kReversed) response.body = root + leaf;
    if (chain == Chain::kHtml) response.body = "<html>not a certificate</html>";
    if (chain == Chain::kTruncated) response.body = leaf.substr(0, leaf.size() / 2);
    if (chain == Chain::kTooLarge) {
      while (response.body.size() < 10 * 1024 * 1024) response.body += root;
    }
    return response;
  }
  return problem(404, "malformed", "no such path");
}

}  // namespace gatehouse
