#include "acme/registration.h"

#include <functional>
#include <utility>

#include "acme/messages.h"
#include "daemon/base/kill_point.h"
#include "daemon/base/log.h"

namespace gatehouse::acme {

namespace asio = boost::asio;

// GCC 12 takes the allocation of a coroutine's frame for a plain one when it inlines only half of
// Asio's pair of operators.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace {

AttemptFailure cancelled() {
  return failure_of(Error{Fault::kCancelled, "waiting for the account: cancelled"});
}

}  // namespace

Registration::Registration(net::Loop& loop, net::JobThread& compute, Client& client,
                           store::AccountStore& accounts, const Ca& ca,
                           std::vector<store::Account> former, Fleet* fleet)
    : loop_(loop),
      compute_(compute),
      client_(client),
      accounts_(accounts),
      ca_(ca),
      former_(std::move(former)),
      lock_(loop),
      fleet_(fleet) {}

asio::awaitable<Call<Signer>> Registration::signer() {
  // In a cluster the account may have come from another node since: the store is asked each time.
  if (signer_ && !fleet_) co_return *signer_;
  std::vector<std::string> name{"account"};
  const auto held = co_await lock_.hold(std::move(name));
  if (!held) co_return cancelled();
  if (signer_ && !fleet_) co_return *signer_;  // Another order was faster.
  co_return co_await open();
}

asio::awaitable<Call<Signer>> Registration::register_again(std::string lost_url) {
  std::vector<std::string> name{"account"};
  const auto held = co_await lock_.hold(std::move(name));
  if (!held) co_return cancelled();
  if (signer_ && signer_->account_url != lost_url) co_return *signer_;
  signer_.reset();
  auto kept = co_await accounts_.find_account(ca_.directory, ca_.email);
  if (!kept) co_return failure_of(std::move(kept).error());
  if (!*kept) co_return co_await open();
  log(Level::kWarn, "acme.account_gone").with("ca", ca_.name).with("account", lost_url);
  store::Account account = std::move(**kept);
  account.url.clear();
  co_return co_await register_key(std::move(account), false);
}

asio::awaitable<Call<Signer>> Registration::open() {
  auto kept = co_await accounts_.find_account(ca_.directory, ca_.email);
  if (!kept) co_return failure_of(std::move(kept).error());
  const bool is_kept_before = kept->has_value();
  store::Account account;
  if (is_kept_before) {
    account = std::move(**kept);
  } else {
    auto made = co_await find_or_make();
    if (!made) co_return std::move(made).error();
    account = std::move(*made);
  }
  if (account.url.empty()) co_return co_await register_key(std::move(account), is_kept_before);
  auto key = AccountKey::from_pem(account.key_pem);
  if (!key) co_return failure_of(std::move(key).error(), Reaction::kAccount);
  signer_ = Signer{std::move(*key), account.url};
  co_return *signer_;
}

asio::awaitable<Call<store::Account>> Registration::find_or_make() {
  for (const auto& former : std::exchange(former_, {})) {
    if (former.url.empty() || former.directory != ca_.directory) continue;
    auto adopted = co_await adopt_former(former);
    if (adopted) co_return adopted;
    log(Level::kWarn, "acme.account_not_adopted")
        .with("ca", ca_.name)
        .with("error", adopted.error().error.message);
  }
  std::function<Result<AccountKey>()> job = [pem = fleet_ ? fleet_->account_key() : ""] {
    return pem.empty() ? AccountKey::generate() : AccountKey::from_pem(pem);
  };
  auto key = co_await compute_.run(std::move(job));
  if (!key) co_return failure_of(std::move(key).error());
  auto pem = key->to_pem();
  if (!pem) co_return failure_of(std::move(pem).error());
  store::Account account;
  account.directory = ca_.directory;
  account.email = ca_.email;
  account.key_pem = std::move(*pem);
  account.created_at = loop_.clock().wall_now();
  kill_point("acme.order.account_key.before");
  auto saved = co_await keep(account);
  kill_point("acme.order.account_key.after");
  if (!saved) co_return std::move(saved).error();
  co_return account;
}

asio::awaitable<Call<store::Account>> Registration::adopt_former(store::Account former) {
  auto key = AccountKey::from_pem(former.key_pem);
  if (!key) co_return failure_of(std::move(key).error());
  const std::string old_email = former.email;
  Signer signer{std::move(*key), former.url};
  auto updated = co_await update_contact(std::move(signer));
  if (!updated) co_return std::move(updated).error();
  former.email = ca_.email;
  // First the new row, then the old one goes: a kill between them leaves the key in both.
  auto saved = co_await keep(former);
  if (!saved) co_return std::move(saved).error();
  auto deleted = co_await accounts_.delete_account(former.directory, old_email);
  if (!deleted) co_return failure_of(std::move(deleted).error());
  log(Level::kInfo, "acme.account_contact_changed").with("ca", ca_.name).with("email", ca_.email);
  co_return former;
}

asio::awaitable<Call<Signer>> Registration::register_key(store::Account account,
                                                         bool is_kept_before) {
  auto key = AccountKey::from_pem(account.key_pem);
  if (!key) co_return failure_of(std::move(key).error(), Reaction::kAccount);
  auto directory = co_await client_.directory();
  if (!directory) co_return std::move(directory).error();
  kill_point("acme.order.account_new.before");
  auto answer = co_await send_new_account(*key, *directory, is_kept_before);
  kill_point("acme.order.account_new.after");
  if (!answer) {
    // No name of this CA can go on without an account.
    auto failure = std::move(answer).error();
    failure.is_ca_wide |= failure.reaction != Reaction::kTransient;
    co_return failure;
  }
  auto parsed = parse_account(answer->body);
  if (!parsed) co_return failure_of(std::move(parsed).error().in("registering the account"));
  if (parsed->status != "valid" || !answer->location.starts_with("https://")) {
    auto refused = failure_of(Error{Fault::kUnauthorized, "the account is " + parsed->status},
                              Reaction::kAccount);
    refused.is_ca_wide = true;
    co_return refused;
  }
  account.url = answer->location;
  account.status = parsed->status;
  account.terms_agreed = directory->terms_of_service;
  Signer signer{std::move(*key), account.url};
  const bool has_other_contact =
      !ca_.email.empty() && !parsed->contacts.empty() &&
      parsed->contacts != std::vector<std::string>{"mailto:" + ca_.email};
  if (has_other_contact) {
    auto updated = co_await update_contact(signer);
    if (!updated) co_return std::move(updated).error();
  }
  kill_point("acme.order.account_url.before");
  auto saved = co_await keep(std::move(account));
  kill_point("acme.order.account_url.after");
  if (!saved) co_return std::move(saved).error();
  log(Level::kInfo, "acme.account_registered")
      .with("ca", ca_.name)
      .with("account", signer.account_url)
      .with("terms", directory->terms_of_service);
  signer_ = std::move(signer);
  co_return *signer_;
}

asio::awaitable<Call<Answer>> Registration::send_new_account(AccountKey key, Directory directory,
                                                             bool is_kept_before) {
  Client::Post request{"registering the account", Signer{std::move(key), ""}, directory.new_account,
                       ""};
  // A binding may be good for one use only, or for some days (RFC 8555 leaves it to the CA): it is
  // not spent on an account that is there.
  if (is_kept_before || ca_.external_account) {
    request.payload = find_account_payload();
    auto existing = co_await client_.post(request);
    if (existing || existing.error().problem_type != "accountDoesNotExist") co_return existing;
  }
  std::string binding;
  if (ca_.external_account) {
    binding = sign_external_account(*ca_.external_account, request.signer.key, request.url);
  } else if (directory.needs_external_account) {
    auto refused = failure_of(
        Error{Fault::kUnsupported,
              "registering the account: this CA wants to know whose it is: add external_account: "
              "{key_id: ..., hmac_key_file: ...} to the issuer"},
        Reaction::kAccount);
    refused.problem_type = "externalAccountRequired";
    co_return refused;
  }
  request.payload = new_account_payload(ca_.email, binding);
  co_return co_await client_.post(std::move(request));
}

asio::awaitable<Call<void>> Registration::update_contact(Signer signer) {
  Client::Post request{"changing the account's contact", signer, signer.account_url,
                       contact_payload(ca_.email)};
  auto answer = co_await client_.post(std::move(request));
  if (!answer) co_return std::move(answer).error();
  co_return Call<void>();
}

asio::awaitable<Call<void>> Registration::keep(store::Account account) {
  auto saved = co_await accounts_.save_account(account);
  if (!saved) co_return failure_of(std::move(saved).error().in("keeping the account"));
  if (!fleet_) co_return Call<void>();
  auto shared = co_await fleet_->share_account(std::move(account));
  if (!shared) co_return failure_of(std::move(shared).error().in("sharing the account"));
  co_return Call<void>();
}

}  // namespace gatehouse::acme
