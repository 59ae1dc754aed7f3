#include "store/cluster_state.h"

#include <set>
#include <utility>

#include "daemon/base/log.h"
#include "daemon/net/answer_of.h"

namespace gatehouse::store {

using boost::asio::awaitable;

// GCC 12 takes the allocation of a coroutine's frame for a plain one when it inlines only half of
// Asio's pair of operators.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace {

constexpr int kTriesMax = 5;  // of one write, each on what somebody else wrote meanwhile

Error fenced_off() { return {Fault::kCancelled, "this node does not hold the Lease any more"}; }

/// Our picture of the object is old: worth a look and another try.
bool is_outdated(const KubeError& failed) {
  const Fault fault = failed.error.fault;
  return (fault == Fault::kConflict && failed.owners.empty()) || fault == Fault::kInvalid ||
         fault == Fault::kNotFound;
}

Error told(const KubeError& failed, const SecretName& at) {
  Error error = failed.error;
  for (const std::string& owner : failed.owners) error.message += ", owned by " + owner;
  return std::move(error).in("writing Secret " + at.to_string());
}

}  // namespace

ClusterState::ClusterState(Parts parts, ClusterNames names, std::string node, Handler handler)
    : parts_(parts),
      names_(std::move(names)),
      node_(std::move(node)),
      handler_(std::move(handler)),
      watch_({parts.loop, parts.random, parts.kube},
             SecretQuery{names_.name_space, "", names_.label_selector()},
             {[this](std::vector<Secret> secrets) { take_list(secrets); },
              [this](Secret secret) { take(secret); }, [this](SecretName name) { forget(name); }}),
      tasks_(parts.loop) {}

void ClusterState::start() { tasks_.start("cluster watch", watch_.run()); }

awaitable<void> ClusterState::stop() {
  tasks_.stop();
  co_await tasks_.join();
  for (Edit& edit : std::exchange(edits_, {})) edit.answer(fenced_off());
}

// ---- what is seen ---------------------------------------------------------------------------

void ClusterState::take(const Secret& secret) {
  if (secret.at == names_.state())
    take_state(secret);
  else
    take_certificate(secret);
}

void ClusterState::take_state(const Secret& secret) {
  auto state = parse_shared_state(secret);
  is_state_unreadable_ = !state;
  if (!state) {
    log(Level::kError, "cluster.state_unreadable")
        .with("secret", secret.at.to_string())
        .with("error", state.error().message);
    return;
  }
  state_version_ = secret.resource_version;
  state_uid_ = secret.uid;
  state_ = std::move(*state);
  handler_.on_state();
}

void ClusterState::take_certificate(const Secret& secret) {
  Known& known = known_[secret.at.name];
  known.version = secret.resource_version;
  known.uid = secret.uid;
  auto certificate = parse_shared_certificate(secret);
  if (!certificate) {
    known.fingerprint.clear();
    known.not_before = WallTime{};
    log(Level::kWarn, "cluster.secret_unusable").with("error", certificate.error().message);
    return;
  }
  const auto& facts = certificate->credential->facts;
  known.fingerprint = facts.fingerprint_sha256_hex;
  known.not_before = facts.not_before;
  handler_.on_certificate(std::move(*certificate));
}

void ClusterState::take_list(const std::vector<Secret>& secrets) {
  std::set<std::string> names;
  bool has_state = false;
  for (const Secret& secret : secrets) {
    has_state = has_state || secret.at == names_.state();
    names.insert(secret.at.name);
    take(secret);
  }
  std::erase_if(known_, [&names](const auto& one) { return !names.contains(one.first); });
  if (!has_state) forget(names_.state());
}

/// What was shared goes on to be served; the holder writes it again.
void ClusterState::forget(const SecretName& name) {
  if (name == names_.state()) {
    state_version_.clear();
    state_uid_.clear();
    is_state_unreadable_ = false;
    handler_.on_state();
    return;
  }
  known_.erase(name.name);
}

std::string ClusterState::fingerprint(std::string_view certificate) const {
  const auto found = known_.find(names_.certificate_secret(certificate).name);
  return found == known_.end() ? std::string() : found->second.fingerprint;
}

awaitable<Result<void>> ClusterState::read_all() {
  SecretQuery query{names_.name_space, "", names_.label_selector()};
  auto list = co_await parts_.kube.list_secrets(std::move(query));
  if (!list) co_return std::move(list).error().error.in("reading what the cluster shares");
  take_list(list->secrets);
  if (is_state_unreadable_)
    co_return Error{Fault::kCorrupt,
                    "Secret " + names_.state().to_string() + " cannot be read as our state"};
  co_return Result<void>();
}

awaitable<Result<bool>> ClusterState::look_again(SecretName at) {
  auto now = co_await parts_.kube.get_secret(at);
  if (now) {
    if (at != names_.state() && now->label("app.kubernetes.io/managed-by") != kFieldManager)
      co_return Error{Fault::kConflict, "Secret " + at.to_string() +
                                            " is not ours: it has no label "
                                            "app.kubernetes.io/managed-by=gatehouse"};
    take(*now);
    co_return true;
  }
  if (now.error().error.fault != Fault::kNotFound)
    co_return std::move(now).error().error.in("reading Secret " + at.to_string());
  forget(at);
  co_return false;
}

// ---- what is written ------------------------------------------------------------------------

awaitable<Result<void>> ClusterState::change(std::function<void(SharedState&)> edit) {
  std::function<void(std::function<void(Result<void>)>)> begin =
      [this, edit = std::move(edit)](std::function<void(Result<void>)> answer) {
        if (tasks_.is_stopped()) return answer(fenced_off());
        edits_.push_back({edit, std::move(answer)});
        if (!is_writing_) tasks_.start("cluster state", write_edits());
        is_writing_ = true;
      };
  co_return co_await net::answer_of<Result<void>>(parts_.loop, std::move(begin));
}

/// What is asked for while a write is under way goes together with the next one.
awaitable<void> ClusterState::write_edits() {
  while (!edits_.empty()) {
    const std::deque<Edit> edits = std::exchange(edits_, {});
    const Result<void> result = co_await write_state(edits);
    for (const Edit& edit : edits) edit.answer(result);
  }
  is_writing_ = false;
}

awaitable<Result<void>> ClusterState::write_state(std::deque<Edit> edits) {
  const SecretName at = names_.state();
  if (!is_stored()) {  // Whose is it, if it is there?
    auto seen = co_await look_again(at);
    if (!seen) co_return std::move(seen).error();
  }
  for (int tries = 1;; ++tries) {
    SharedState next = state_;
    for (const Edit& edit : edits) edit.edit(next);
    Secret wanted = to_secret(next, names_);
    wanted.resource_version = state_version_;
    wanted.uid = state_uid_;
    if (is_state_unreadable_ || !handler_.may_write()) co_return fenced_off();
    auto written = co_await parts_.kube.apply_secret(std::move(wanted));
    if (written) {
      state_ = std::move(next);
      state_version_ = written->resource_version;
      state_uid_ = written->uid;
      handler_.on_state();
      co_return Result<void>();
    }
    if (!is_outdated(written.error()) || tries == kTriesMax) co_return told(written.error(), at);
    auto seen = co_await look_again(at);
    if (!seen) co_return std::move(seen).error();
  }
}

awaitable<Result<void>> ClusterState::publish(LoadedCertificate certificate) {
  auto made = to_secret(certificate, names_, node_);
  if (!made) co_return std::move(made).error();
  const SecretName at = made->at;
  const auto& facts = certificate.credential->facts;
  if (!known_.contains(at.name)) {
    auto seen = co_await look_again(at);
    if (!seen) co_return std::move(seen).error();
  }
  for (int tries = 1;; ++tries) {
    Secret wanted = *made;
    if (const auto known = known_.find(at.name); known != known_.end()) {
      wanted.resource_version = known->second.version;
      wanted.uid = known->second.uid;
      if (known->second.fingerprint == facts.fingerprint_sha256_hex ||
          known->second.not_before > facts.not_before)
        co_return Result<void>();
    }
    if (!handler_.may_write()) co_return fenced_off();
    auto written = co_await parts_.kube.apply_secret(std::move(wanted));
    if (written) {
      known_[at.name] = {facts.fingerprint_sha256_hex, written->resource_version, written->uid,
                         facts.not_before};
      co_return Result<void>();
    }
    if (!is_outdated(written.error()) || tries == kTriesMax) co_return told(written.error(), at);
    auto seen = co_await look_again(at);
    if (!seen) co_return std::move(seen).error();
  }
}

}  // namespace gatehouse::store
