#pragma once
// Which challenge type to try for a name: the CA's configured preference, after a failed validation
// the next type, after a success the one that worked. Remembered per identifier while the process
// lives; a restart begins with the count of failures that the store kept. Pure.

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "acme/messages.h"
#include "acme/options.h"

namespace gatehouse::acme {

class ChallengeChoice {
 public:
  /// `preference`: in order, at least one.
  explicit ChallengeChoice(std::vector<ChallengeType> preference)
      : preference_(std::move(preference)) {}

  /// A type that both sides know; nothing when there is none. `failures`: attempts for this
  /// certificate that failed in a row, as the store has it; counts when the name is new to us.
  std::optional<ChallengeType> choose(const Authorization& authorization, int failures);

  void succeeded(const Identifier& identifier, ChallengeType type);
  /// True: a type is left that was not tried since the last success.
  bool failed(const Authorization& authorization, ChallengeType type);

 private:
  struct Memory {
    std::optional<ChallengeType> works;
    std::set<ChallengeType> failed;  // since the last success
  };
  std::vector<ChallengeType> offered(const Authorization& authorization) const;

  std::vector<ChallengeType> preference_;
  std::map<std::string, Memory> memory_;  // by identifier; as many as there are names configured
};

}  // namespace gatehouse::acme
