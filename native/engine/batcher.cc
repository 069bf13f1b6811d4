#include "engine/batcher.h"

#include <algorithm>

namespace k2 {

bool HasStepWork(Session& session) {
  if (session.settled) return false;
  if (session.prefill) return session.prefill->lookup == 0;
  if (!session.decode || session.decode->ended) return false;
  std::lock_guard lock(session.queue.mutex);
  return session.queue.tokens.size() < kRunAheadTokens;
}

std::vector<StepPart> PlanStep(std::span<const std::shared_ptr<Session>> active, size_t budget) {
  std::vector<StepPart> parts;
  size_t prefills = 0;
  for (const std::shared_ptr<Session>& session : active) {
    if (!HasStepWork(*session)) continue;
    if (session->prefill) {
      ++prefills;
    } else if (budget > 0) {
      parts.push_back({session, 1});
      --budget;
    }
  }
  for (const std::shared_ptr<Session>& session : active) {
    if (prefills == 0 || budget == 0) break;
    if (!session->prefill || !HasStepWork(*session)) continue;
    const size_t share = std::max<size_t>(budget / prefills, 1);
    const size_t ids = std::min(share, session->prefill->ids.size() - session->prefill->done);
    parts.push_back({session, ids});
    budget -= ids;
    --prefills;
  }
  return parts;
}

}  // namespace k2
