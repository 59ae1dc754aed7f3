#include "store/lease.h"

#include <utility>

#include "daemon/base/json.h"
#include "daemon/base/log.h"
#include "store/kube_client.h"

namespace gatehouse::store {

namespace json = boost::json;
using boost::asio::awaitable;

// GCC 12 takes the allocation of a coroutine's frame for a plain one when it inlines only half of
// Asio's pair of operators.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace {

constexpr int kReleaseTries = 3;

std::string collection(const std::string& name_space) {
  return "/apis/coordination.k8s.io/v1/namespaces/" + name_space + "/leases/";
}

}  // namespace

std::string lease_json(const LeaseAction& action, const std::string& name_space,
                       const std::string& name, const std::string& metadata) {
  json::object about;
  auto seen = metadata.empty() ? Result<json::value>(json::object()) : parse_json(metadata);
  if (!action.resource_version.empty() && seen && seen->is_object()) about = seen->get_object();
  about["name"] = name;
  about["namespace"] = name_space;
  if (!action.resource_version.empty()) about["resourceVersion"] = action.resource_version;
  json::object spec;
  spec["holderIdentity"] = action.record.holder;
  spec["leaseDurationSeconds"] = action.record.duration_seconds;
  spec["acquireTime"] = action.record.acquire_time;
  spec["renewTime"] = action.record.renew_time;
  spec["leaseTransitions"] = action.record.transitions;
  json::object lease;
  lease["apiVersion"] = "coordination.k8s.io/v1";
  lease["kind"] = "Lease";
  lease["metadata"] = std::move(about);
  lease["spec"] = std::move(spec);
  return to_text(lease);
}

Result<LeaseObject> parse_lease(std::string_view text, std::string& metadata) {
  auto value = parse_json(text);
  if (!value) return std::move(value).error().in("lease");
  LeaseObject lease;
  JsonReader reader(*value, "lease");
  auto about = reader.object("metadata");
  lease.resource_version = about.string("resourceVersion");
  if (reader.has("spec")) {
    auto spec = reader.object("spec");
    lease.record.holder = spec.string_or("holderIdentity", "");
    lease.record.duration_seconds = spec.integer_or("leaseDurationSeconds", 0);
    lease.record.acquire_time = spec.string_or("acquireTime", "");
    lease.record.renew_time = spec.string_or("renewTime", "");
    lease.record.transitions = spec.integer_or("leaseTransitions", 0);
  }
  if (auto error = reader.error()) return std::move(*error);
  metadata = to_text(value->get_object().at("metadata"));
  return lease;
}

Lease::Lease(Parts parts, Options options, std::function<void()> on_change)
    : parts_(parts),
      options_(std::move(options)),
      on_change_(std::move(on_change)),
      election_(parts.loop.clock(), options_.identity, options_.timing),
      tasks_(parts.loop),
      deadline_(parts.loop.timers(), [this] { look(); }) {}

Lease::~Lease() = default;

void Lease::start() { tasks_.start("lease", run()); }

awaitable<void> Lease::run() {
  for (;;) {
    co_await try_once();
    look();
    const bool rested = co_await net::sleep_for(parts_.loop, election_.pause(parts_.random));
    if (!rested) co_return;
  }
}

awaitable<void> Lease::try_once() {
  std::optional<LeaseAction> action = election_.begin();
  look();  // Before anything is sent: a pause may have ended our term.
  while (action) {
    const bool is_read = action->kind == LeaseAction::Kind::kRead;
    Result<LeaseObject> answer = Error{};
    if (is_read) {
      answer = co_await read();
    } else {
      LeaseAction wanted = *action;
      answer = co_await write(std::move(wanted));
    }
    if (answer) {
      error_.clear();
      if (is_read) {
        action = election_.on_read(*answer);
        continue;
      }
      election_.on_written(*answer);
      co_return;
    }
    const Error& error = answer.error();
    if (error.fault == Fault::kCancelled) co_return;
    if (is_read && error.fault == Fault::kNotFound) {
      action = election_.on_absent();
      continue;
    }
    // Somebody else was faster: no trouble.
    if (error.fault != Fault::kConflict) {
      if (error_ != error.message)
        log(Level::kWarn, "lease.failed")
            .with("lease", options_.name_space + "/" + options_.name)
            .with("error", error.message);
      error_ = error.message;
    }
    action = election_.on_failed();
  }
}

awaitable<Result<LeaseObject>> Lease::read() {
  auto answer =
      co_await parts_.kube.get(collection(options_.name_space) + options_.name, /*waits=*/0);
  if (!answer) co_return std::move(answer).error().error;
  co_return take(*answer);
}

awaitable<Result<LeaseObject>> Lease::write(LeaseAction action) {
  std::string body = lease_json(action, options_.name_space, options_.name, metadata_);
  auto answer = co_await parts_.kube.put(collection(options_.name_space) + options_.name,
                                         std::move(body), /*waits=*/0);
  if (!answer) co_return std::move(answer).error().error;
  co_return take(*answer);
}

Result<LeaseObject> Lease::take(const std::string& json) { return parse_lease(json, metadata_); }

void Lease::look() {
  const bool is_held = election_.is_leading();
  const std::string lease = options_.name_space + "/" + options_.name;
  if (const auto& seen = election_.observed(); seen && seen->record.holder != holder_) {
    holder_ = seen->record.holder;
    log(Level::kInfo, "lease.holder").with("lease", lease).with("holder", holder_);
  }
  if (is_held)
    deadline_.arm(election_.leads_until() - parts_.loop.clock().steady_now());
  else
    deadline_.cancel();
  if (is_held == was_held_ && election_.term() == last_term_) return;
  was_held_ = is_held;
  last_term_ = election_.term();
  if (is_held)
    log(Level::kInfo, "lease.acquired").with("lease", lease).with("identity", options_.identity);
  else
    log(Level::kWarn, "lease.lost").with("lease", lease).with("identity", options_.identity);
  on_change_();
}

awaitable<void> Lease::stop() {
  tasks_.stop();
  co_await tasks_.join();
  deadline_.cancel();
  for (int tries = 0; tries < kReleaseTries; ++tries) {
    auto action = election_.release();
    if (!action) co_return;
    LeaseAction wanted = *action;
    auto written = co_await write(std::move(wanted));
    if (written) {
      election_.on_released();
      was_held_ = false;
      log(Level::kInfo, "lease.released").with("lease", options_.name_space + "/" + options_.name);
      co_return;
    }
    if (written.error().fault != Fault::kConflict) co_return;
    auto now = co_await read();
    if (!now) co_return;
    (void)election_.on_read(*now);
  }
}

Lease::View Lease::view() const {
  View view;
  view.error = error_;
  if (const auto& seen = election_.observed()) {
    view.holder = seen->record.holder;
    view.acquire_time = seen->record.acquire_time;
    view.seen_ago = parts_.loop.clock().steady_now() - election_.observed_at();
  }
  return view;
}

}  // namespace gatehouse::store
