#include "acme/client.h"

#include <algorithm>
#include <utility>

#include "acme/problem.h"
#include "daemon/base/log.h"
#include "daemon/base/text.h"

namespace gatehouse::acme {

namespace asio = boost::asio;

// GCC 12 takes the allocation of a coroutine's frame for a plain one when it inlines only half of
// Asio's pair of operators.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace {

constexpr std::size_t kNoncesMax = 32, kNonceBytesMax = 512;
// A refused nonce says nothing about the request, so it counts as no failure. Pebble rejects 5 % on
// purpose and can be told to reject 90 %: then a hundred in a row are one call in 40,000.
constexpr int kBadNonceRepeats = 100;
constexpr char kAnyType[] = "*/*";
constexpr auto kDirectoryAge = std::chrono::hours(24);

std::string field_of(const net::HttpResponse& response, std::string_view name) {
  const auto* value = response.find(name);
  return value ? *value : std::string();
}

/// RFC 8555 section 6.5.1: a nonce with other characters must be ignored.
bool is_nonce(std::string_view text) {
  return !text.empty() && text.size() <= kNonceBytesMax &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return is_digit(c) || is_alpha(c) || c == '-' || c == '_'; });
}

std::string media_type_of(const net::HttpResponse& response) {
  const auto field = field_of(response, "content-type");
  std::string_view type = field;
  return to_lower(trim(take_until(type, ';')));
}

Problem problem_of(const net::HttpResponse& response, WallTime now) {
  const auto type = media_type_of(response), retry_after = field_of(response, "retry-after");
  ProblemAnswer answer;
  answer.status = static_cast<int>(response.status);
  answer.content_type = type;
  answer.body = response.body;
  answer.retry_after = retry_after;
  answer.links = response.find_all("link");
  return parse_problem(answer, now);
}

}  // namespace

AttemptFailure failure_of(Error error, Reaction reaction) {
  AttemptFailure failure;
  failure.reaction = reaction;
  failure.error = std::move(error);
  return failure;
}

asio::awaitable<Call<Directory>> Client::directory() {
  const auto now = loop_.clock().steady_now();
  if (directory_ && now - directory_read_at_ < kDirectoryAge) co_return *directory_;
  auto answer = co_await get("reading the directory", directory_url_);
  if (!answer) {
    // What is wrong with the directory is wrong for every name of this CA.
    auto failure = std::move(answer).error();
    failure.is_ca_wide |= failure.reaction == Reaction::kRateLimited;
    co_return failure;
  }
  auto parsed = parse_directory(answer->body);
  if (!parsed) co_return failure_of(std::move(parsed).error().in("reading the directory"));
  directory_ = std::move(*parsed);
  directory_read_at_ = now;
  co_return *directory_;
}

asio::awaitable<Call<Answer>> Client::get(std::string doing, std::string url) {
  net::HttpRequest request;
  request.url = std::move(url);
  request.fields.push_back({"Accept", "application/json"});
  auto response = co_await send(std::move(request));
  if (!response) co_return failure_of(std::move(response).error().in(doing));
  // Judged by its body: CAs serve these two documents as static text, too.
  co_return sort(*response, doing, kAnyType);
}

asio::awaitable<Call<Answer>> Client::post(Post request) {
  for (int repeats = 0;; ++repeats) {
    auto response = co_await post_once(request);
    if (!response) co_return std::move(response).error();
    auto answer = sort(*response, request.doing, request.accept);
    if (answer || answer.error().problem_type != "badNonce") co_return answer;
    // RFC 8555 section 6.5: repeat with the nonce of the error, which is the freshest one now.
    if (repeats == kBadNonceRepeats) {
      // None will do: something between us and the CA keeps old ones. That takes time, not haste.
      auto failure = std::move(answer).error();
      failure.reaction = Reaction::kTransient;
      co_return failure;
    }
    log(Level::kDebug, "acme.bad_nonce").with("url", request.url).with("repeat", repeats + 1);
  }
}

asio::awaitable<Call<net::HttpResponse>> Client::post_once(Post request) {
  // What changes nothing at the CA may be sent again when a kept connection breaks.
  const int tries = request.payload.empty() ? 2 : 1;
  for (int attempt = 1;; ++attempt) {
    auto nonce = co_await take_nonce();
    if (!nonce) {
      auto failure = std::move(nonce).error();
      failure.error = std::move(failure.error).in(request.doing);
      co_return failure;
    }
    auto body = co_await signed_body(request, *nonce);
    if (!body) co_return failure_of(std::move(body).error().in(request.doing));
    // At the last moment: a holder that was paused must find out here, not at the CA.
    if (fleet_ && !fleet_->may_issue())
      co_return failure_of(Error{Fault::kCancelled, fleet_->reason()});
    net::HttpRequest http;
    http.method = "POST";
    http.url = request.url;
    http.fields.push_back({"Content-Type", "application/jose+json"});
    http.fields.push_back({"Accept", request.accept});
    http.body = std::move(*body);
    auto response = co_await send(std::move(http));
    if (response) co_return std::move(*response);
    if (response.error().fault == Fault::kConnection && attempt < tries) continue;
    co_return failure_of(std::move(response).error().in(request.doing));
  }
}

asio::awaitable<Result<std::string>> Client::signed_body(Post request, std::string nonce) {
  const JwsHeader header{request.signer.account_url, nonce, request.url};
  if (request.signer.key.algorithm() == "ES256")
    co_return sign_jws(request.signer.key, header, request.payload);
  // RSA takes milliseconds: not on the loop.
  auto job = [&request, &header] { return sign_jws(request.signer.key, header, request.payload); };
  co_return co_await compute_.run(std::move(job));
}

asio::awaitable<Call<std::string>> Client::take_nonce() {
  if (nonces_.empty()) {
    auto directory = co_await this->directory();
    if (!directory) co_return std::move(directory).error();
    // The directory's answer may have brought one.
    if (nonces_.empty()) {
      net::HttpRequest request;
      request.method = "HEAD";
      request.url = directory->new_nonce;
      auto response = co_await send(std::move(request));
      if (!response) co_return failure_of(std::move(response).error().in("getting a nonce"));
      if (response->status >= 300) {
        auto failure =
            to_failure(problem_of(*response, loop_.clock().wall_now()), "getting a nonce");
        failure.is_ca_wide |= failure.reaction == Reaction::kRateLimited;
        co_return failure;
      }
    }
  }
  if (nonces_.empty())
    co_return failure_of(Error{Fault::kProtocol, "getting a nonce: the answer has none"});
  std::string nonce = std::move(nonces_.back());
  nonces_.pop_back();
  co_return nonce;
}

asio::awaitable<Result<net::HttpResponse>> Client::send(net::HttpRequest request) {
  auto response = co_await transport_.send(std::move(request));
  // A CA that moved is found through its directory: read it again before the next attempt.
  if (!response || response->status == 404 || response->status == 405) directory_.reset();
  if (response) keep_nonce(*response);
  co_return response;
}

void Client::keep_nonce(const net::HttpResponse& response) {
  const auto* nonce = response.find("replay-nonce");
  if (!nonce || !is_nonce(*nonce)) return;
  nonces_.push_back(*nonce);
  if (nonces_.size() > kNoncesMax) nonces_.pop_front();
}

Call<Answer> Client::sort(const net::HttpResponse& response, const std::string& doing,
                          const std::string& accept) {
  const auto now = loop_.clock().wall_now();
  if (response.status < 200 || response.status >= 300) {
    const auto problem = problem_of(response, now);
    if (response.status >= 300 && response.status < 400)
      return failure_of(Error{Fault::kProtocol, doing + ": a redirect, which ACME does not have"});
    return to_failure(problem, doing);
  }
  Answer answer;
  answer.status = static_cast<int>(response.status);
  answer.content_type = media_type_of(response);
  answer.location = field_of(response, "location");
  answer.retry_after = parse_retry_after(field_of(response, "retry-after"), now);
  if (!response.body.empty() && accept != kAnyType && answer.content_type != accept) {
    return failure_of(Error{Fault::kProtocol, doing + ": expected " + accept + ", got " +
                                                  printable(answer.content_type, 80)});
  }
  answer.body = response.body;
  return answer;
}

}  // namespace gatehouse::acme
