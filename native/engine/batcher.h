// Which tokens of which sessions go into the next forward step.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/session.h"

namespace k2 {

struct StepPart {
  std::shared_ptr<Session> session;
  // Prefill: how many of the task's next ids. Decode: 1, the pending token.
  size_t ids = 0;
};

// Tokens that may wait for their consumer before its session pauses.
inline constexpr size_t kRunAheadTokens = 32;

// Whether the session has something to compute now.
bool HasStepWork(Session& session);

// Every decoding session gets its token first; what is left of `budget` goes to prefills, shared evenly, so
// that neither a long prompt nor many short ones hold up the others.
std::vector<StepPart> PlanStep(std::span<const std::shared_ptr<Session>> active, size_t budget);

}  // namespace k2
