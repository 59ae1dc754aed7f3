#pragma once
// What a CA says when it refuses: problem documents (RFC 7807, RFC 8555 section 6.7) with their
// subproblems, and what each type means for the schedule. Pure. Lenient where a CA or something in
// front of it is sloppy: an HTML page with status 503 is a problem without a type.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "acme/attempt.h"
#include "daemon/base/clock.h"
#include "daemon/base/error.h"

namespace boost::json {
class value;
}

namespace gatehouse::acme {

/// RFC 8555 section 9.7.7 and RFC 8738: what a certificate is for.
struct Identifier {
  std::string type;  // "dns" or "ip"
  std::string value;
  friend bool operator==(const Identifier&, const Identifier&) = default;
};

struct Problem {
  std::string type;    // without urn:ietf:params:acme:error:, "" when absent or about:blank
  std::string detail;  // for people; one line, control characters removed, at most 1 KiB
  int status = 0;      // HTTP status: of the answer, or the document's own
  std::string instance;
  std::optional<Identifier> identifier;  // of a subproblem: the name that it is about
  std::vector<Problem> subproblems;      // at most 100
  std::optional<WallTime> retry_after;   // header Retry-After, else "retry after" in the detail
  std::string terms_url;                 // Link: rel="terms-of-service"
  std::string unpause_url;               // Let's Encrypt's link for a paused identifier
};

/// What the client has read of an answer that is not a success.
struct ProblemAnswer {
  int status = 0;
  std::string_view content_type, body;
  std::string_view retry_after;         // the header's value; may be empty
  std::vector<std::string_view> links;  // the Link headers' values
};

/// Never fails: what cannot be read is a problem without a type.
Problem parse_problem(const ProblemAnswer& answer, WallTime now);
/// The `error` member of an order, authorization or challenge.
Problem parse_problem(const boost::json::value& document, WallTime now);

/// ACME.md section 4. A compound problem is as bad as the worst of its subproblems.
Reaction reaction_to(const Problem& problem);
/// Whether another challenge type could succeed where this one failed.
bool is_validation_failure(const Problem& problem);
/// Whether it holds back everything at that CA: the account, our address, the CA itself.
bool is_ca_wide(const Problem& problem);

/// One line for the operator: what the CA said, about which name, and what to do about it.
std::string describe(const Problem& problem);
AttemptFailure to_failure(const Problem& problem, std::string_view doing);
/// For callers that need no reaction: the fault that fits, and describe().
Error to_error(const Problem& problem);

/// Retry-After (RFC 9110 section 10.2.3): seconds or an HTTP-date; capped at 30 days from now.
std::optional<WallTime> parse_retry_after(std::string_view value, WallTime now);
/// The URL of a Link header (RFC 8288) with that relation; empty when it is another.
std::string link_target(std::string_view header, std::string_view relation);
/// What a CA wrote, fit for a log line or a terminal: no control characters, cut at `bytes_max`.
std::string printable(std::string_view text, std::size_t bytes_max);

}  // namespace gatehouse::acme
