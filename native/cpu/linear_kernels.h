// The kernels under every linear: y[T, N] = x[T, K] W[N, K]^T for 16 rows of W at a time, straight from the
// checkpoint's row-major bytes. Lane = row: a vector holds one number of each of the 16 rows, so a result
// never crosses lanes and its sum runs through K in the same order whatever T, the neighbours or the threads
// are:
//   for each step of 32 columns:  part = sum over the step in order;  result = fma(part, scale, result)
// INT4 weights may meet activations that are integers (activation_planes.h): their part is exact.
// BF16 weights, which have no scales, are multiplied as their rows lie where the bf16 dot product can do so
// (linear_rows_bf16.inl.h).
// One table of functions per instruction set; the work around the blocks is portable (linear.cc, experts.cc).
#pragma once

#include <cstdint>

#include "base/tensor.h"
#include "cpu/activation_planes.h"
#include "cpu/isa.h"
#include "ops/backend.h"

namespace k2 {

constexpr int kBlockRows = 16;

// How a row of activations lies in memory: elements of 4 bytes (floats) or 2 (pairs), or whole steps
// (planes).
enum class ActivationFormat : uint8_t {
  kFloat,        // f32 as it is
  kRounded,      // f32 rounded to bf16, for kernels that multiply in f32
  kPairs,        // bf16
  kNibblePairs,  // bf16, each 8 columns in the order 0 4 1 5 2 6 3 7: the order in which one shift of an INT4
                 // word brings its nibbles into the two halves of a lane
  kBytes,        // integers of 8 bits with a scale for each step: PlaneStep<1>
  kBytePairs,    // integers of 15 bits as two of 8: PlaneStep<2>
};
constexpr int kActivationFormats = 6;

// Bytes of a step of 32 columns.
constexpr int64_t StepBytes(ActivationFormat format) {
  switch (format) {
    case ActivationFormat::kFloat:
    case ActivationFormat::kRounded:
      return 4 * kStepColumns;
    case ActivationFormat::kPairs:
    case ActivationFormat::kNibblePairs:
      return 2 * kStepColumns;
    case ActivationFormat::kBytes:
      return sizeof(PlaneStep<1>);
    case ActivationFormat::kBytePairs:
      return sizeof(PlaneStep<2>);
  }
  return 0;
}
// Such a step has one scale, so it is packed as a whole.
constexpr bool IsPlanes(ActivationFormat format) {
  return format == ActivationFormat::kBytes || format == ActivationFormat::kBytePairs;
}
// Bytes that n columns take once they are packed, zeros behind them included.
constexpr int64_t PackedBytes(ActivationFormat format, int64_t n) {
  if (IsPlanes(format)) return (n + kStepColumns - 1) / kStepColumns * StepBytes(format);
  return (n + 7) / 8 * 8 * (StepBytes(format) / kStepColumns);
}

// Bytes that this thread will need next, asked of memory a little with every step of the current block.
struct PrefetchRange {
  const uint8_t* data = nullptr;
  int64_t data_bytes = 0;
  const uint8_t* scales = nullptr;
  int64_t scale_bytes = 0;
};

// Rows [first_row, first_row + 16) of a weight, as far as it has them, times `count` rows of activations.
struct RowBlock {
  const Weight* weight;
  int64_t first_row;
  ActivationFormat format;
  const uint8_t* x;       // activations; pairs are padded with zeros to whole steps, floats are not
  int64_t x_stride;       // bytes
  const int32_t* chosen;  // [count] rows of x; null: rows 0, 1, 2, ...
  int64_t count;
  float* out;  // [count, 16], 64-byte aligned; lanes past the weight's last row get finite or NaN garbage
  PrefetchRange next;
};

struct LinearKernels {
  Isa isa;
  // Activations that row_block wants for a weight. `full_precision` keeps them unrounded.
  ActivationFormat (*format)(const Weight& weight, bool full_precision);
  // Stores n floats in a format, PackedBytes of them. A row may be packed in parts, which are whole steps
  // where the format is one of planes, else multiples of 8.
  void (*pack)(ActivationFormat format, const float* x, int64_t n, uint8_t* out);
  void (*row_block)(const RowBlock& block);
  // Two blocks with activations, format, columns and storage in common, side by side: each line of
  // activations is then loaded once for both. Each block gets the bits that it gets alone.
  void (*row_block_pair)(const RowBlock* blocks);
  // Whether `count` tokens gain by it.
  bool (*gains_by_pairs)(const Weight& weight, ActivationFormat format, int64_t count);
  // Writes rows [first_row, first_row + 16) of an INT4 weight interleaved (interleave.h).
  void (*interleave)(const Weight& weight, int64_t first_row, uint8_t* out);
};

const LinearKernels& LinearKernelsFor(Isa isa, Activations activations = Activations::k16Bit);

// One block, or two that may be a pair.
inline void MultiplyBlocks(const LinearKernels& kernels, const RowBlock* blocks, int64_t count) {
  if (count == 2 && kernels.gains_by_pairs(*blocks[0].weight, blocks[0].format, blocks[0].count))
    return kernels.row_block_pair(blocks);
  for (int64_t i = 0; i < count; ++i) kernels.row_block(blocks[i]);
}

// Bytes from one packed row to the next: whole steps, and an odd number of cache lines, so that the same
// column of several tokens never competes for one set of the first-level cache.
constexpr int64_t PackedStride(ActivationFormat format, int64_t columns) {
  const int64_t steps = (columns + kStepColumns - 1) / kStepColumns;
  return ((steps * StepBytes(format) + 63) / 64 | 1) * 64;
}

// Bytes of weight and scales that one row block reads.
PrefetchRange RowBlockBytes(const Weight& weight, int64_t first_row);

// For the kernels' bodies; not inline, so that they are compiled without any region's instructions.

// Whether a scale may change inside a step: FP8 blocks whose width is no multiple of 32. Such weights are
// scaled while they are decoded, and multiplied as floats.
bool ScalesInsideSteps(const Weight& weight);
// Scales of `steps` steps from `column` on, [step][16]; FP8.
void BlockScales(const Weight& weight, int64_t first_row, int64_t column, int64_t steps, float* scales);
// panel[column][16] *= the scale of each number; FP8.
void ScalePanel(const Weight& weight, int64_t first_row, int64_t column, int64_t columns, float* panel);

}  // namespace k2
