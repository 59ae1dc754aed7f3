#pragma once
// A CA inside the test: ACME behind acme::Transport, without sockets. It checks what a real one
// checks (nonces, signatures, accounts, that the challenge answer is in place when it is told, the
// CSR), issues real certificates, and misbehaves on demand. Time is the given clock's.

#include <boost/json/fwd.hpp>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "acme/challenge.h"
#include "acme/options.h"
#include "acme/transport.h"
#include "daemon/net/loop.h"

namespace gatehouse {

/// Keeps challenge answers as the proxy would.
class RecordingSink final : public acme::ChallengeSink {
 public:
  void put_http(const std::string& token, const std::string& authorization) override {
    http[token] = authorization;
  }
  void remove_http(const std::string& token) override { http.erase(token); }
  void put_tls_alpn(const std::string& server_name, net::CredentialPtr credential) override {
    tls_alpn[server_name] = std::move(credential);
  }
  void remove_tls_alpn(const std::string& server_name) override { tls_alpn.erase(server_name); }
  boost::asio::awaitable<void> settled() override { co_return; }
  bool is_empty() const { return http.empty() && tls_alpn.empty(); }

  std::map<std::string, std::string> http;
  std::map<std::string, net::CredentialPtr> tls_alpn;
};

class FakeCa final : public acme::Transport {
 public:
  enum class Chain {
    kGood,
    kWrongKey,
    kExpired,
    kOtherName,
    kReversed,
    kHtml,
    kTooLarge,
    kTruncated,
    kNotLinked
  };
  /// What a validation of that type and name finds; empty: it succeeds when the answer is in place.
  using Verdict = std::function<std::string(const std::string& type, const std::string& name)>;

  FakeCa(net::Loop& loop, RecordingSink& sink);
  ~FakeCa() override;

  boost::asio::awaitable<Result<net::HttpResponse>> send(net::HttpRequest request) override;

  static std::string url(std::string_view path) { return "https://ca.example" + std::string(path); }
  /// A problem document.
  static net::HttpResponse problem(unsigned status, const std::string& type,
                                   const std::string& detail = "as the test wants");
  /// The next `times` requests whose path begins so are answered with this instead.
  void answer_instead(const std::string& path, net::HttpResponse response, int times = 1);
  /// The n-th request from now (1 is the next) gets no answer; with `after`, the CA acts on it.
  void lose_request(int n, bool after);
  /// The n-th request from now is never answered, as if the client had been killed waiting for it;
  /// with `after`, the CA acts on it. move_to() ends the silence.
  void keep_silent_at(int n, bool after);
  bool is_silent() const;
  /// The next process of the client: its loop and its answers.
  void move_to(net::Loop& loop, RecordingSink& sink);
  /// The account, all orders and authorizations vanish, as with a new database.
  void forget_everything();

  // Knobs.
  int bad_nonces = 0;  // so many signed requests are refused with badNonce
  Chain chain = Chain::kGood;
  int polls_until_valid = 1;   // of an authorization
  int polls_until_issued = 0;  // of a processing order
  bool reuses_authorizations = false;
  bool needs_external_account = false;
  std::optional<acme::ExternalAccount> customer;  // whose binding a new account needs; good once
  bool has_ari = true;
  std::set<std::string> replaced;  // ARI ids that alreadyReplaced is said about
  std::vector<std::string> offers{"http-01", "tls-alpn-01", "dns-01"};
  Verdict verdict;
  std::string renewal_info;  // body

  // What happened.
  int bindings_spent = 0;
  int requests = 0, accounts_made = 0, orders_placed = 0, certificates_issued = 0;
  std::vector<std::string> log;         // "POST /order-new"
  std::vector<std::string> challenges;  // "http-01 a.example": told to validate
  std::vector<std::string> contacts;    // of the account
  std::vector<std::string> order_payloads;
  std::vector<std::string> complaints;  // what a real CA would have refused: must stay empty

 private:
  struct State;
  Result<net::HttpResponse> serve(const net::HttpRequest& request);
  std::string wrong_in_binding(const boost::json::value& binding, const boost::json::value& jwk,
                               const std::string& new_account_url) const;
  net::HttpResponse serve_signed(const net::HttpRequest& request, const std::string& path);

  net::Loop* loop_;
  RecordingSink* sink_;
  std::unique_ptr<State> state_;
};

}  // namespace gatehouse
