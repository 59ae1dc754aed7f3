// What the admin server and the control socket answer. The other half of Gatehouse.

#include "daemon/base/log.h"
#include "daemon/gatehouse.h"
#include "daemon/net/answer_of.h"
#include "daemon/status.h"

namespace gatehouse::daemon {

namespace asio = boost::asio;

namespace {
constexpr Duration kLookForPulse = std::chrono::milliseconds(5);
constexpr Duration kPulseMax = std::chrono::seconds(2);

AdminReply json_reply(std::string body) { return {200, std::move(body), "application/json"}; }

AdminReply error_reply(const Error& error) {
  unsigned status = 500;
  switch (error.fault) {
    case Fault::kNotFound: status = 404; break;
    case Fault::kInvalid: status = 422; break;
    case Fault::kConflict: status = 409; break;
    case Fault::kUnsupported: status = 422; break;
    default: break;
  }
  return {status, error.message + "\n"};
}

std::string query_of(const AdminRequest& request, const std::string& name) {
  const auto it = request.query.find(name);
  return it == request.query.end() ? std::string() : it->second;
}
}  // namespace

/// Ready: the listeners are open and we are not leaving. No CA and no apiserver has a say in it.
AdminReply Gatehouse::readiness() const {
  if (is_draining_) return {503, "draining\n"};
  return {200, "ready\n"};
}

/// Alive: every loop turns.
asio::awaitable<AdminReply> Gatehouse::liveness() {
  const std::uint64_t pulse = proxy_->take_pulse();
  std::vector<std::size_t> stuck = proxy_->stuck(pulse);
  const SteadyTime until = loop_.clock().steady_now() + kPulseMax;
  while (!stuck.empty()) {
    const bool goes_on = co_await net::sleep_for(loop_, kLookForPulse);
    stuck = proxy_->stuck(pulse);
    if (!goes_on || loop_.clock().steady_now() >= until) break;
  }
  if (stuck.empty()) co_return AdminReply{200, "alive\n"};
  co_return AdminReply{503, "worker " + std::to_string(stuck.front()) + " does not turn\n"};
}

bool Gatehouse::has_pulse() {
  const std::vector<std::size_t> stuck = proxy_->stuck(watchdog_pulse_);
  for (const std::size_t loop : stuck) log(Level::kError, "loop.stuck").with("worker", loop);
  watchdog_pulse_ = proxy_->take_pulse();
  return stuck.empty();
}

asio::awaitable<AdminReply> Gatehouse::answer(AdminRequest request) {
  if (request.is_control && (request.method == "POST" || request.path.starts_with("/certificates")))
    co_return co_await answer_control(std::move(request));
  if (request.method != "GET") co_return AdminReply{405, "only GET here\n"};
  if (request.path == "/livez") co_return co_await liveness();
  if (request.path == "/readyz") co_return readiness();
  if (request.path == "/metrics") {
    std::function<void(std::function<void(std::string)>)> ask = [this](auto answer) {
      proxy_->ask_metrics(
          [answer = std::move(answer)](const Metrics& all) { answer(all.to_text()); });
    };
    std::string text = co_await net::answer_of<std::string>(loop_, std::move(ask));
    co_return AdminReply{200, std::move(text), "text/plain; version=0.0.4; charset=utf-8"};
  }
  if (request.path.starts_with("/status") || request.path == "/") {
    std::function<void(std::function<void(LoopFacts)>)> ask = [this](auto answer) {
      proxy_->ask_facts(std::move(answer));
    };
    const LoopFacts loops = co_await net::answer_of<LoopFacts>(loop_, std::move(ask));
    if (request.path == "/status.json") co_return json_reply(status_json(*this, loops));
    if (request.path == "/status" || request.path == "/")
      co_return AdminReply{200, status_page(*this, loops), "text/html; charset=utf-8"};
  }
  co_return AdminReply{404, "there are /livez /readyz /metrics /status /status.json\n"};
}

asio::awaitable<AdminReply> Gatehouse::answer_control(AdminRequest request) {
  const std::string name = query_of(request, "name");
  if (request.method == "POST" && request.path == "/reload") {
    Result<void> result = co_await reload();
    if (!result) co_return error_reply(result.error());
    co_return AdminReply{200, "reloaded\n"};
  }
  if (request.method == "POST" && request.path == "/certificates/renew") {
    Result<void> result = co_await keeper_->renew(name);
    if (!result) co_return error_reply(result.error());
    co_return AdminReply{200, "renewed " + name + "\n"};
  }
  if (request.method == "GET" && request.path == "/certificates")
    co_return json_reply(certificates_json(*this));
  if (request.method == "GET" && request.path == "/certificates/show") {
    auto facts = certificate_json(*this, name);
    co_return facts ? json_reply(std::move(*facts)) : error_reply(facts.error());
  }
  if (request.method == "GET" && request.path == "/certificates/export") {
    auto pem = certificate_pem(*this, name);
    co_return pem ? AdminReply{200, std::move(*pem), "application/x-pem-file"}
                  : error_reply(pem.error());
  }
  if (request.method == "GET" && request.path == "/certificates/root")
    co_return co_await export_root(query_of(request, "issuer"));
  co_return AdminReply{404, "no such command\n"};
}

asio::awaitable<AdminReply> Gatehouse::export_root(std::string issuer) {
  acme::InternalCa* ca = authorities_->internal(issuer);
  if (!ca) {
    co_return error_reply(
        Error{Fault::kNotFound, issuer.empty() ? "no vhost uses the built-in CA"
                                               : "no built-in CA \"" + issuer + "\" is in use"});
  }
  auto pem = co_await ca->root_pem();
  if (!pem) co_return error_reply(pem.error());
  co_return AdminReply{200, std::move(*pem), "application/x-pem-file"};
}

}  // namespace gatehouse::daemon
