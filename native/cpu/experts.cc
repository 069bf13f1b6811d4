#include "cpu/experts.h"

#include <algorithm>
#include <cstring>

#include "cpu/for_ahead.h"
#include "cpu/interleave.h"

namespace k2 {
namespace {

// Row block `block` of `w` times `count` rows of activations.
RowBlock BlockOf(const Weight& w, int64_t block, ActivationFormat format, PackedRows x, int64_t count,
                 float* out) {
  return {.weight = &w,
          .first_row = block * kBlockRows,
          .format = format,
          .x = x.rows,
          .x_stride = x.stride,
          .chosen = nullptr,
          .count = count,
          .out = out,
          .next = {}};
}

int64_t Blocks(const Weight& w) { return (w.rows + kBlockRows - 1) / kBlockRows; }

// Writes a row block of a copy.
void CopyBlock(const LinearKernels& kernels, const Weight& source, const Weight& copy, int64_t block) {
  uint8_t* const out = const_cast<uint8_t*>(copy.data) + block * InterleavedBlockBytes(copy.columns);
  kernels.interleave(source, block * kBlockRows, out);
}

int64_t MostPerToken(const BackendShapes& shapes, ActivationFormat format) {
  return std::max(shapes.chosen * PackedStride(format, shapes.expert_width),
                  PackedStride(format, shapes.dense_width));
}

}  // namespace

// Memory: [hidden rows | groups | first | sorted tokens | sorted weights].
CpuExperts::Sizes CpuExperts::SizesOf(const BackendShapes& shapes) const {
  const int64_t tokens = LinearScratch::SlabTokens(shapes);
  const auto padded = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  const ActivationFormat usual = scratch_.kernels().format(Weight{.storage = Storage::kBf16}, false);
  Sizes sizes;
  // Room for one token in any format, so that float weights go through in smaller slabs.
  sizes.hidden =
      std::max(tokens * MostPerToken(shapes, usual), MostPerToken(shapes, ActivationFormat::kFloat));
  sizes.groups = padded(std::max<int64_t>(1, shapes.experts) * static_cast<int64_t>(sizeof(Group)));
  sizes.first = padded((shapes.experts + 1) * static_cast<int64_t>(sizeof(int64_t)));
  sizes.sorted = padded(tokens * shapes.chosen * static_cast<int64_t>(sizeof(float)));
  return sizes;
}

int64_t CpuExperts::Bytes(const BackendShapes& shapes) const {
  const Sizes sizes = SizesOf(shapes);
  return sizes.hidden + sizes.groups + sizes.first + 2 * sizes.sorted;
}

Status CpuExperts::Prepare(const BackendShapes& shapes) {
  const Sizes sizes = SizesOf(shapes);
  Result<AlignedBuffer> buffer =
      AlignedBuffer::Allocate(static_cast<size_t>(Bytes(shapes)), "the hidden rows of the experts");
  if (!buffer.ok()) return buffer.status();
  buffer_ = std::move(buffer.value());
  uint8_t* next = buffer_.data();
  const auto take = [&](int64_t bytes) {
    uint8_t* const taken = next;
    next += bytes;
    return taken;
  };
  hidden_bytes_ = sizes.hidden;
  hidden_ = take(sizes.hidden);
  groups_ = reinterpret_cast<Group*>(take(sizes.groups));
  first_ = reinterpret_cast<int64_t*>(take(sizes.first));
  sorted_tokens_ = reinterpret_cast<int32_t*>(take(sizes.sorted));
  sorted_weights_ = reinterpret_cast<float*>(take(sizes.sorted));
  return {};
}

int64_t CpuExperts::HiddenStride(const Expert& expert) const {
  return PackedStride(scratch_.kernels().format(*expert.down, false), expert.down->columns);
}

int64_t CpuExperts::TokensAtOnce(int64_t hidden_bytes_per_token) const {
  return std::clamp<int64_t>(hidden_bytes_ / hidden_bytes_per_token, 1, scratch_.slab_tokens());
}

void CpuExperts::FeedForward(const FeedForwardParams& p) {
  const int64_t stride = HiddenStride(p.weights);
  const int64_t slab = TokensAtOnce(stride);
  for (int64_t first = 0; first < p.x.rows; first += slab) {
    const int64_t tokens = std::min(slab, p.x.rows - first);
    const Group group = {&p.weights, nullptr, nullptr, nullptr, tokens, hidden_, stride};
    Run({p.x.row(first), tokens, p.x.columns, p.x.stride}, {p.y.row(first), tokens, p.y.columns, p.y.stride},
        {&group, 1});
  }
}

void CpuExperts::RoutedExperts(const RoutedExpertsParams& p) {
  int64_t stride = 1;
  for (const Expert& expert : p.experts) stride = std::max(stride, HiddenStride(expert));
  const int64_t slab = TokensAtOnce(stride * p.chosen);
  for (int64_t first = 0; first < p.x.rows; first += slab) {
    const int64_t tokens = std::min(slab, p.x.rows - first);
    const std::span<Group> groups(groups_, static_cast<size_t>(SortByExpert(p, first, tokens)));
    UseCopies(groups);
    Run({p.x.row(first), tokens, p.x.columns, p.x.stride}, {p.y.row(first), tokens, p.y.columns, p.y.stride},
        groups);
    FinishCopies(groups);
  }
}

// With more tokens than a few, what copying costs is not won back by the time of one use.
void CpuExperts::UseCopies(std::span<Group> groups) {
  constexpr int64_t kFewTokens = 4;
  for (Group& group : groups) {
    const Expert& expert = *group.expert;
    ExpertCopies::Copy* const copy = copies_.Find(expert, group.count <= kFewTokens);
    if (copy == nullptr || (!copy->is_whole && group.count > kFewTokens)) continue;
    group.source = copy->is_whole ? nullptr : &expert;
    group.expert = &copy->expert;
  }
}

void CpuExperts::FinishCopies(std::span<const Group> groups) {
  if (scratch_.pool().stopped()) return;  // some blocks may be missing
  for (const Group& group : groups) {
    if (group.source != nullptr) copies_.Finish(*group.source, *copies_.Find(*group.source, false));
  }
}

// A counting sort of (token, expert) pairs: experts ascend, and so do the tokens of each.
int64_t CpuExperts::SortByExpert(const RoutedExpertsParams& p, int64_t first, int64_t tokens) {
  const int32_t* const ids = p.expert_ids + first * p.chosen;
  const float* const weights = p.expert_weights + first * p.chosen;
  const int64_t pairs = tokens * p.chosen, count = static_cast<int64_t>(p.experts.size());
  std::fill_n(first_, count + 1, 0);
  for (int64_t i = 0; i < pairs; ++i) ++first_[ids[i] + 1];
  int64_t groups = 0;
  uint8_t* hidden = hidden_;
  for (int64_t e = 0; e < count; ++e) {
    const int64_t rows = first_[e + 1];
    first_[e + 1] += first_[e];
    if (rows == 0 || e < p.first_expert || e >= p.end_expert) continue;
    const Expert& expert = p.experts[static_cast<size_t>(e)];
    const int64_t stride = HiddenStride(expert);
    groups_[groups++] = {&expert, nullptr, sorted_tokens_ + first_[e], sorted_weights_ + first_[e], rows,
                         hidden,  stride};
    hidden += rows * stride;
  }
  for (int64_t i = 0; i < pairs; ++i) {
    const int64_t place = first_[ids[i]]++;
    sorted_tokens_[place] = static_cast<int32_t>(i / p.chosen);
    sorted_weights_[place] = weights[i];
  }
  return groups;
}

void CpuExperts::Run(const Tensor& x, const Tensor& y, std::span<const Group> groups) {
  scratch_.Begin(x);
  for (const Group& group : groups) {
    scratch_.Rows(scratch_.kernels().format(*group.expert->gate, false));
    scratch_.Rows(scratch_.kernels().format(*group.expert->up, false));
  }
  GateAndUp(groups);
  Down(groups, y);
}

// Tasks are (expert, rows of gate and up): the same rows of both for all of the expert's tokens, so that what
// is stored is already the packed input of `down`.
void CpuExperts::GateAndUp(std::span<const Group> groups) {
  if (groups.empty()) return;
  const LinearKernels& kernels = scratch_.kernels();
  int64_t pairs = 0;
  for (const Group& group : groups) pairs += group.count;
  const int64_t experts = static_cast<int64_t>(groups.size());
  const Weight& any = *groups[0].expert->gate;
  const int64_t blocks = Blocks(any);
  // Hidden columns that are packed in whole steps come out of one task.
  bool in_steps = false;
  for (const Group& group : groups) in_steps |= IsPlanes(kernels.format(*group.expert->down, false));
  const int64_t width = in_steps ? kStepColumns / kBlockRows : 1;
  const int64_t per_task =
      (BlocksPerTask(2 * kBlockRows * any.row_bytes(), pairs / experts) + width - 1) / width * width;
  const int64_t tasks = (blocks + per_task - 1) / per_task;

  ForAhead(scratch_.pool(), experts * tasks, [&](int64_t task, int64_t next_task, int thread) {
    const Group& group = groups[static_cast<size_t>(task / tasks)];
    const Weight &gate = *group.expert->gate, &up = *group.expert->up;
    const ActivationFormat gate_format = kernels.format(gate, false), up_format = kernels.format(up, false);
    const ActivationFormat hidden_format = kernels.format(*group.expert->down, false);
    float *const gate_sums = scratch_.Sums(thread, 0), *const up_sums = scratch_.Sums(thread, 1);
    float* const step = scratch_.Sums(thread, 2);  // [tokens, kStepColumns]
    const int64_t first = task % tasks * per_task, last = std::min(blocks, first + per_task);
    for (int64_t block = first; block < last; ++block) {
      if (group.source != nullptr) {
        CopyBlock(kernels, *group.source->gate, gate, block);
        CopyBlock(kernels, *group.source->up, up, block);
      }
      RowBlock gate_block =
          BlockOf(gate, block, gate_format, scratch_.Rows(gate_format), group.count, gate_sums);
      RowBlock up_block = BlockOf(up, block, up_format, scratch_.Rows(up_format), group.count, up_sums);
      gate_block.chosen = up_block.chosen = group.tokens;
      const Expert* next = group.expert;
      int64_t next_row = (block + 1) * kBlockRows;
      if (block + 1 == last) {
        next = next_task < 0 ? nullptr : groups[static_cast<size_t>(next_task / tasks)].expert;
        next_row = next_task % tasks * per_task * kBlockRows;
      }
      const bool may_pair = gate_format == up_format && gate.storage == up.storage;
      if (may_pair && kernels.gains_by_pairs(gate, gate_format, group.count)) {
        if (next != nullptr) {
          gate_block.next = RowBlockBytes(*next->gate, next_row);
          up_block.next = RowBlockBytes(*next->up, next_row);
        }
        const RowBlock pair[] = {gate_block, up_block};
        kernels.row_block_pair(pair);
      } else {
        gate_block.next = RowBlockBytes(up, block * kBlockRows);
        if (next != nullptr) up_block.next = RowBlockBytes(*next->gate, next_row);
        kernels.row_block(gate_block);
        kernels.row_block(up_block);
      }
      elementwise_.swiglu(gate_sums, up_sums, group.count * kBlockRows, gate_sums);
      if (IsPlanes(hidden_format)) {
        const int64_t in_step = block * kBlockRows % kStepColumns;
        for (int64_t t = 0; t < group.count; ++t)
          std::copy_n(gate_sums + t * kBlockRows, kBlockRows, step + t * kStepColumns + in_step);
        if (in_step + kBlockRows == kStepColumns || block + 1 == blocks)
          StoreHidden(group, hidden_format, block * kBlockRows - in_step, step, kStepColumns);
      } else {
        StoreHidden(group, hidden_format, block * kBlockRows, gate_sums, kBlockRows);
      }
    }
  });
}

// Columns [first, first + width) of the hidden rows from h [count, width]; behind the last ones, zeros up to
// a whole step.
void CpuExperts::StoreHidden(const Group& group, ActivationFormat format, int64_t first, const float* h,
                             int64_t width) const {
  const int64_t columns = group.expert->down->columns;
  const int64_t count = std::min(width, columns - first);
  const int64_t written = PackedBytes(format, first + count);
  for (int64_t t = 0; t < group.count; ++t) {
    uint8_t* const row = group.hidden + t * group.hidden_stride;
    scratch_.kernels().pack(format, h + t * width, count, row + PackedBytes(format, first));
    if (first + count == columns)
      std::memset(row + written, 0, static_cast<size_t>(group.hidden_stride - written));
  }
}

// Tasks are rows of y: a task adds all experts to its rows, in ascending id, so no two threads share a
// number.
void CpuExperts::Down(std::span<const Group> groups, const Tensor& y) {
  if (groups.empty()) return;
  const LinearKernels& kernels = scratch_.kernels();
  int64_t pairs = 0, block_bytes = 0;
  for (const Group& group : groups) {
    pairs += group.count;
    block_bytes += kBlockRows * group.expert->down->row_bytes();
  }
  const Weight& any = *groups[0].expert->down;
  const int64_t blocks = Blocks(any);
  const int64_t width =
      kernels.gains_by_pairs(any, kernels.format(any, false), scratch_.slab_tokens()) ? 2 : 1;
  const int64_t per_task =
      (BlocksPerTask(block_bytes, pairs / static_cast<int64_t>(groups.size())) + width - 1) / width * width;

  ForAhead(scratch_.pool(), (blocks + per_task - 1) / per_task,
           [&](int64_t task, int64_t next_task, int thread) {
             // One expert after the other, so that each is read for as long as it lasts.
             const int64_t first = task * per_task, last = std::min(blocks, first + per_task);
             for (size_t i = 0; i < groups.size(); ++i) {
               const Group& group = groups[i];
               const Weight& down = *group.expert->down;
               const ActivationFormat format = kernels.format(down, false);
               for (int64_t block = first; block < last; block += width) {
                 const int64_t count = std::min(width, last - block);
                 const Weight* next = block + width < last    ? &down
                                      : i + 1 < groups.size() ? groups[i + 1].expert->down
                                      : next_task >= 0        ? &any
                                                              : nullptr;
                 const int64_t next_block = block + width < last    ? block + width
                                            : i + 1 < groups.size() ? first
                                                                    : next_task * per_task;
                 RowBlock pair[2];
                 for (int64_t j = 0; j < count; ++j) {
                   if (group.source != nullptr) CopyBlock(kernels, *group.source->down, down, block + j);
                   pair[j] = BlockOf(down, block + j, format, {group.hidden, group.hidden_stride},
                                     group.count, scratch_.Sums(thread, static_cast<int>(j)));
                   if (next != nullptr && next_block + j < blocks)
                     pair[j].next = RowBlockBytes(*next, (next_block + j) * kBlockRows);
                 }
                 MultiplyBlocks(kernels, pair, count);
                 for (int64_t j = 0; j < count; ++j) AddToRows(group, pair[j], y);
               }
             }
           });
}

// Writes (one group of all tokens) or adds (routed experts, with their weights) what a block of `down`
// yields.
void CpuExperts::AddToRows(const Group& group, const RowBlock& block, const Tensor& y) {
  const int64_t rows = std::min<int64_t>(kBlockRows, block.weight->rows - block.first_row);
  for (int64_t t = 0; t < group.count; ++t) {
    const float* const sum = block.out + t * kBlockRows;
    float* const out = y.row(group.tokens == nullptr ? t : group.tokens[t]) + block.first_row;
    if (group.weights == nullptr) {
      std::memcpy(out, sum, sizeof(float) * static_cast<size_t>(rows));
    } else {
      for (int64_t n = 0; n < rows; ++n) out[n] += group.weights[t] * sum[n];
    }
  }
}

}  // namespace k2
