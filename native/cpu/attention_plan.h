// How absorbed attention is cut into tasks: steps of rows that share a pass over kv_b, and waves of tasks,
// each over one split of some rows' positions, after which the sums of the splits are merged in order.
//
// Nothing here has an influence on a bit: a query's sums over one split depend on its positions alone, and so
// does the order in which they are merged. No task is longer than a split, so contexts of any lengths
// balance.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/attention_kernels.h"

namespace k2 {

// Rows of one session in a step, at most kTaskRows.
struct AbsorbedPart {
  const Segment* segment;
  int64_t step_row, rows;
  int64_t first_position;  // of its first row
};

// The first splits of a part, whose sums are the part's own, or a further one, whose sums wait in rows
// `memory_row`, memory_row + 1, ... of the wave's memory until they are merged.
struct AbsorbedSplit {
  const AbsorbedPart* part;
  int64_t start, end;
  int64_t memory_row;
};

class AbsorbedPlan {
 public:
  // Rows of memory that the waves of that many threads take.
  static int64_t MemoryRows(int threads);

  // Called once, before any call below.
  void Prepare(int64_t heads, int threads, const QuerySums& sums, const QuerySums& memory);

  void Begin(std::span<const Segment> segments);
  // Goes on to the next rows; false when there are none.
  bool NextStep();
  // Of the step's rows, in the call.
  std::span<const int64_t> numbers() const { return numbers_; }
  // Goes on to the next tasks of the step; false when there are none.
  bool NextWave();
  std::span<const AbsorbedTask> tasks() const { return tasks_; }
  std::span<const AbsorbedSplit> splits() const { return splits_; }

 private:
  void AddTasks(const AbsorbedSplit& split, int64_t head_parts);

  int64_t tiles_ = 0;  // of heads
  int threads_ = 1;
  QuerySums sums_ = {}, memory_ = {};

  std::span<const Segment> segments_;
  size_t segment_ = 0;       // of the next row,
  int64_t segment_row_ = 0;  // and its place there
  std::vector<int64_t> numbers_;
  std::vector<AbsorbedPart> parts_;
  int64_t run_ = 0;  // positions of the first splits of a part that one task takes

  size_t part_ = 0;    // of the next split,
  int64_t start_ = 0;  // and its first position
  std::vector<AbsorbedSplit> splits_;
  std::vector<AbsorbedTask> tasks_;
};

}  // namespace k2
