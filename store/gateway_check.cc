#include "store/gateway_check.h"

#include <algorithm>
#include <set>
#include <utility>

#include "daemon/base/backoff.h"
#include "daemon/base/log.h"
#include "daemon/base/text.h"

namespace gatehouse::store {

using boost::asio::awaitable;
using State = GatewayStatus::State;

namespace {

constexpr Duration kAtFirst = 20s;  // with a second between handshakes
constexpr Duration kPace = 1s;
constexpr Duration kSlowPace = 5s;
constexpr Duration kLatePace = 30s;

Labels labels_of(const std::string& certificate) { return {{"certificate", certificate}}; }

std::int64_t in_ms(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

std::string address_of(const GatewayTarget& target) {
  const bool is_v6 = target.host.find(':') != std::string::npos;
  return (is_v6 ? "[" + target.host + "]" : target.host) + ":" + std::to_string(target.port);
}

}  // namespace

std::string_view to_string(State state) {
  switch (state) {
    case State::kWaiting: return "waiting";
    case State::kPending: return "pending";
    case State::kServed: return "served";
    case State::kLate: return "late";
  }
  return "";
}

std::string name_to_ask(const net::CertificateFacts& facts) {
  for (const std::string& name : facts.dns_names)
    if (!name.starts_with("*.")) return name;
  return facts.dns_names.empty() ? "" : "example" + facts.dns_names.front().substr(1);
}

struct GatewayCheck::Entry {
  Entry(net::Loop& loop, std::function<void()> on_due) : timer(loop.timers(), std::move(on_due)) {}

  GatewayTarget target;
  State state = State::kWaiting;
  net::CredentialPtr expected;
  bool was_written = false;  // by us, at `since`: the lag is known
  SteadyTime since{};
  std::string shown, reason;
  std::optional<Duration> lag;
  std::optional<WallTime> next;
  std::uint64_t round = 0;  // of asking: answers of another one say nothing
  bool is_asking = false;   // or waits for its turn
  Timer timer;
};

GatewayCheck::GatewayCheck(Parts parts, net::CertificateProbe probe)
    : parts_(parts), probe_(std::move(probe)), tasks_(parts.loop) {}

GatewayCheck::~GatewayCheck() = default;

void GatewayCheck::use(std::vector<GatewayTarget> targets) {
  std::set<std::string> wanted;
  for (const GatewayTarget& target : targets) wanted.insert(target.certificate);
  std::erase_if(entries_, [&](const auto& one) {
    if (wanted.contains(one.first)) return false;
    parts_.metrics.remove("gatehouse_gateway_in_time", labels_of(one.first));
    parts_.metrics.remove("gatehouse_gateway_lag_seconds", labels_of(one.first));
    return true;
  });
  for (GatewayTarget& target : targets) {
    auto& entry = entries_[target.certificate];
    if (entry && entry->target == target) continue;
    if (!entry)
      entry =
          std::make_unique<Entry>(parts_.loop, [this, name = target.certificate] { on_due(name); });
    entry->target = std::move(target);
    entry->was_written = false;
    if (entry->expected) begin(*entry);
  }
}

void GatewayCheck::expect(const net::CredentialPtr& credential, bool is_written) {
  Entry* entry = find(credential->name);
  if (!entry || tasks_.is_stopped()) return;
  const bool is_known = entry->expected && entry->expected->facts.fingerprint_sha256_hex ==
                                               credential->facts.fingerprint_sha256_hex;
  if (is_known && !is_written) return;
  const bool has_been_served = entry->state == State::kServed;
  entry->expected = credential;
  // Into a further Secret, or repaired: the first time counts.
  if (is_known && !has_been_served) return;
  entry->was_written = is_written && !is_known;
  begin(*entry);
}

void GatewayCheck::begin(Entry& entry) {
  entry.round = ++rounds_;
  entry.state = State::kPending;
  entry.since = parts_.loop.clock().steady_now();
  entry.reason = "it was not asked yet";
  show(entry);
  entry.next = parts_.loop.clock().wall_now();
  entry.timer.arm(Duration{});
}

awaitable<void> GatewayCheck::stop() {
  for (auto& [name, entry] : entries_) entry->timer.cancel();
  queue_.clear();
  tasks_.stop();
  co_await tasks_.join();
}

GatewayCheck::Entry* GatewayCheck::find(const std::string& certificate) {
  const auto found = entries_.find(certificate);
  return found == entries_.end() ? nullptr : found->second.get();
}

/// The next look; at the bound in any case.
void GatewayCheck::plan(Entry& entry) {
  const Duration passed = parts_.loop.clock().steady_now() - entry.since;
  Duration pause = with_jitter(passed < kAtFirst ? kPace : kSlowPace, 0.1, parts_.random);
  if (entry.state == State::kLate)
    pause = with_jitter(kLatePace, 0.1, parts_.random);
  else
    pause = std::clamp<Duration>(entry.target.within - passed, Duration{}, pause);
  entry.next =
      parts_.loop.clock().wall_now() + std::chrono::duration_cast<WallTime::duration>(pause);
  entry.timer.arm(pause);
}

void GatewayCheck::on_due(const std::string& certificate) {
  Entry* entry = find(certificate);
  if (!entry || tasks_.is_stopped()) return;
  const Duration passed = parts_.loop.clock().steady_now() - entry->since;
  if (entry->state == State::kPending && passed >= entry->target.within) sound_alarm(*entry);
  if (entry->is_asking) return plan(*entry);  // For the bound.
  entry->is_asking = true;
  if (running_ < kHandshakesMax)
    start_handshake(*entry);
  else
    queue_.push_back(certificate);
  plan(*entry);
}

void GatewayCheck::start_handshake(Entry& entry) {
  ++running_;
  tasks_.start("handshake for " + entry.target.certificate,
               ask(entry.target.certificate, entry.round));
}

awaitable<void> GatewayCheck::ask(std::string certificate, std::uint64_t round) {
  Result<net::CertificateFacts> shown = Error{Fault::kCancelled, "nobody wants to know any more"};
  if (Entry* entry = find(certificate)) {
    net::ProbeRequest request;
    request.host = entry->target.host;
    request.port = entry->target.port;
    request.server_name = name_to_ask(entry->expected->facts);
    shown = co_await probe_(std::move(request));
  }
  --running_;
  if (tasks_.is_stopped()) co_return;
  if (Entry* entry = find(certificate)) {
    entry->is_asking = false;
    // For what is expected by now, it is asked again at once.
    if (entry->round == round)
      note(*entry, shown);
    else
      entry->timer.arm(Duration{});
  }
  while (running_ < kHandshakesMax && !queue_.empty()) {
    Entry* entry = find(queue_.front());
    queue_.pop_front();
    if (entry && entry->is_asking) start_handshake(*entry);
  }
}

void GatewayCheck::note(Entry& entry, const Result<net::CertificateFacts>& shown) {
  if (!shown) {
    entry.reason = shown.error().message;
  } else if (shown->fingerprint_sha256_hex == entry.expected->facts.fingerprint_sha256_hex) {
    entry.shown = shown->serial_hex;
    return note_served(entry);
  } else {
    entry.shown = shown->serial_hex;
    entry.reason = "it shows the serial " + shown->serial_hex;
  }
  plan(entry);
}

void GatewayCheck::note_served(Entry& entry) {
  const Duration passed = parts_.loop.clock().steady_now() - entry.since;
  const bool is_news = entry.was_written || entry.state == State::kLate;
  if (entry.was_written) {
    entry.lag = passed;
    parts_.metrics
        .gauge("gatehouse_gateway_lag_seconds",
               "From a certificate's Secret to the gateway that shows it, the last time",
               labels_of(entry.target.certificate))
        .set(std::chrono::duration<double>(passed).count());
  }
  log(is_news ? Level::kInfo : Level::kDebug, "gateway.serves")
      .with("certificate", entry.target.certificate)
      .with("address", address_of(entry.target))
      .with("serial", entry.expected->facts.serial_hex)
      .with("waited_ms", in_ms(passed));
  entry.state = State::kServed;
  entry.was_written = false;
  entry.reason.clear();
  entry.next.reset();
  entry.timer.cancel();
  show(entry);
}

void GatewayCheck::sound_alarm(Entry& entry) {
  entry.state = State::kLate;
  show(entry);
  log(Level::kError, "gateway.late")
      .with("certificate", entry.target.certificate)
      .with("address", address_of(entry.target))
      .with("server_name", name_to_ask(entry.expected->facts))
      .with("serial", entry.expected->facts.serial_hex)
      .with("reason", entry.reason)
      .with("within_ms", in_ms(entry.target.within));
}

void GatewayCheck::show(const Entry& entry) {
  parts_.metrics
      .gauge("gatehouse_gateway_in_time",
             "1 while the gateway shows the certificate, or has time to; 0 is worth an alert",
             labels_of(entry.target.certificate))
      .set(entry.state == State::kLate ? 0 : 1);
}

std::vector<GatewayStatus> GatewayCheck::status() const {
  std::vector<GatewayStatus> all;
  for (const auto& [name, entry] : entries_) {
    GatewayStatus status;
    status.certificate = name;
    status.address = address_of(entry->target);
    status.state = entry->state;
    if (entry->expected) {
      status.server_name = name_to_ask(entry->expected->facts);
      status.serial = entry->expected->facts.serial_hex;
    }
    status.shown = entry->shown;
    status.reason = entry->reason;
    status.lag = entry->lag;
    status.next = entry->next;
    all.push_back(std::move(status));
  }
  return all;
}

}  // namespace gatehouse::store
