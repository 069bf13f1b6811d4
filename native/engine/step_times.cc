#include "engine/step_times.h"

#include <algorithm>
#include <bit>

namespace k2 {

size_t StepTimes::Index(size_t rows) {
  if (rows <= kExact) return rows;
  constexpr size_t kExactWidth = std::bit_width(kExact);
  return std::min(kExact + 1 + std::bit_width(rows - 1) - kExactWidth,
                  std::tuple_size_v<decltype(entries_)> - 1);
}

void StepTimes::Add(size_t rows, int64_t ns) {
  Entry& entry = entries_[Index(rows)];
  const double measured = std::max<double>(static_cast<double>(ns), 1);
  // One step that was interrupted must not count for more than two.
  entry.ns = entry.ns == 0 ? measured : (entry.ns + std::min(measured, 3 * entry.ns)) / 2;
  entry.step = ++steps_;
}

void StepTimes::AddMixed(size_t rows, int64_t ns) {
  ++steps_;
  Entry& entry = entries_[Index(rows)];
  if (entry.ns > 0) entry.ns = std::min(entry.ns, std::max<double>(static_cast<double>(ns), 1));
}

double StepTimes::Recent(size_t rows, int64_t age) const {
  const Entry& entry = entries_[Index(rows)];
  return entry.ns > 0 && steps_ - entry.step < age ? entry.ns : 0;
}

}  // namespace k2
