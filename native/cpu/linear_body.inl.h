// The body of the linear kernels, compiled once per instruction set: included inside the region and namespace
// that have defined the lanes. No guard, and no includes but its own parts, on purpose: code of another
// header that is compiled in here would carry the region's instructions.
//
// A block of 16 rows is walked in panels of K: the weights of a panel are decoded once into a small buffer in
// the first-level cache, [unit][16 rows], then every token multiplies with it. A unit is 4 bytes of a token's
// activations (one f32, or two bf16) against the 16 lanes of a line of the panel.
// Bound: weights are read once, in order, whatever T; bytes = rows * row_bytes + scales. From about T = 8 on,
// the multiply-adds bound it: one load of a panel's line and T broadcasts of activations for T multiply-adds.
// Error against the exact sum over the same activations: at most (32 + K / 32 + 2) eps32 * sum |x w|.

#include "cpu/linear_decode.inl.h"
#include "cpu/linear_multiply.inl.h"

// Addresses of a block's rows. Those past the last one repeat it: nothing is read outside of the weight, and
// what they yield is not used.
void FindBlockRows(const uint8_t* data, int64_t row_bytes, const RowBlock& b, const uint8_t** rows) {
  for (int i = 0; i < kBlockRows; ++i) {
    const int64_t row = b.first_row + i < b.weight->rows ? b.first_row + i : b.weight->rows - 1;
    rows[i] = data + row * row_bytes;
  }
}

#if defined(K2_PAIR_DOT)
#include "cpu/linear_rows_bf16.inl.h"
#endif

template <class Mode, Storage S>
void MultiplyRows(const RowBlock& b) {
  constexpr int64_t kUnitColumns = Mode::kPairUnits ? 2 : 1;
  constexpr int64_t kPanelColumns = kPanelUnits * kUnitColumns;
  const Weight& w = *b.weight;
  const int64_t row_bytes = w.row_bytes();
  const int64_t scale_row_bytes = w.scale_columns() * StorageBytes(w.scale_storage);
  const uint8_t* rows[kBlockRows];
  const uint8_t* scale_rows[kBlockRows];
  FindBlockRows(w.data, row_bytes, b, rows);
  FindBlockRows(w.scales, scale_row_bytes, b, scale_rows);
  alignas(64) float panel[kPanelUnits * kBlockRows];
  alignas(64) float scales[kScaleSteps * kBlockRows];
  for (float& scale : scales) scale = 1.0f;
  for (int64_t i = 0; i < b.count * kBlockRows; ++i) b.out[i] = 0.0f;

  const bool scaled = S == Storage::kInt4 || S == Storage::kF8E4m3;
  const bool scale_in_panel = scaled && ScalesInsideSteps(w);
  PrefetchCursor cursor = StartPrefetch(b.next, (row_bytes + 4 * kWords - 1) / (4 * kWords));
  for (int64_t chunk = 0; chunk < w.columns; chunk += kScaleSteps * kStepColumns) {
    const int64_t left = w.columns - chunk;
    const int64_t end = chunk + (left < kScaleSteps * kStepColumns ? left : kScaleSteps * kStepColumns);
    if (scaled && !scale_in_panel) {
      FillScales(w, b.first_row, scale_rows, chunk, (end - chunk + kStepColumns - 1) / kStepColumns, scales);
    }
    int64_t column = chunk;
    if constexpr (kHasDirect<Mode, S>) {
      const int64_t batches = (end - chunk) * kBits<S> / 32 / kWords;
      if (b.count <= kDirectTokens && batches > 0 && !scale_in_panel) {
        MultiplyFew<Mode, S>(b, rows, column * kBits<S> / 8, batches, scales, column / kUnitColumns * 4,
                             &cursor);
        column += batches * kWords * 32 / kBits<S>;
      }
    }
    for (; column < end; column += kPanelColumns) {
      const int64_t columns = end - column < kPanelColumns ? end - column : kPanelColumns;
      Unpack<Mode, S>(rows, row_bytes, column * kBits<S> / 8, (columns * kBits<S> + 31) / 32, panel, &cursor);
      if (scale_in_panel) ScalePanel(w, b.first_row, column, columns, panel);
      // Pairs are padded to whole steps, and so is what Unpack wrote.
      const int64_t units =
          Mode::kPairUnits ? (columns + kStepColumns - 1) / kStepColumns * Mode::kStepUnits : columns;
      MultiplyTokens<Mode>(b, panel, scales + (column - chunk) / kStepColumns * kBlockRows,
                           column / kUnitColumns * 4, units);
    }
  }
}

template <class Mode>
void MultiplyStored(const RowBlock& b) {
  switch (b.weight->storage) {
    case Storage::kBf16:
      return MultiplyRows<Mode, Storage::kBf16>(b);
    case Storage::kF8E4m3:
      return MultiplyRows<Mode, Storage::kF8E4m3>(b);
    case Storage::kInt4:
      return MultiplyRows<Mode, Storage::kInt4>(b);
    case Storage::kF16:
      return MultiplyRows<FloatMode, Storage::kF16>(b);
    case Storage::kF32:
      return MultiplyRows<FloatMode, Storage::kF32>(b);
  }
}

void MultiplyRowBlock(const RowBlock& b) {
#if defined(K2_PAIR_DOT)
  if (b.format == ActivationFormat::kPairs && b.weight->storage == Storage::kBf16) return MultiplyBf16Rows(b);
  if (b.format == ActivationFormat::kPairs || b.format == ActivationFormat::kNibblePairs) {
    return MultiplyStored<PairMode>(b);
  }
#endif
  MultiplyStored<FloatMode>(b);
}

ActivationFormat FormatFor(const Weight& w, bool full_precision) {
  if (full_precision || w.storage == Storage::kF16 || w.storage == Storage::kF32)
    return ActivationFormat::kFloat;
#if defined(K2_PAIR_DOT)
  // Scaled while decoded, a weight is no bf16 number any more.
  if (ScalesInsideSteps(w)) return ActivationFormat::kFloat;
  return w.storage == Storage::kInt4 ? ActivationFormat::kNibblePairs : ActivationFormat::kPairs;
#else
  return ActivationFormat::kRounded;
#endif
}
