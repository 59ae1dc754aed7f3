#include "acme/keeper.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "acme/keeper_entry.h"
#include "daemon/base/log.h"
#include "daemon/base/text.h"

namespace gatehouse::acme {
namespace {

using boost::asio::awaitable;

constexpr int kJobsPerCa = 4;
// Wall time may jump; timers run on steady time. So nobody sleeps longer than this in one piece.
constexpr Duration kRecheck = 1h;
constexpr Duration kStaleOrder = 7 * 24h;

Duration until(WallTime when, WallTime now) {
  if (when <= now) return Duration{0};
  if (std::chrono::floor<std::chrono::hours>(when) - std::chrono::floor<std::chrono::hours>(now) >
      std::chrono::hours(1))
    return kRecheck;
  return std::min<Duration>(when - now, kRecheck);
}

}  // namespace

Keeper::Keeper(Parts parts, OnCertificate on_certificate)
    : parts_(parts), on_certificate_(std::move(on_certificate)) {}

Keeper::~Keeper() = default;

Result<void> Keeper::load() {
  Result<void> outcome;
  auto certificates = parts_.certificates.load_all(parts_.loop.clock().wall_now());
  if (certificates) {
    for (auto& one : *certificates) loaded_.insert_or_assign(one.credential->name, std::move(one));
  } else {
    outcome = std::move(certificates).error().in("reading certificates");
  }
  auto renewal = parts_.certificates.load_renewal();
  if (renewal) {
    renewal_ = std::move(*renewal);
    for (const auto& hold : renewal_.holds) holds_[{hold.ca, hold.name}] = hold.not_before;
  } else {
    outcome = std::move(renewal).error().in("reading the renewal schedule");
  }
  auto orders = parts_.orders.load_orders();
  if (orders) {
    for (auto& order : *orders) orders_.insert_or_assign(order.certificate, std::move(order));
  } else {
    outcome = std::move(orders).error().in("reading orders in flight");
  }
  if (!outcome) log(Level::kError, "store.unreadable").with("error", outcome.error().message);
  return outcome;
}

void Keeper::set_certificates(std::vector<ManagedCertificate> wanted,
                              const std::vector<CertificateAuthority*>& authorities) {
  authorities_.clear();
  for (auto* authority : authorities) authorities_[authority->name()] = authority;
  std::set<std::string> names;
  for (const auto& one : wanted) names.insert(one.name);
  for (auto next = entries_.begin(); next != entries_.end();) {
    auto& entry = *(next++)->second;  // drop() may erase it
    if (!names.contains(entry.kept.wanted.name)) drop(entry);
  }
  for (auto& one : wanted) {
    const auto found = entries_.find(one.name);
    if (found == entries_.end())
      add(std::move(one));
    else
      change(*found->second, std::move(one));
  }
}

void Keeper::add(ManagedCertificate wanted) {
  const std::string name = wanted.name;
  auto entry = std::make_unique<Entry>(parts_.loop.timers(), [this, name] {
    if (auto* due = find_entry(name)) on_due(*due);
  });
  auto& kept = entry->kept;
  kept.wanted = std::move(wanted);
  kept.facts.name = name;
  if (const auto facts = renewal_.facts.extract(name)) kept.facts = facts.mapped();
  if (const auto ari = renewal_.ari.extract(name)) kept.ari = ari.mapped();
  if (const auto loaded = loaded_.extract(name))
    kept.adopt(loaded.mapped().credential, loaded.mapped().ca);
  if (const auto order = orders_.extract(name)) {
    // Interrupted in mid-order: at once. One that failed keeps its schedule.
    const auto& failed = kept.facts.last_error;
    kept.resumes_order =
        !failed || kept.facts.attempts == 0 || failed->at < order.mapped().updated_at;
    if (kept.resumes_order) kept.facts.ca = order.mapped().ca;
  }
  auto& added = *entries_.insert_or_assign(name, std::move(entry)).first->second;
  show(added);
  if (kept.current) on_certificate_(kept.current);
  if (is_started_) plan(added);
}

void Keeper::change(Entry& entry, ManagedCertificate wanted) {
  if (std::exchange(entry.is_dropped, false)) {
    show(entry);
    if (entry.kept.current) on_certificate_(entry.kept.current);
  }
  auto& now = entry.changed ? *entry.changed : entry.kept.wanted;
  if (now.names == wanted.names && now.issuers == wanted.issuers && now.key == wanted.key) return;
  // Other names or CAs: what failed before says nothing about them.
  entry.changed = std::move(wanted);
  cancel(entry);
}

void Keeper::drop(Entry& entry) {
  hide(entry);
  const Error gone{Fault::kCancelled, "the certificate is no longer configured"};
  answer(entry, gone);
  entry.is_dropped = true;
  entry.timer.cancel();
  cancel(entry);
}

/// Tells the job to end; end() follows. One that has not begun never does.
void Keeper::cancel(Entry& entry) {
  if (entry.job) entry.job->tasks.stop();
  if (!entry.job || !entry.job->is_begun) end(entry);
}

void Keeper::start() {
  is_started_ = true;
  for (const bool resumes : {true, false})
    for (auto& [name, entry] : entries_)
      if (entry->kept.resumes_order == resumes) plan(*entry);
  auto& job = jobs_.emplace_back(parts_.loop, "");
  job.is_over = true;  // Nobody waits for it; it is reaped when it has ended.
  job.tasks.start("stale orders", forget_stale_orders());
}

awaitable<void> Keeper::stop() {
  is_stopped_ = true;
  const Error stopping{Fault::kCancelled, "the daemon stops"};
  for (auto& [name, entry] : entries_) {
    entry->timer.cancel();
    answer(*entry, stopping);
  }
  for (auto& job : jobs_) job.tasks.stop();
  for (auto& job : jobs_) co_await job.tasks.join();
}

Keeper::Entry* Keeper::find_entry(const std::string& name) {
  const auto found = entries_.find(name);
  if (found != entries_.end() && !found->second->is_dropped) return found->second.get();
  for (auto& [key, entry] : entries_) {
    const auto& names = entry->kept.wanted.names;
    if (entry->is_dropped) continue;
    if (std::find(names.begin(), names.end(), name) != names.end()) return entry.get();
    if (entry->kept.current && entry->kept.current->facts.covers(name)) return entry.get();
  }
  return nullptr;
}

void Keeper::plan(Entry& entry) {
  if (!is_started_ || is_stopped_ || entry.job || entry.is_queued || entry.is_dropped) return;
  const WallTime now = parts_.loop.clock().wall_now();
  // Not written down here: until something happens the same facts give an equal time again, and a
  // restart of ten thousand names should not write ten thousand rows.
  entry.kept.schedule(now, parts_.random);
  entry.next = entry.kept.next_job(holds_, now);
  if (entry.issued_steady && entry.next.kind == JobKind::kIssue && !entry.kept.wants_now) {
    const Duration passed = parts_.loop.clock().steady_now() - *entry.issued_steady;
    if (passed < kIssuanceFloor)
      entry.next.when =
          std::max(entry.next.when,
                   now + std::chrono::duration_cast<WallTime::duration>(kIssuanceFloor - passed));
  }
  // What another node does must not keep this one from writing down what it has.
  if (entry.kept.unsaved && is_held_back(entry.next))
    entry.next = Job{JobKind::kSave, entry.kept.save_at, "", "a shared certificate"};
  // Without an authority (an issuer that is not configured) there is nobody to ask.
  const bool can_act =
      entry.next.kind == JobKind::kSave ||
      (authorities_.contains(entry.next.ca) && !is_held_back(entry.next) && !is_awaited(entry));
  entry.timer.arm(can_act ? until(entry.next.when, now) : kRecheck);
}

void Keeper::on_due(Entry& entry) {
  if (entry.job || entry.is_queued || is_stopped_) return;
  plan(entry);  // The wall clock decides, and it may have moved.
  if (entry.next.when > parts_.loop.clock().wall_now()) return;
  if (entry.next.kind != JobKind::kSave && !authorities_.contains(entry.next.ca)) return;
  if (is_held_back(entry.next) || (entry.next.kind != JobKind::kSave && is_awaited(entry))) return;
  entry.timer.cancel();
  if (!entry.next.ca.empty() && running_[entry.next.ca] >= kJobsPerCa) {
    entry.is_queued = true;
    waiting_[entry.next.ca].push_back(entry.kept.wanted.name);
    return;
  }
  begin(entry, entry.next);
}

void Keeper::begin(Entry& entry, const Job& job) {
  reap();
  if (!job.ca.empty()) ++running_[job.ca];
  entry.job = &jobs_.emplace_back(parts_.loop, job.ca);
  entry.job->tasks.start("certificate " + entry.kept.wanted.name, run_job(entry, job));
}

awaitable<void> Keeper::run_job(Entry& entry, Job job) {
  entry.job->is_begun = true;
  switch (job.kind) {
    case JobKind::kIssue: co_await issue(entry, job.ca); break;
    case JobKind::kPollAri: co_await poll_ari(entry, job.ca); break;
    case JobKind::kSave: co_await save(entry); break;
  }
  end(entry);
}

/// The job is over (or there was none): what waited for that is done now.
void Keeper::end(Entry& entry) {
  std::string ca;
  if (entry.job) {
    ca = entry.job->ca;
    entry.job->is_over = true;
    entry.job = nullptr;
  }
  entry.step.clear();
  if (entry.changed) {
    entry.kept.wanted = *std::exchange(entry.changed, std::nullopt);
    entry.kept.facts.attempts = entry.kept.facts.ca_attempts = 0;
    entry.kept.facts.ca.clear();
    entry.kept.facts.last_error.reset();
    entry.kept.resumes_order = false;
  }
  if (entry.offered && !entry.is_dropped) take(entry, *std::exchange(entry.offered, std::nullopt));
  if (entry.is_dropped) {
    auto& kept = entry.kept;
    const std::string name = kept.wanted.name;
    // Should it be configured again, it goes on from here.
    if (kept.current)
      loaded_[name] = {kept.current, kept.current_ca, kept.facts.last_issued.value_or(WallTime{})};
    renewal_.facts[name] = kept.facts;
    renewal_.ari[name] = kept.ari;
    entries_.erase(name);
  } else {
    plan(entry);
  }
  if (ca.empty()) return;
  --running_[ca];
  for (auto& queue = waiting_[ca]; !queue.empty() && running_[ca] < kJobsPerCa && !is_stopped_;) {
    const auto found = entries_.find(queue.front());
    queue.pop_front();
    if (found == entries_.end() || !found->second->is_queued) continue;
    found->second->is_queued = false;
    on_due(*found->second);
  }
}

void Keeper::answer(Entry& entry, const Result<void>& result) {
  for (auto* waiter : std::exchange(entry.waiters, {})) {
    waiter->result = result;
    waiter->parked.cancel();
  }
}

void Keeper::reap() {
  jobs_.remove_if([](const RunningJob& job) { return job.is_over && job.tasks.is_empty(); });
}

awaitable<Result<void>> Keeper::renew(std::string name) {
  auto* entry = find_entry(name);
  if (!entry || !is_started_ || is_stopped_) {
    Error none{Fault::kNotFound, "no certificate is managed for " + name};
    co_return none;
  }
  auto& kept = entry->kept;
  const WallTime now = parts_.loop.clock().wall_now();
  kept.wants_now = true;
  const Job job = kept.next_job(holds_, now);
  if (job.when > now || !authorities_.contains(job.ca)) {
    kept.wants_now = false;
    Error refused{Fault::kRateLimited,
                  job.ca + " asked us to wait until " + format_rfc3339(job.when)};
    if (job.when <= now) refused = {Fault::kNotFound, "no issuer of " + name + " is configured"};
    co_return refused;
  }
  if (is_awaited(*entry)) {
    kept.wants_now = false;
    Error early{Fault::kConflict, "its Secrets are read first; that takes a minute at most"};
    co_return early;
  }
  if (is_held_back(job)) {
    kept.wants_now = false;
    Error elsewhere{Fault::kConflict, parts_.fleet->reason()};
    co_return elsewhere;
  }
  Waiter waiter{boost::asio::steady_timer(parts_.loop.context(), SteadyTime::max()), {}};
  entry->waiters.push_back(&waiter);
  const std::string key = kept.wanted.name;
  on_due(*entry);
  while (!waiter.result) {
    co_await waiter.parked.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    if (waiter.result) break;
    const auto state = co_await boost::asio::this_coro::cancellation_state;
    if (state.cancelled() == boost::asio::cancellation_type::none) continue;
    // Nobody waits for the answer any more; the renewal itself goes on.
    if (const auto found = entries_.find(key); found != entries_.end())
      std::erase(found->second->waiters, &waiter);
    Error cancelled{Fault::kCancelled, "not waited for"};
    co_return cancelled;
  }
  co_return *waiter.result;
}

/// Orders of names that are not configured: kept for a while, since a name may come back.
awaitable<void> Keeper::forget_stale_orders() {
  const WallTime now = parts_.loop.clock().wall_now();
  std::vector<std::string> stale;
  for (const auto& [name, order] : orders_)
    if (within(order.expires_at.value_or(order.updated_at + kStaleOrder), now, kStaleOrder) < now)
      stale.push_back(name);
  for (const auto& name : stale) {
    orders_.erase(name);
    const auto gone = co_await parts_.orders.delete_order(name);
    if (!gone)
      log(Level::kWarn, "order.not_deleted").with("name", name).with("error", gone.error().message);
  }
}

net::CredentialPtr Keeper::loaded(const std::string& name) const {
  const auto found = loaded_.find(name);
  return found == loaded_.end() ? nullptr : found->second.credential;
}

void Keeper::remember(net::CredentialPtr credential) {
  const std::string name = credential->name;
  loaded_.insert_or_assign(
      name, store::LoadedCertificate{std::move(credential), "", parts_.loop.clock().wall_now()});
}

net::CredentialPtr Keeper::find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : found->second->kept.current;
}

std::string Keeper::issuer_of(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? "" : found->second->kept.current_ca;
}

}  // namespace gatehouse::acme
