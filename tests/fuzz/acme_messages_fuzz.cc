// What a CA may send: each reader must end in a value or an error, and what it accepts must keep
// the promises of messages.h. The first byte chooses the reader.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "acme/messages.h"
#include "acme/problem.h"

namespace gatehouse::acme {
namespace {

const WallTime kNow{std::chrono::seconds(1'780'000'000)};

void check_url(std::string_view url) {
  check(url.empty() || url.starts_with("https://"), "an accepted URL is not https");
  for (const char c : url) check(c > ' ' && c < 0x7f, "an accepted URL is not printable");
}

void check_problem(const Problem& problem) {
  const auto text = describe(problem);
  check(!text.empty(), "a problem without a description");
  for (const char c : text) check(static_cast<unsigned char>(c) >= 0x20, "control byte in a log");
  (void)to_failure(problem, "fuzzing");
}

void read_authorization(std::string_view body) {
  const auto authorization = parse_authorization(body, kNow);
  if (!authorization) return;
  for (const auto& challenge : authorization->challenges) {
    check_url(challenge.url);
    for (const char c : challenge.token) check(c != '/' && c != '.' && c > ' ', "odd token");
    if (challenge.error) check_problem(*challenge.error);
  }
}

void read_order(std::string_view body) {
  const auto order = parse_order(body, kNow);
  if (!order) return;
  check_url(order->finalize);
  check_url(order->certificate);
  for (const auto& url : order->authorizations) check_url(url);
  if (order->error) check_problem(*order->error);
}

void read_problem(std::string_view body) {
  ProblemAnswer answer;
  answer.status = 429;
  const auto line = body.substr(0, body.find('\n'));
  answer.retry_after = line;
  answer.links = {line};
  answer.body = line.size() < body.size() ? body.substr(line.size() + 1) : body;
  check_problem(parse_problem(answer, kNow));
}

void read(std::string_view input) {
  if (input.empty()) return;
  const auto body = input.substr(1);
  switch (input.front()) {
    case 'd': (void)parse_directory(body); break;
    case 'o': read_order(body); break;
    case 'a': read_authorization(body); break;
    case 'c': (void)parse_challenge(body, kNow); break;
    case 'k': (void)parse_account(body); break;
    case 'r':
      if (const auto window = parse_renewal_info(body))
        check(window->start < window->end, "an accepted window ends before it starts");
      break;
    default: read_problem(body); break;
  }
}

}  // namespace
}  // namespace gatehouse::acme

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  gatehouse::acme::read({reinterpret_cast<const char*>(data), size});
  return 0;
}
