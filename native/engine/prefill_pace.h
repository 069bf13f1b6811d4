// How many rows of prefills a step may have beside decoding, so that nobody's next token waits long for
// somebody else's prompt: a step takes at most kMostSlowdown times what its rows of decoding take alone.
//
// What a row of a prefill costs is not known beforehand (the more rows, the more experts are read, and the
// longer the context, the more attention), so the number follows the measured times: after each step it is
// multiplied by what would have met the bound, at most doubled or halved.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/step_times.h"

namespace k2 {

class PrefillPace {
 public:
  // So many rows go in whatever they take: a prefill always advances.
  static constexpr size_t kLeastRows = 4;
  static constexpr double kMostSlowdown = 4;
  // What decoding takes alone is measured again after so many steps; meanwhile its contexts have grown.
  static constexpr int64_t kRefreshSteps = 64;

  // Rows for prefills beside `decode_rows` of decoding, at most `most`. 0: this step decodes alone, since
  // what that takes is not known.
  size_t Rows(const StepTimes& times, size_t decode_rows, size_t most) const;
  // A step with both took `ns`.
  void Record(const StepTimes& times, size_t decode_rows, size_t prefill_rows, int64_t ns);

 private:
  double rows_ = kLeastRows;
};

}  // namespace k2
