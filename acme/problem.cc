#include "acme/problem.h"

#include <algorithm>
#include <array>

#include "daemon/base/json.h"
#include "daemon/base/text.h"

namespace gatehouse::acme {
namespace {

constexpr std::string_view kUrn = "urn:ietf:params:acme:error:";
constexpr std::size_t kDetailBytesMax = 1024, kShortBytesMax = 256, kUrlBytesMax = 2048;
constexpr std::size_t kSubproblemsMax = 100;
constexpr auto kRetryAfterMax = std::chrono::hours(24 * 30);

/// What one type means, and what a person can do about it.
struct Row {
  std::string_view type;
  Reaction reaction;
  bool is_validation_failure;  // another challenge type could succeed
  std::string_view advice;
};

constexpr std::string_view kAskAccount = "look at the account with the CA";

// RFC 8555 section 6.7, RFC 9773 section 7, draft-ietf-acme-profiles section 6.3; ACME.md
// section 4.
constexpr std::array kRows{
    Row{"badNonce", Reaction::kRetrySoon, false, ""},
    Row{"orderNotReady", Reaction::kRetrySoon, false, ""},
    Row{"alreadyReplaced", Reaction::kRetrySoon, false, ""},
    Row{"rateLimited", Reaction::kRateLimited, false, ""},
    Row{"dns", Reaction::kTransient, true, "check that the name's A and AAAA records point here"},
    Row{"connection", Reaction::kTransient, true, "check that ports 80 and 443 are reachable"},
    Row{"tls", Reaction::kTransient, true, "check that port 443 reaches Gatehouse without a proxy"},
    Row{"serverInternal", Reaction::kTransient, false, ""},
    Row{"accountDoesNotExist", Reaction::kAccount, false, kAskAccount},
    Row{"userActionRequired", Reaction::kAccount, false, "open the CA's page and follow it"},
    Row{"externalAccountRequired", Reaction::kAccount, false,
        "this CA wants an external account binding"},
    Row{"invalidContact", Reaction::kAccount, false, "correct `email` of the issuer"},
    Row{"unsupportedContact", Reaction::kAccount, false, "correct `email` of the issuer"},
    Row{"badPublicKey", Reaction::kPersistent, false, "choose another `key` type"},
    Row{"badSignatureAlgorithm", Reaction::kAccount, false,
        "this CA does not take the account key"},
    Row{"caa", Reaction::kPersistent, false, "allow this CA in the name's CAA records"},
    Row{"unauthorized", Reaction::kPersistent, true,
        "check that the name points here and that nothing in front answers the challenge"},
    Row{"incorrectResponse", Reaction::kPersistent, true,
        "check that the name points here and that nothing in front answers the challenge"},
    Row{"rejectedIdentifier", Reaction::kPersistent, false, "this CA does not issue for the name"},
    Row{"unsupportedIdentifier", Reaction::kPersistent, false,
        "this CA does not issue for names of this kind, perhaps with another `profile`"},
    Row{"badCSR", Reaction::kPersistent, false, "choose another `key` type"},
    Row{"malformed", Reaction::kPersistent, false, ""},
    Row{"invalidProfile", Reaction::kPersistent, false, "correct `profile` of the issuer"},
};

const Row* row_of(std::string_view type) {
  const auto found =
      std::find_if(kRows.begin(), kRows.end(), [type](const Row& row) { return row.type == type; });
  return found == kRows.end() ? nullptr : &*found;
}

std::string_view text_of(const boost::json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  const auto* text = value ? value->if_string() : nullptr;
  return text ? std::string_view(*text) : std::string_view();
}

/// A URL that a person may open; anything else a CA wrote there is dropped.
std::string url_of(std::string_view text) {
  const bool is_url = text.starts_with("https://") || text.starts_with("http://");
  if (!is_url || text.size() > kUrlBytesMax) return "";
  const bool is_plain =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f && c != '"'; });
  return is_plain ? std::string(text) : "";
}

/// The URL inside Boulder's "... Please visit: https://portal.letsencrypt.org/sfe/v1/unpause?jwt=".
std::string unpause_url_in(std::string_view detail) {
  for (auto at = detail.find("https://"); at != std::string_view::npos;
       at = detail.find("https://", at + 1)) {
    const auto url = detail.substr(at, detail.find_first_of(" \t\r\n\"<>", at) - at);
    if (url.find("unpause") != std::string_view::npos) return url_of(url);
  }
  return "";
}

/// Boulder's "retry after 2026-01-31 10:00:00 UTC".
std::optional<WallTime> retry_after_in(std::string_view detail) {
  constexpr std::string_view kMark = "retry after ";
  constexpr std::size_t kDateBytes = 19;
  const auto at = detail.find(kMark);
  if (at == std::string_view::npos) return std::nullopt;
  const auto date = detail.substr(at + kMark.size());
  if (date.size() < kDateBytes) return std::nullopt;
  if (date[10] == ' ' && date.substr(kDateBytes).starts_with(" UTC"))
    return parse_rfc3339(std::string(date.substr(0, 10)) + "T" + std::string(date.substr(11, 8)) +
                         "Z");
  const auto end = date.find_first_of(" ,:", kDateBytes);
  return parse_rfc3339(date.substr(0, end));
}

Problem read_document(const boost::json::object& object, WallTime now, bool is_sub) {
  Problem problem;
  auto type = text_of(object, "type");
  if (type.starts_with(kUrn)) type.remove_prefix(kUrn.size());
  if (type != "about:blank") problem.type = printable(type, kShortBytesMax);
  const auto detail = text_of(object, "detail");
  problem.detail = printable(detail.empty() ? text_of(object, "title") : detail, kDetailBytesMax);
  problem.instance = url_of(text_of(object, "instance"));
  problem.unpause_url = unpause_url_in(detail);
  problem.retry_after = retry_after_in(detail);
  if (problem.retry_after)
    *problem.retry_after = std::min(*problem.retry_after, now + kRetryAfterMax);
  if (const auto* status = object.if_contains("status"); status && status->is_int64()) {
    const auto number = status->get_int64();
    if (number >= 100 && number <= 599) problem.status = static_cast<int>(number);
  }
  if (const auto* value = object.if_contains("identifier"); value && value->is_object()) {
    const auto& identifier = value->get_object();
    problem.identifier = Identifier{printable(text_of(identifier, "type"), kShortBytesMax),
                                    printable(text_of(identifier, "value"), kShortBytesMax)};
  }
  const auto* list = object.if_contains("subproblems");
  if (is_sub || !list || !list->is_array()) return problem;  // RFC 8555 section 6.7.1: one level.
  for (const auto& value : list->get_array()) {
    if (problem.subproblems.size() == kSubproblemsMax) break;
    if (value.is_object())
      problem.subproblems.push_back(read_document(value.get_object(), now, true));
  }
  return problem;
}

int badness(Reaction reaction) {
  switch (reaction) {
    case Reaction::kRetrySoon: return 0;
    case Reaction::kTransient: return 1;
    case Reaction::kRateLimited: return 2;
    case Reaction::kPersistent: return 3;
    case Reaction::kAccount: return 4;
  }
  return 0;
}

Reaction reaction_to_one(const Problem& problem) {
  if (!problem.unpause_url.empty()) return Reaction::kPersistent;  // Only a person can end it.
  if (problem.status == 429) return Reaction::kRateLimited;
  const Row* row = row_of(problem.type);
  if (row && row->reaction == Reaction::kRateLimited) return row->reaction;
  // An overloaded CA names a time; without one it is just down.
  if (problem.status == 503 && problem.retry_after) return Reaction::kRateLimited;
  if (row) return row->reaction;
  if (problem.status >= 400 && problem.status < 500) return Reaction::kPersistent;
  return Reaction::kTransient;
}

Fault fault_of(const Problem& problem, Reaction reaction) {
  switch (reaction) {
    case Reaction::kRateLimited: return Fault::kRateLimited;
    case Reaction::kAccount: return Fault::kUnauthorized;
    case Reaction::kRetrySoon: return Fault::kConflict;
    case Reaction::kPersistent: break;
    case Reaction::kTransient: return Fault::kUnavailable;
  }
  if (problem.status == 404) return Fault::kNotFound;
  return problem.type == "unauthorized" ? Fault::kUnauthorized : Fault::kInvalid;
}

}  // namespace

std::string printable(std::string_view text, std::size_t bytes_max) {
  std::string clean;
  for (const char c : text.substr(0, bytes_max)) {
    const auto byte = static_cast<unsigned char>(c);
    clean += byte < 0x20 || byte == 0x7f ? ' ' : c;
  }
  // Not in the middle of a UTF-8 sequence.
  if (text.size() > bytes_max) {
    while (!clean.empty() && (static_cast<unsigned char>(clean.back()) & 0xc0) == 0x80)
      clean.pop_back();
    if (!clean.empty() && (static_cast<unsigned char>(clean.back()) & 0x80)) clean.pop_back();
    clean += "...";
  }
  return clean;
}

std::optional<WallTime> parse_retry_after(std::string_view value, WallTime now) {
  value = trim(value);
  if (value.empty()) return std::nullopt;
  if (std::all_of(value.begin(), value.end(), is_digit)) {
    constexpr auto kMax = std::chrono::seconds(kRetryAfterMax).count();
    std::int64_t seconds = 0;
    for (const char c : value) seconds = std::min<std::int64_t>(seconds * 10 + (c - '0'), kMax);
    return now + std::chrono::seconds(seconds);
  }
  const auto date = parse_http_date(value, now);
  if (!date) return std::nullopt;
  return std::min<WallTime>(*date, now + kRetryAfterMax);
}

std::string link_target(std::string_view header, std::string_view relation) {
  // A header may hold several links: <url>;rel="a", <url>;rel="b". URLs of a CA hold no ">".
  while (true) {
    const auto open = header.find('<');
    const auto close = header.find('>', open);
    if (open == std::string_view::npos || close == std::string_view::npos) return "";
    const auto url = header.substr(open + 1, close - open - 1);
    const auto next = header.find('<', close);
    const auto parameters = header.substr(close + 1, next - close - 1);
    const auto quoted = "rel=\"" + std::string(relation) + "\"";
    const auto plain = "rel=" + std::string(relation);
    const auto at = parameters.find(plain);
    const bool is_plain =
        at != std::string_view::npos &&
        (at + plain.size() == parameters.size() ||
         std::string_view(";, \t").find(parameters[at + plain.size()]) != std::string_view::npos);
    if (parameters.find(quoted) != std::string_view::npos || is_plain)
      return std::string(url.substr(0, kUrlBytesMax));
    if (next == std::string_view::npos) return "";
    header.remove_prefix(next);
  }
}

Problem parse_problem(const boost::json::value& document, WallTime now) {
  return document.is_object() ? read_document(document.get_object(), now, false) : Problem{};
}

Problem parse_problem(const ProblemAnswer& answer, WallTime now) {
  Problem problem;
  // Some servers say application/json; what is in the body decides.
  const auto document = parse_json(answer.body, JsonLimits{.bytes = 256 * 1024, .depth = 16});
  if (document && document->is_object()) {
    problem = read_document(document->get_object(), now, false);
  } else if (!answer.body.empty()) {
    problem.detail =
        "an answer that is not a problem document (" +
        printable(answer.content_type.empty() ? "no content type" : answer.content_type,
                  kShortBytesMax) +
        ")";
  }
  problem.status = answer.status;
  if (const auto when = parse_retry_after(answer.retry_after, now)) problem.retry_after = when;
  for (const auto link : answer.links) {
    if (problem.terms_url.empty())
      problem.terms_url = url_of(link_target(link, "terms-of-service"));
  }
  return problem;
}

Reaction reaction_to(const Problem& problem) {
  auto reaction = reaction_to_one(problem);
  if (problem.subproblems.empty()) return reaction;
  // The subproblems say what is wrong; "compound" or "malformed" above them says nothing.
  if (problem.type == "compound" || problem.type == "malformed") reaction = Reaction::kRetrySoon;
  for (const auto& sub : problem.subproblems) {
    const auto other = reaction_to_one(sub);
    if (badness(other) > badness(reaction)) reaction = other;
  }
  return reaction;
}

bool is_validation_failure(const Problem& problem) {
  const Row* row = row_of(problem.type);
  if (row && row->is_validation_failure) return true;
  return std::any_of(problem.subproblems.begin(), problem.subproblems.end(),
                     [](const Problem& sub) { return is_validation_failure(sub); });
}

bool is_ca_wide(const Problem& problem) {
  const auto reaction = reaction_to(problem);
  if (reaction == Reaction::kAccount) return true;
  if (reaction != Reaction::kRateLimited) return false;
  if (problem.status == 503) return true;
  // Boulder's texts of the limits that are not about names.
  for (const std::string_view mark :
       {"from this account", "from this IP", "new registrations", "new orders", "Service busy"}) {
    if (problem.detail.find(mark) != std::string::npos) return true;
  }
  return false;
}

std::string describe(const Problem& problem) {
  std::string text;
  if (problem.identifier && !problem.identifier->value.empty())
    text += problem.identifier->value + ": ";
  if (!problem.type.empty()) text += problem.type;
  if (problem.type.empty() && problem.status != 0)
    text += "HTTP status " + std::to_string(problem.status);
  if (!problem.detail.empty()) text += (text.empty() ? "" : ": ") + problem.detail;
  if (text.empty()) text = "a problem without a reason";
  constexpr std::size_t kNamed = 5;  // More would not be read.
  for (std::size_t i = 0; i < std::min(kNamed, problem.subproblems.size()); ++i)
    text += "; " + describe(problem.subproblems[i]);
  if (problem.subproblems.size() > kNamed)
    text += "; and " + std::to_string(problem.subproblems.size() - kNamed) + " more";
  if (problem.type == "userActionRequired") {
    if (!problem.instance.empty()) text += "; open " + problem.instance;
    if (!problem.terms_url.empty()) text += "; the terms of service are at " + problem.terms_url;
  }
  const Row* row = row_of(problem.type);
  if (!problem.unpause_url.empty()) {
    text += "; the name is paused until a person opens " + problem.unpause_url;
  } else if (row && !row->advice.empty() && problem.subproblems.empty()) {
    text += "; " + std::string(row->advice);
  }
  return text;
}

AttemptFailure to_failure(const Problem& problem, std::string_view doing) {
  AttemptFailure failure;
  failure.reaction = reaction_to(problem);
  failure.error = to_error(problem).in(doing);
  failure.problem_type = problem.type;
  failure.not_before = problem.retry_after;
  failure.is_ca_wide = is_ca_wide(problem);
  failure.is_replaced_already = problem.type == "alreadyReplaced";
  return failure;
}

Error to_error(const Problem& problem) {
  return Error{fault_of(problem, reaction_to(problem)), describe(problem)};
}

}  // namespace gatehouse::acme
