#include "acme/challenge_choice.h"

#include <algorithm>

#include "acme/challenge_answers.h"

namespace gatehouse::acme {

std::vector<ChallengeType> ChallengeChoice::offered(const Authorization& authorization) const {
  std::vector<ChallengeType> types;
  for (const auto type : preference_) {
    if (authorization.find(to_string(type))) types.push_back(type);
  }
  return types;
}

std::optional<ChallengeType> ChallengeChoice::choose(const Authorization& authorization,
                                                     int failures) {
  const auto types = offered(authorization);
  if (types.empty()) return std::nullopt;
  // The CA has been told already (before a restart): only that challenge can still succeed.
  for (const auto type : types) {
    if (authorization.find(to_string(type))->status == ChallengeStatus::kProcessing) return type;
  }
  const auto found = memory_.find(authorization.identifier.value);
  if (found == memory_.end())
    return types[static_cast<std::size_t>(std::max(failures, 0)) % types.size()];
  auto& memory = found->second;
  const auto is_left = [&](ChallengeType type) { return memory.failed.count(type) == 0; };
  if (std::none_of(types.begin(), types.end(), is_left)) memory.failed.clear();  // A new round.
  if (memory.works && is_left(*memory.works) &&
      std::find(types.begin(), types.end(), *memory.works) != types.end())
    return memory.works;
  return *std::find_if(types.begin(), types.end(), is_left);
}

void ChallengeChoice::succeeded(const Identifier& identifier, ChallengeType type) {
  auto& memory = memory_[identifier.value];
  memory.works = type;
  memory.failed.clear();
}

bool ChallengeChoice::failed(const Authorization& authorization, ChallengeType type) {
  auto& memory = memory_[authorization.identifier.value];
  memory.failed.insert(type);
  const auto types = offered(authorization);
  return std::any_of(types.begin(), types.end(),
                     [&](ChallengeType other) { return memory.failed.count(other) == 0; });
}

}  // namespace gatehouse::acme
