#include "engine/prefill_pace.h"

#include <algorithm>

namespace k2 {

size_t PrefillPace::Rows(const StepTimes& times, size_t decode_rows, size_t most) const {
  if (times.Recent(decode_rows, kRefreshSteps) == 0) return 0;
  return std::min(static_cast<size_t>(rows_), most);
}

void PrefillPace::Record(const StepTimes& times, size_t decode_rows, size_t prefill_rows, int64_t ns) {
  const double decode = times.Recent(decode_rows);
  if (decode == 0) return;
  const double bound = (kMostSlowdown - 1) * decode;
  const double taken = std::max(static_cast<double>(ns) - decode, 1.0);
  const double fits = static_cast<double>(prefill_rows) * std::clamp(bound / taken, 0.5, 2.0);
  // A prompt that ended before its share was used up tells nothing about more rows.
  const bool is_full = prefill_rows >= static_cast<size_t>(rows_);
  const bool is_late = taken > bound;
  constexpr double kMostRows = 65536;  // of batchTokens
  if (is_full || is_late) rows_ = std::clamp<double>(fits, kLeastRows, kMostRows);
}

}  // namespace k2
