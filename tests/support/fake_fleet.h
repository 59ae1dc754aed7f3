#pragma once
// A cluster inside the test: keeps what is shared, and says who may issue.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "acme/fleet.h"

namespace gatehouse::acme {

class FakeFleet final : public Fleet {
 public:
  bool is_holder = true;
  bool is_broken = false;                          // nothing can be shared
  std::map<std::string, store::Account> accounts;  // by directory and e-mail
  std::map<std::string, store::Order> orders;      // by certificate
  std::vector<std::string> ended;

  bool may_issue() const override { return is_holder; }
  std::string reason() const override { return "other issues certificates for this cluster"; }
  std::string account_key() const override {
    return accounts.empty() ? "" : accounts.begin()->second.key_pem;
  }
  boost::asio::awaitable<Result<void>> share_account(store::Account account) override {
    if (is_broken) co_return broken();
    accounts.insert_or_assign(account.directory + " " + account.email, std::move(account));
    co_return Result<void>();
  }
  boost::asio::awaitable<Result<void>> share_order(store::Order order) override {
    if (is_broken) co_return broken();
    orders.insert_or_assign(order.certificate, std::move(order));
    co_return Result<void>();
  }
  boost::asio::awaitable<Result<void>> end_order(std::string certificate) override {
    orders.erase(certificate);
    ended.push_back(std::move(certificate));
    co_return Result<void>();
  }

 private:
  static Error broken() { return {Fault::kUnavailable, "the apiserver is away"}; }
};

}  // namespace gatehouse::acme
