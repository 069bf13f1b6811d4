// Which tokens of which sessions go into the next forward step.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/prefill_pace.h"
#include "engine/session.h"
#include "engine/step_times.h"

namespace k2 {

struct StepPart {
  std::shared_ptr<Session> session;
  // Prefill: how many of the task's next ids. Decode: the pending token, and later what is guessed to follow
  // it.
  size_t ids = 0;
};

// Tokens that may wait for their consumer before its session pauses.
inline constexpr size_t kRunAheadTokens = 32;

// Whether the session has something to compute now.
bool HasStepWork(Session& session);

class Batcher {
 public:
  // A step of at most `most` rows. Every decoding session has one row. Prefills have the other rows, or fewer
  // while anybody decodes (PrefillPace): half of them go to the prompt that is nearest to its end, so that a
  // short one does not wait for a long one, and the rest are shared evenly, so that a long one does not wait
  // for many short ones. Where there are not enough rows for all, those go first that have waited longest.
  std::vector<StepPart> Plan(std::span<const std::shared_ptr<Session>> active, size_t most);
  // What a step took.
  void Record(size_t decode_rows, size_t prefill_rows, int64_t ns);
  const StepTimes& times() const { return times_; }

 private:
  StepTimes times_;
  PrefillPace pace_;
  uint64_t steps_ = 0;
  size_t decoded_last_ = 0;  // 1: the latest step had rows of decoding
};

}  // namespace k2
