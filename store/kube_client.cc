#include "store/kube_client.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "daemon/base/log.h"
#include "daemon/base/text.h"
#include "daemon/net/task_group.h"

namespace gatehouse::store {

using boost::asio::awaitable;

namespace {

constexpr int kOnTheirWayMax = 8;
constexpr int kPagesMax = 1000;
constexpr std::string_view kPageSize = "100";  // Small enough to be parsed between two packets.
constexpr std::size_t kEventBytesMax = 4 * 1024 * 1024;
constexpr std::chrono::seconds kGrace{30};

std::string secrets_path(const std::string& name_space) {
  return "/api/v1/namespaces/" + percent_encoded(name_space) + "/secrets";
}

std::string path_of(const SecretName& name) {
  return secrets_path(name.name_space) + "/" + percent_encoded(name.name);
}

std::string selection_of(const SecretQuery& query) {
  std::string text;
  if (!query.name.empty())
    text += "&fieldSelector=" + percent_encoded("metadata.name=" + query.name);
  if (!query.label_selector.empty())
    text += "&labelSelector=" + percent_encoded(query.label_selector);
  return text;
}

net::HttpRequest request_for(std::string method, std::string path) {
  net::HttpRequest request;
  request.method = std::move(method);
  request.url = std::move(path);
  request.fields = {{"Accept", "application/json"}};
  return request;
}

KubeError no_answer(Error error) {
  KubeError failed;
  failed.error = std::move(error);
  return failed;
}

bool is_success(unsigned status) { return status >= 200 && status < 300; }

/// Cuts what comes into lines.
class Lines {
 public:
  /// False: a line that is too long, or `take` had enough.
  bool feed(std::string_view piece, const std::function<bool(std::string_view)>& take) {
    for (;;) {
      const auto end = piece.find('\n');
      if (rest_.size() + std::min(end, piece.size()) > kEventBytesMax) return false;
      if (end == piece.npos) break;
      rest_ += piece.substr(0, end);
      piece.remove_prefix(end + 1);
      const std::string line = std::exchange(rest_, {});
      if (!trim(line).empty() && !take(line)) return false;
    }
    rest_ += piece;
    return true;
  }

 private:
  std::string rest_;
};

}  // namespace

Duration kube_backoff(std::uint64_t failures, const KubeError& last, Random& random) {
  constexpr Duration kFirst = 800ms, kLongest = 30s;
  Duration pause = kFirst;
  for (std::uint64_t i = 1; i < failures && pause < kLongest; ++i) pause *= 2;
  pause = std::max(std::min(pause, kLongest), last.retry_after.value_or(Duration{}));
  return pause + Duration(static_cast<Duration::rep>(static_cast<double>(pause.count()) *
                                                     random.fraction()));
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (is_alpha(c) || is_digit(c) || std::string_view("-._~").find(c) != std::string_view::npos) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return out;
}

std::string SecretQuery::to_string() const {
  if (!name.empty()) return name_space + "/" + name;
  return name_space + (label_selector.empty() ? "" : " (" + label_selector + ")");
}

/// One who waits for the others. Lives in its coroutine's frame.
struct KubeClient::Room {
  boost::asio::steady_timer parked;
  bool is_given = false;
};

KubeClient::KubeClient(net::Loop& loop, KubeTransport& transport)
    : loop_(loop), transport_(transport) {}

KubeClient::~KubeClient() = default;

/// False: cancelled.
awaitable<bool> KubeClient::enter() {
  if (on_their_way_ < kOnTheirWayMax) {
    ++on_their_way_;
    co_return true;
  }
  Room room{boost::asio::steady_timer(loop_.context(), SteadyTime::max())};
  const auto place = waiting_.insert(waiting_.end(), &room);
  co_await room.parked.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  if (room.is_given) co_return true;  // leave() took us out, and left its place to us.
  waiting_.erase(place);
  co_return false;
}

void KubeClient::leave() {
  if (waiting_.empty()) {
    --on_their_way_;
    return;
  }
  Room* next = waiting_.front();
  waiting_.pop_front();
  next->is_given = true;
  next->parked.cancel();
}

awaitable<KubeResult<std::string>> KubeClient::call_once(net::HttpRequest request) {
  const bool may = co_await enter();
  if (!may) {
    Error cancelled{Fault::kCancelled, "cancelled"};
    co_return no_answer(std::move(cancelled));
  }
  auto answer = co_await transport_.send(std::move(request));
  leave();
  if (!answer) co_return no_answer(std::move(answer).error());
  if (is_success(answer->status)) co_return std::move(answer->body);
  co_return kube_error(answer->status, answer->body, answer->find("retry-after"));
}

awaitable<KubeResult<std::string>> KubeClient::call(net::HttpRequest request, int waits) {
  const std::string doing = request.method + " " + request.url.substr(0, request.url.find('?'));
  bool has_new_token = false;
  for (int waited = 0;; ++waited) {
    net::HttpRequest again = request;
    auto answer = co_await call_once(std::move(again));
    if (answer) co_return answer;
    KubeError failed = std::move(answer).error();
    Duration pause{};
    if (failed.status == 401 && !std::exchange(has_new_token, true)) {
      transport_.forget_token();
      --waited;
    } else if (failed.retry_after && (failed.status == 429 || failed.status >= 500) &&
               waited < waits) {
      pause = *failed.retry_after;
      log(Level::kDebug, "kubernetes.told_to_wait")
          .with("request", doing)
          .with("status", failed.status)
          .with("wait_ms", std::chrono::ceil<std::chrono::milliseconds>(pause).count());
    } else {
      if (failed.status != 0) co_return std::move(failed).in(doing);
      co_return std::move(failed);  // The HTTPS client has said what it was doing.
    }
    if (pause == Duration{}) continue;
    const bool goes_on = co_await net::sleep_for(loop_, pause);
    if (!goes_on) {
      Error cancelled{Fault::kCancelled, "cancelled"};
      co_return no_answer(std::move(cancelled));
    }
  }
}

awaitable<KubeResult<std::string>> KubeClient::get(std::string path, int waits) {
  auto request = request_for("GET", std::move(path));
  co_return co_await call(std::move(request), waits);
}

awaitable<KubeResult<std::string>> KubeClient::put(std::string path, std::string json, int waits) {
  auto request = request_for("PUT", std::move(path));
  request.fields.push_back({"Content-Type", "application/json"});
  request.body = std::move(json);
  co_return co_await call(std::move(request), waits);
}

awaitable<KubeResult<Secret>> KubeClient::get_secret(SecretName name) {
  auto answer = co_await get(path_of(name));
  if (!answer) co_return std::move(answer).error();
  auto secret = parse_secret(*answer);
  if (!secret) co_return no_answer(std::move(secret).error().in("Secret " + name.to_string()));
  co_return std::move(*secret);
}

awaitable<KubeResult<Secret>> KubeClient::apply_secret(Secret wanted, Force force) {
  std::string path = path_of(wanted.at) + "?fieldManager=" + std::string(kFieldManager) +
                     "&fieldValidation=Strict";
  if (force == Force::kTakeOwnership) path += "&force=true";
  auto request = request_for("PATCH", std::move(path));
  request.fields.push_back({"Content-Type", "application/apply-patch+yaml"});
  request.body = apply_body(wanted);
  auto answer = co_await call(std::move(request), kWaitsMax);
  if (!answer) co_return std::move(answer).error();
  auto secret = parse_secret(*answer);
  if (!secret) co_return no_answer(std::move(secret).error().in("Secret " + wanted.at.to_string()));
  co_return std::move(*secret);
}

awaitable<KubeResult<SecretList>> KubeClient::list_secrets(SecretQuery query) {
  SecretList all;
  for (int pages = 0; pages < kPagesMax; ++pages) {
    std::string path = secrets_path(query.name_space) + "?limit=" + std::string(kPageSize);
    path += selection_of(query);
    if (!all.next.empty()) path += "&continue=" + percent_encoded(all.next);
    auto answer = co_await get(std::move(path));
    if (!answer) co_return std::move(answer).error();
    auto page = parse_secret_list(*answer);
    if (!page) co_return no_answer(std::move(page).error().in("Secrets of " + query.name_space));
    for (Secret& secret : page->secrets) all.secrets.push_back(std::move(secret));
    all.resource_version = std::move(page->resource_version);
    all.next = std::move(page->next);
    if (all.next.empty()) break;
  }
  co_return std::move(all);
}

awaitable<KubeResult<void>> KubeClient::watch_secrets(SecretQuery query,
                                                      std::string resource_version,
                                                      std::chrono::seconds timeout,
                                                      std::function<bool(WatchEvent)> on_event) {
  std::string path =
      secrets_path(query.name_space) +
      "?watch=1&allowWatchBookmarks=true&resourceVersion=" + percent_encoded(resource_version) +
      "&timeoutSeconds=" + std::to_string(timeout.count()) + selection_of(query);
  auto request = request_for("GET", std::move(path));
  const std::string doing = "watching Secrets of " + query.to_string();
  Lines lines;
  std::optional<KubeError> failed;
  bool is_enough = false;
  std::function<bool(std::string_view)> take = [&](std::string_view line) {
    auto event = parse_watch_event(line);
    if (!event) {
      failed = no_answer(std::move(event).error());
    } else if (event->kind == WatchEvent::Kind::kError) {
      failed = std::move(event->failed);
    } else {
      is_enough = !on_event(std::move(*event));
    }
    return !failed && !is_enough;
  };
  net::HttpsClient::OnData on_data = [&](std::string_view piece) {
    const bool goes_on = lines.feed(piece, take);
    if (!goes_on && !failed && !is_enough)
      failed = no_answer(Error{Fault::kTooLarge, "an event is over 4 MiB"});
    return goes_on;
  };
  auto answer =
      co_await transport_.stream(std::move(request), timeout + kGrace, std::move(on_data));
  if (failed) co_return std::move(*failed).in(doing);
  if (!answer) co_return no_answer(std::move(answer).error());
  if (is_success(answer->status)) co_return KubeResult<void>();
  if (answer->status == 401) transport_.forget_token();
  auto error = kube_error(answer->status, answer->body, answer->find("retry-after"));
  co_return std::move(error).in(doing);
}

}  // namespace gatehouse::store
