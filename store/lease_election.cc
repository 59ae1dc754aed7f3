#include "store/lease_election.h"

#include <algorithm>
#include <utility>

#include "daemon/base/text.h"

namespace gatehouse::store {

namespace {
constexpr double kJitter = 1.2;  // client-go's JitterFactor: a pause of 1 to 2.2 times `retry`
constexpr std::int64_t kDurationMax = 24 * 3600;  // Seconds; whatever somebody wrote into a Lease.
}  // namespace

std::string format_micro_time(WallTime time) {
  std::string text = format_rfc3339(time);
  const auto second = std::chrono::floor<std::chrono::seconds>(time);
  const auto micros = std::chrono::floor<std::chrono::microseconds>(time - second).count();
  std::string digits = std::to_string(micros);
  digits.insert(0, 6 - digits.size(), '0');
  text.pop_back();
  return text + "." + digits + "Z";
}

LeaseElection::LeaseElection(const Clock& clock, std::string identity, LeaseTiming timing)
    : clock_(clock), identity_(std::move(identity)), timing_(timing) {}

LeaseAction LeaseElection::begin() {
  is_optimistic_ = false;
  if (!is_leading() || !observed_) {
    is_holder_ = false;  // The deadline passed: this term is over, whatever the record says.
    return read();
  }
  is_optimistic_ = true;
  return write(renewed(observed_->record), observed_->resource_version);
}

std::optional<LeaseAction> LeaseElection::on_read(const LeaseObject& object) {
  observe(object);
  const LeaseRecord& record = object.record;
  if (record.holder != identity_) is_holder_ = false;
  if (is_taken()) return std::nullopt;
  if (record.holder == identity_) return write(renewed(record), object.resource_version);
  LeaseRecord ours = renewed(record);
  ours.acquire_time = ours.renew_time;
  ours.transitions = record.transitions + 1;
  return write(std::move(ours), object.resource_version);
}

std::optional<LeaseAction> LeaseElection::on_absent() {
  is_holder_ = false;
  observed_.reset();
  LeaseRecord first = renewed({});
  first.acquire_time = first.renew_time;
  return write(std::move(first), "");
}

void LeaseElection::on_written(const LeaseObject& object) {
  observe(object);
  if (object.record.holder != identity_) return;
  renewed_at_ = asked_at_;
  // An answer that took longer than the deadline is no renewal.
  const bool is_in_time = clock_.steady_now() < leads_until();
  if (is_in_time && !is_holder_) ++term_;
  is_holder_ = is_in_time;
}

std::optional<LeaseAction> LeaseElection::on_failed() {
  if (!std::exchange(is_optimistic_, false)) return std::nullopt;
  return read();
}

std::optional<LeaseAction> LeaseElection::release() {
  if (!is_leading() || !observed_) return std::nullopt;
  LeaseRecord nobodys = observed_->record;
  nobodys.holder.clear();
  nobodys.duration_seconds = 1;
  nobodys.acquire_time = nobodys.renew_time = format_micro_time(clock_.wall_now());
  is_optimistic_ = false;
  return write(std::move(nobodys), observed_->resource_version);
}

void LeaseElection::on_released() { is_holder_ = false; }

bool LeaseElection::is_leading() const { return is_holder_ && clock_.steady_now() < leads_until(); }

Duration LeaseElection::pause(Random& random) const {
  if (is_leading()) return timing_.retry;
  const double factor = 1 + kJitter * random.fraction();
  return Duration(
      static_cast<Duration::rep>(static_cast<double>(Duration(timing_.retry).count()) * factor));
}

LeaseAction LeaseElection::read() { return {LeaseAction::Kind::kRead, {}, ""}; }

LeaseAction LeaseElection::write(LeaseRecord record, std::string resource_version) {
  asked_at_ = clock_.steady_now();
  return {LeaseAction::Kind::kWrite, std::move(record), std::move(resource_version)};
}

LeaseRecord LeaseElection::renewed(const LeaseRecord& record) const {
  LeaseRecord next = record;
  next.holder = identity_;
  next.duration_seconds = std::chrono::duration_cast<std::chrono::seconds>(timing_.lease).count();
  next.renew_time = format_micro_time(clock_.wall_now());
  return next;
}

void LeaseElection::observe(const LeaseObject& object) {
  // The time counts from when the record changed, not from when we looked again.
  if (!observed_ || observed_->record != object.record) observed_at_ = clock_.steady_now();
  observed_ = object;
}

bool LeaseElection::is_taken() const {
  const LeaseRecord& record = observed_->record;
  if (record.holder.empty() || record.holder == identity_) return false;
  const auto seconds = std::clamp<std::int64_t>(record.duration_seconds, 0, kDurationMax);
  return clock_.steady_now() < observed_at_ + std::chrono::seconds(seconds);
}

}  // namespace gatehouse::store
