#include "cpu/attention_plan.h"

#include <algorithm>

namespace k2 {
namespace {

// Tasks of a thread among the splits that are left over when each thread has had equally many whole ones.
constexpr int64_t kLastTasks = 2;
// The longest task has that part of a thread's share.
constexpr int64_t kShareParts = 4;

int64_t PartsOf(int64_t n, int64_t size) { return (n + size - 1) / size; }

int64_t PositionsOf(const AbsorbedPart& part) { return part.first_position + part.rows; }
int64_t PositionsOf(const AbsorbedSplit& split) { return split.end - split.start; }

}  // namespace

int64_t AbsorbedPlan::MemoryRows(int threads) { return std::clamp<int64_t>(8 * threads, 8, 256); }

void AbsorbedPlan::Prepare(int64_t heads, int threads, const QuerySums& sums, const QuerySums& memory) {
  tiles_ = PartsOf(heads, kQueryTile);
  threads_ = threads;
  sums_ = sums;
  memory_ = memory;
  numbers_.reserve(kStepRows);
  parts_.reserve(kStepRows);
  const size_t most_splits = static_cast<size_t>(kStepRows + MemoryRows(threads));
  splits_.reserve(most_splits);
  tasks_.reserve(most_splits * static_cast<size_t>(tiles_));
}

void AbsorbedPlan::Begin(std::span<const Segment> segments) {
  segments_ = segments;
  segment_ = 0;
  segment_row_ = 0;
}

bool AbsorbedPlan::NextStep() {
  numbers_.clear();
  parts_.clear();
  part_ = 0;
  start_ = 0;
  int64_t rows = 0;
  while (segment_ < segments_.size() && rows < kStepRows) {
    const Segment& segment = segments_[segment_];
    const int64_t left = segment.form == AttentionForm::kAbsorbed ? segment.rows - segment_row_ : 0;
    const int64_t taken = std::min({left, kTaskRows, kStepRows - rows});
    if (taken <= 0) {
      ++segment_;
      segment_row_ = 0;
      continue;
    }
    parts_.push_back({.segment = &segment,
                      .step_row = rows,
                      .rows = taken,
                      .first_position = segment.first_position + segment_row_});
    for (int64_t i = 0; i < taken; ++i) numbers_.push_back(segment.first_row + segment_row_ + i);
    segment_row_ += taken;
    rows += taken;
  }
  int64_t splits = 0;
  for (const AbsorbedPart& part : parts_) splits += PartsOf(PositionsOf(part), kPositionSplit);
  const int64_t run = threads_ == 1 ? splits : splits / (kShareParts * threads_);
  run_ = std::max<int64_t>(run, 1) * kPositionSplit;
  return rows > 0;
}

bool AbsorbedPlan::NextWave() {
  splits_.clear();
  tasks_.clear();
  int64_t memory_row = 0;
  while (part_ < parts_.size()) {
    const AbsorbedPart& part = parts_[part_];
    const int64_t rows = start_ == 0 ? 0 : part.rows;
    if (memory_row + rows > MemoryRows(threads_)) break;
    const int64_t end = std::min(start_ + (start_ == 0 ? run_ : kPositionSplit), PositionsOf(part));
    splits_.push_back({.part = &part, .start = start_, .end = end, .memory_row = memory_row});
    memory_row += rows;
    start_ = end;
    if (end < PositionsOf(part)) continue;
    ++part_;
    start_ = 0;
  }

  // More heads in a task mean fewer passes over the cached rows, so only what would leave threads without
  // work at the end is cut by heads, and comes last.
  int64_t runs = 0, whole = 0;
  for (const AbsorbedSplit& split : splits_) {
    runs += PositionsOf(split) > kPositionSplit ? 1 : 0;
    whole += PositionsOf(split) == kPositionSplit ? 1 : 0;
  }
  const int64_t uncut = whole / threads_ * threads_;
  const int64_t cut = static_cast<int64_t>(splits_.size()) - runs - uncut;
  for (const bool is_cut : {false, true}) {
    int64_t uncut_left = uncut;
    for (const AbsorbedSplit& split : splits_) {
      const int64_t positions = PositionsOf(split);
      const bool stays = positions > kPositionSplit || (positions == kPositionSplit && uncut_left-- > 0);
      if (stays && !is_cut) AddTasks(split, 1);
      if (!stays && is_cut) AddTasks(split, threads_ == 1 ? 1 : PartsOf(kLastTasks * threads_, cut));
    }
  }
  return !splits_.empty();
}

void AbsorbedPlan::AddTasks(const AbsorbedSplit& split, int64_t head_parts) {
  const AbsorbedPart& part = *split.part;
  const int64_t fitting = kTaskQueries / (part.rows * kQueryTile);
  const int64_t tiles = std::min(PartsOf(tiles_, head_parts), fitting);
  const bool is_first = split.start == 0;
  for (int64_t tile = 0; tile < tiles_; tile += tiles) {
    tasks_.push_back({.cache = &part.segment->cache,
                      .step_row = part.step_row,
                      .rows = part.rows,
                      .first_position = part.first_position,
                      .first_head = tile * kQueryTile,
                      .heads = std::min(tiles, tiles_ - tile) * kQueryTile,
                      .start = split.start,
                      .end = split.end,
                      .sums = is_first ? sums_ : memory_,
                      .sums_row = is_first ? part.step_row : split.memory_row});
  }
}

}  // namespace k2
