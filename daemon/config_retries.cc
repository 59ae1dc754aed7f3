// `retries` of a route: when a request is sent again, and how often.

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "daemon/base/text.h"
#include "daemon/config_draft.h"
#include "proxy/protocol/grpc.h"

namespace gatehouse::daemon {

namespace {

constexpr std::uint32_t kAttemptsMax = 10;

struct GrpcCondition {
  std::string_view word;
  proxy::GrpcStatus status;
};
constexpr GrpcCondition kGrpcConditions[] = {
    {"grpc-cancelled", proxy::GrpcStatus::kCancelled},
    {"grpc-deadline-exceeded", proxy::GrpcStatus::kDeadlineExceeded},
    {"grpc-resource-exhausted", proxy::GrpcStatus::kResourceExhausted},
    {"grpc-internal", proxy::GrpcStatus::kInternal},
    {"grpc-unavailable", proxy::GrpcStatus::kUnavailable},
};

/// False: it is none of the words.
bool take_word(std::string_view word, proxy::Retries& into) {
  if (word == "connect") return into.on_connect = true;
  if (word == "reset") return into.on_reset = true;
  if (word == "5xx") return into.on_5xx = true;
  if (word == "gateway-error") {
    into.on_status.insert(into.on_status.end(), {502, 503, 504});
    return true;
  }
  const auto grpc = std::find_if(std::begin(kGrpcConditions), std::end(kGrpcConditions),
                                 [&](const GrpcCondition& each) { return each.word == word; });
  if (grpc == std::end(kGrpcConditions)) return false;
  into.on_grpc_status.push_back(code_of(grpc->status));
  return true;
}

void read_condition(Reader& reader, const Field& field, proxy::Retries& into) {
  const auto given = reader.scalar(field, "a condition");
  if (!given || take_word(*given, into)) return;
  if (const auto status = parse_decimal(*given)) {
    if (*status >= 500 && *status <= 599) {
      into.on_status.push_back(static_cast<int>(*status));
      return;
    }
    reader.error(field.mark(), in_quotes(*given) + " is no status of a server error",
                 "from 500 to 599");
    return;
  }
  std::vector<std::string> words{"connect", "reset", "gateway-error", "5xx"};
  std::string known = "connect, reset, gateway-error, 5xx, a status such as 503";
  for (const GrpcCondition& each : kGrpcConditions) {
    words.emplace_back(each.word);
    known.append(", ").append(each.word);
  }
  reader.error(field.mark(), in_quotes(*given) + " is no condition of \"retries\"",
               reader.did_you_mean(*given, words, "known are " + known));
}

}  // namespace

void read_retries(Reader& reader, const Field& field, std::optional<proxy::Retries>& into) {
  if (!field) return;
  proxy::Retries retries;
  Fields fields = reader.mapping(field, {"\"retries\""});
  reader.number(fields.find("attempts"), retries.attempts, {1, kAttemptsMax});
  const Field on = fields.find("on");
  for (const Field& condition : reader.items(on)) read_condition(reader, condition, retries);
  if (on && on.value.is_sequence() && on.value.size() == 0)
    reader.error(on.mark(), "\"on\" needs at least one condition",
                 "without \"on\": connect and reset");
  if (!on) retries.on_connect = retries.on_reset = true;
  reader.duration(fields.find("per_try"), retries.per_try);
  int budget = 0;
  if (reader.percentage(fields.find("budget"), budget))
    retries.budget_percent = static_cast<unsigned>(budget);
  fields.finish();
  into = std::move(retries);
}

}  // namespace gatehouse::daemon
