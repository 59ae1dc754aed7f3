// What the keeper's jobs do: one attempt at a certificate with everything that follows from its
// outcome, one poll of a window, one more try to write down what the store refused.

#include <algorithm>
#include <utility>

#include "acme/keeper.h"
#include "acme/keeper_entry.h"
#include "daemon/base/kill_point.h"
#include "daemon/base/log.h"
#include "daemon/base/text.h"

namespace gatehouse::acme {
namespace {

using boost::asio::awaitable;

constexpr int kRetriesAtOnce = 2;
constexpr Duration kSaveAgain = 1min;
constexpr Duration kAccountHold = 24h;

WallTime after(WallTime from, Duration by) {
  return from + std::chrono::duration_cast<WallTime::duration>(by);
}

Labels labels_of(const std::string& name) { return {{"certificate", name}}; }

}  // namespace

awaitable<void> Keeper::issue(Entry& entry, std::string ca) {
  auto& kept = entry.kept;
  const WallTime begun = parts_.loop.clock().wall_now();
  kept.resumes_order = false;
  note_step(entry, ca, "starting");
  auto outcome = co_await attempt(entry, *authorities_.at(ca));
  kept.wants_now = false;
  if (outcome) {
    co_await accept(entry, ca, *outcome, begun);
    answer(entry, Result<void>());
    co_return;
  }
  AttemptFailure failure = std::move(outcome).error();
  if (failure.error.fault == Fault::kCancelled) {
    answer(entry, failure.error);
    co_return;
  }
  const Error told = failure.error;
  co_await record_failure(entry, ca, std::move(failure));
  answer(entry, told);
}

/// Repeats at once what the CA wants to be asked differently, a few times.
awaitable<AttemptResult> Keeper::attempt(Entry& entry, CertificateAuthority& authority) {
  auto& kept = entry.kept;
  for (int tried = 0;; ++tried) {
    IssueTask task{kept.wanted, "", nullptr};
    // RFC 9773 section 5: only towards the CA whose leaf it is.
    const bool replaces = kept.current && kept.current_ca == authority.name() &&
                          kept.ari.ari_id != kept.facts.replaces_refused;
    if (replaces) task.replaces = kept.ari.ari_id;
    task.on_step = [this, &entry, ca = authority.name()](std::string_view step) {
      note_step(entry, ca, step);
    };
    AttemptResult outcome = co_await authority.issue(std::move(task));
    if (outcome) {
      const auto& facts = (*outcome)->facts;
      const auto& names = kept.wanted.names;
      if (std::all_of(names.begin(), names.end(), [&](auto& name) { return facts.covers(name); }))
        co_return outcome;
      AttemptFailure wrong;
      wrong.reaction = Reaction::kPersistent;
      wrong.error = {Fault::kProtocol, "the certificate does not cover all names"};
      co_return wrong;
    }
    const auto& failure = outcome.error();
    // For ever, for this leaf: repeating it has let certificates expire.
    if (failure.is_replaced_already) kept.facts.replaces_refused = kept.ari.ari_id;
    const bool at_once = failure.is_replaced_already || failure.reaction == Reaction::kRetrySoon;
    if (!at_once || failure.not_before || tried >= kRetriesAtOnce || entry.is_dropped ||
        entry.changed || is_stopped_)
      co_return outcome;
  }
}

awaitable<void> Keeper::accept(Entry& entry, std::string ca, net::CredentialPtr credential,
                               WallTime begun) {
  auto& kept = entry.kept;
  const WallTime now = parts_.loop.clock().wall_now();
  const bool is_renewal = kept.current != nullptr;
  kept.adopt(credential, ca);
  const std::string name = kept.wanted.name;
  kept.facts = store::RenewalFacts{};
  kept.facts.name = name;
  kept.facts.last_issued = now;
  entry.issued_steady = parts_.loop.clock().steady_now();
  kept.schedule(now, parts_.random);
  store::CertificateRecord record;
  record.name = name;
  record.names = kept.wanted.names;
  record.chain_pem = credential->chain.to_pem();
  record.ca = ca;
  record.issued_at = now;
  if (auto pem = credential->key.to_pem()) record.key_pem = std::move(*pem);
  kept.unsaved = std::move(record);
  // Served from now on, whether the store can keep it or not: nobody sees it in the status before
  // it is live. A name that was dropped meanwhile is only kept.
  if (!entry.is_dropped) {
    on_certificate_(credential);
    show(entry);
  }
  note_step(entry, ca, "saving");
  co_await save(entry);
  parts_.metrics.counter("gatehouse_certificates_issued_total", "Certificates issued", {{"ca", ca}})
      .add();
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(now - begun).count();
  log(Level::kInfo, is_renewal ? "certificate.renewed" : "certificate.issued")
      .with("name", name)
      .with("ca", ca)
      .with("not_after", format_rfc3339(credential->facts.not_after))
      .with("next_try", format_rfc3339(kept.facts.next_try.value_or(now)))
      .with("took_ms", std::int64_t{took});
}

awaitable<void> Keeper::record_failure(Entry& entry, std::string ca, AttemptFailure failure) {
  auto& kept = entry.kept;
  auto& facts = kept.facts;
  const WallTime now = parts_.loop.clock().wall_now();
  facts.attempts = std::min(facts.attempts + 1, 1000);
  facts.ca_attempts = facts.ca == ca ? facts.ca_attempts + 1 : 1;
  facts.ca = ca;
  facts.last_error = store::LastError{failure.problem_type, failure.error.message, ca, now};
  FailureContext context;
  context.attempts = facts.attempts;
  context.ca_attempts = facts.ca_attempts;
  context.ca_count = static_cast<int>(kept.wanted.issuers.size());
  context.has_valid_certificate = kept.is_valid_at(now);
  const Reaction reaction = failure.reaction;
  co_await keep_hold(entry, ca, failure);
  // Held back here, another CA may still be asked: then only the schedule counts.
  const std::string free_ca = kept.pick_ca(holds_, now);
  if (!free_ca.empty() && free_ca != ca) {
    failure.not_before.reset();
    failure.reaction = Reaction::kTransient;
  }
  facts.next_try = next_attempt(failure, context, now, parts_.random);
  if (facts.ca_attempts >= kAttemptsPerCa) fail_over(entry, ca);
  parts_.metrics
      .counter("gatehouse_certificate_failures_total", "Failed attempts to get a certificate",
               {{"certificate", facts.name}, {"problem", failure.problem_type}})
      .add();
  const bool needs_person = reaction == Reaction::kPersistent || reaction == Reaction::kAccount ||
                            (kept.current && !context.has_valid_certificate);
  log(needs_person ? Level::kError : Level::kWarn, "certificate.failed")
      .with("name", facts.name)
      .with("ca", ca)
      .with("problem", failure.problem_type)
      .with("error", failure.error.message)
      .with("reaction", to_string(reaction))
      .with("attempts", facts.attempts)
      .with("expired", kept.current && !context.has_valid_certificate)
      .with("next_try", format_rfc3339(*facts.next_try));
  co_await save_facts(entry);
}

/// Writes down how long the CA wants to be left alone, for this certificate or for all.
awaitable<void> Keeper::keep_hold(Entry& entry, std::string ca, AttemptFailure failure) {
  const WallTime now = parts_.loop.clock().wall_now();
  if (!failure.not_before && failure.reaction != Reaction::kAccount) co_return;
  const bool is_wide = failure.is_ca_wide || failure.reaction == Reaction::kAccount;
  store::Hold hold;
  hold.ca = std::move(ca);
  if (!is_wide) hold.name = entry.kept.wanted.name;
  // Rounded up, since the store keeps milliseconds: never earlier than the CA said.
  hold.not_before = std::chrono::ceil<std::chrono::milliseconds>(
      within(failure.not_before.value_or(after(now, kAccountHold)), now, kHoldMax));
  holds_[{hold.ca, hold.name}] = hold.not_before;
  const auto kept = co_await parts_.certificates.save_hold(std::move(hold));
  if (!kept) log(Level::kError, "store.not_saved").with("error", kept.error().message);
}

void Keeper::fail_over(Entry& entry, const std::string& failed_ca) {
  const auto& issuers = entry.kept.wanted.issuers;
  if (issuers.size() < 2) return;
  const auto at = std::find(issuers.begin(), issuers.end(), failed_ca);
  const auto next = at == issuers.end() || at + 1 == issuers.end() ? issuers.begin() : at + 1;
  entry.kept.facts.ca = *next;
  entry.kept.facts.ca_attempts = 0;
  log(Level::kWarn, "certificate.failover")
      .with("name", entry.kept.wanted.name)
      .with("from", failed_ca)
      .with("ca", *next)
      .with("next_try", format_rfc3339(*entry.kept.facts.next_try));
}

awaitable<void> Keeper::poll_ari(Entry& entry, std::string ca) {
  auto& kept = entry.kept;
  const std::string ari_id = kept.ari.ari_id;
  auto polled = co_await authorities_.at(ca)->renewal_info(ari_id);
  if (entry.is_dropped || is_stopped_ || kept.ari.ari_id != ari_id) co_return;
  const WallTime now = parts_.loop.clock().wall_now();
  if (polled) {
    const auto before = kept.ari.chosen;
    apply_ari(kept.ari, *polled, kept.validity(), now, parts_.random);
    if (kept.ari.chosen && kept.ari.chosen != before)
      log(Level::kInfo, "certificate.window")
          .with("name", kept.wanted.name)
          .with("start", format_rfc3339(*kept.ari.start))
          .with("end", format_rfc3339(*kept.ari.end))
          .with("renewal", format_rfc3339(*kept.ari.chosen))
          .with("explanation", kept.ari.explanation_url);
  } else if (polled.error().fault == Fault::kCancelled) {
    co_return;
  } else {
    apply_ari_failure(kept.ari, polled.error(), now, parts_.random);
    const bool is_news = polled.error().fault != Fault::kUnsupported;
    log(is_news ? Level::kWarn : Level::kDebug, "certificate.window_failed")
        .with("name", kept.wanted.name)
        .with("ca", ca)
        .with("error", polled.error().message)
        .with("next_try", format_rfc3339(*kept.ari.next_poll));
  }
  const auto saved = co_await parts_.certificates.save_ari(kept.wanted.name, kept.ari);
  if (!saved) log(Level::kWarn, "store.not_saved").with("error", saved.error().message);
}

/// Ends the order: certificate, facts and the order's row in one transaction.
awaitable<void> Keeper::save(Entry& entry) {
  auto& kept = entry.kept;
  if (!kept.unsaved) co_return;
  store::CertificateRecord record = *kept.unsaved;
  store::RenewalFacts facts = kept.facts;
  kill_point("acme.order.finish.before");
  const auto saved = co_await parts_.certificates.finish_order(std::move(record), std::move(facts));
  kill_point("acme.order.finish.after");
  if (saved) {
    if (!kept.unsaved_error.message.empty())
      log(Level::kInfo, "certificate.saved").with("name", kept.wanted.name);
    kept.unsaved.reset();
    kept.unsaved_error = {};
    co_return;
  }
  const bool is_first = kept.unsaved_error.message.empty();
  kept.unsaved_error = saved.error();
  kept.save_at = after(parts_.loop.clock().wall_now(), kSaveAgain);
  log(is_first ? Level::kError : Level::kDebug, "certificate.not_saved")
      .with("name", kept.wanted.name)
      .with("error", saved.error().message)
      .with("next_try", format_rfc3339(kept.save_at));
}

awaitable<void> Keeper::save_facts(Entry& entry) {
  store::RenewalFacts facts = entry.kept.facts;
  const auto saved = co_await parts_.certificates.save_facts(std::move(facts));
  if (!saved)
    log(Level::kError, "store.not_saved")
        .with("name", entry.kept.wanted.name)
        .with("error", saved.error().message);
}

void Keeper::note_step(Entry& entry, const std::string& ca, std::string_view step) {
  if (entry.step == step) return;
  entry.step = step;
  entry.step_ca = ca;
  entry.step_since = parts_.loop.clock().wall_now();
  log(Level::kInfo, "order.step")
      .with("name", entry.kept.wanted.name)
      .with("ca", ca)
      .with("step", step);
}

void Keeper::show(const Entry& entry) {
  if (!entry.kept.current) return;
  // One series per certificate, whatever its serial: an old one must not fire alerts.
  const auto seconds = [](WallTime time) {
    return static_cast<double>(
        std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count());
  };
  const auto labels = labels_of(entry.kept.wanted.name);
  const auto& facts = entry.kept.current->facts;
  parts_.metrics
      .gauge("gatehouse_certificate_not_after_seconds", "End of the certificate, Unix time", labels)
      .set(seconds(facts.not_after));
  parts_.metrics
      .gauge("gatehouse_certificate_not_before_seconds", "Begin of the certificate, Unix time",
             labels)
      .set(seconds(facts.not_before));
}

void Keeper::hide(const Entry& entry) {
  const auto labels = labels_of(entry.kept.wanted.name);
  parts_.metrics.remove("gatehouse_certificate_not_after_seconds", labels);
  parts_.metrics.remove("gatehouse_certificate_not_before_seconds", labels);
}

}  // namespace gatehouse::acme
