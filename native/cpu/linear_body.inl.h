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

#include "cpu/linear_words.inl.h"

#include "cpu/linear_decode.inl.h"
#include "cpu/linear_multiply.inl.h"

#include "cpu/linear_interleaved.inl.h"
#include "cpu/linear_planes.inl.h"

#if defined(K2_ROWS_BF16)
#include "cpu/linear_rows_bf16.inl.h"
#endif

template <class Mode, Storage S, class Words, int kBlocks>
void MultiplyRows(const RowBlock* blocks) {
  constexpr int64_t kUnitColumns = Mode::kUnitColumns;
  constexpr int64_t kPanelColumns = kPanelUnits * kUnitColumns;
  constexpr Storage kPanel = kPanelStorage<Mode, S>;
  const RowBlock& b = blocks[0];
  const Weight& w = *b.weight;
  Words words[kBlocks];
  alignas(64) float lines[kBlocks][kPanelUnits * kBlockRows];
  alignas(64) float scales[kBlocks][kScaleSteps * kBlockRows];
  PrefetchCursor cursors[kBlocks];
  for (int i = 0; i < kBlocks; ++i) {
    FindWords(*blocks[i].weight, blocks[i].first_row, &words[i]);
    for (float& scale : scales[i]) scale = 1.0f;
    for (int64_t j = 0; j < b.count * kBlockRows; ++j) blocks[i].out[j] = 0.0f;
    cursors[i] = StartPrefetch(blocks[i].next, (w.row_bytes() + 4 * kWords - 1) / (4 * kWords));
  }

  const bool scaled = S == Storage::kInt4 || S == Storage::kF8E4m3;
  const bool scale_in_panel = scaled && ScalesInsideSteps(w);
  for (int64_t chunk = 0; chunk < w.columns; chunk += kScaleSteps * kStepColumns) {
    const int64_t left = w.columns - chunk;
    const int64_t end = chunk + (left < kScaleSteps * kStepColumns ? left : kScaleSteps * kStepColumns);
    if (scaled && !scale_in_panel) {
      for (int i = 0; i < kBlocks; ++i) {
        FillScales(*blocks[i].weight, blocks[i].first_row, words[i], chunk,
                   (end - chunk + kStepColumns - 1) / kStepColumns, scales[i]);
      }
    }
    int64_t column = chunk;
    if constexpr (kBlocks == 1 && kHasDirect<Mode, S> && Words::kAreRows) {
      const int64_t batches = (end - chunk) * kBits<S> / 32 / kWords;
      if (b.count <= kDirectTokens && batches > 0 && !scale_in_panel) {
        MultiplyFew<Mode, S>(b, words[0].rows, column * kBits<S> / 8, batches, scales[0],
                             column / kUnitColumns * 4, &cursors[0]);
        column += batches * kWords * 32 / kBits<S>;
      }
    }
    for (; column < end; column += kPanelColumns) {
      const int64_t columns = end - column < kPanelColumns ? end - column : kPanelColumns;
      // Pairs are padded to whole steps, and so must be what they meet.
      const int64_t units =
          Mode::kUnitColumns == 2 ? (columns + kStepColumns - 1) / kStepColumns * Mode::kStepUnits : columns;
      constexpr int64_t kUnitsOfWord = kWordUnits<Mode, S>;
      Panels<kBlocks> panels;
      for (int i = 0; i < kBlocks; ++i) {
        const int64_t count = (units + kUnitsOfWord - 1) / kUnitsOfWord;
        if constexpr (kPanel == S) {
          Unpack<FloatMode, Storage::kF32>(words[i], column * kBits<S> / 8, count, lines[i], &cursors[i]);
        } else {
          Unpack<Mode, S>(words[i], column * kBits<S> / 8, count, lines[i], &cursors[i]);
        }
        if (scale_in_panel) ScalePanel(*blocks[i].weight, blocks[i].first_row, column, columns, lines[i]);
        panels.lines[i] = lines[i];
        panels.scales[i] = scales[i] + (column - chunk) / kStepColumns * kBlockRows;
        panels.sums[i] = blocks[i].out;
      }
      MultiplyTokens<Mode, kPanel>(b, panels, column / kUnitColumns * 4, units);
    }
  }
}

template <class Mode, int kBlocks>
void MultiplyStored(const RowBlock* blocks) {
  switch (blocks[0].weight->storage) {
    case Storage::kBf16:
      return MultiplyRows<Mode, Storage::kBf16, RowWords, kBlocks>(blocks);
    case Storage::kF8E4m3:
      return MultiplyRows<Mode, Storage::kF8E4m3, RowWords, kBlocks>(blocks);
    case Storage::kInt4:
      if (!blocks[0].weight->interleaved)
        return MultiplyRows<Mode, Storage::kInt4, RowWords, kBlocks>(blocks);
      if (kBlocks == 1 && blocks[0].count <= kDirectTokens) return MultiplyInterleaved<Mode>(blocks[0]);
      return MultiplyRows<Mode, Storage::kInt4, BlockWords, kBlocks>(blocks);
    case Storage::kF16:
      return MultiplyRows<FloatMode, Storage::kF16, RowWords, kBlocks>(blocks);
    case Storage::kF32:
      return MultiplyRows<FloatMode, Storage::kF32, RowWords, kBlocks>(blocks);
  }
}

void MultiplyRowBlock(const RowBlock& b) {
  if (IsPlanes(b.format)) return MultiplyPlanes<1>(&b);
#if defined(K2_ROWS_BF16)
  if (b.format == ActivationFormat::kPairs && b.weight->storage == Storage::kBf16) return MultiplyBf16Rows(b);
#endif
#if defined(K2_PAIR_DOT)
  if (b.format == ActivationFormat::kPairs || b.format == ActivationFormat::kNibblePairs)
    return MultiplyStored<PairMode, 1>(&b);
#endif
  MultiplyStored<FloatMode, 1>(&b);
}

// Where two lines meet every unit of activations, and there are registers for the sums of both.
bool GainsByPairs(const Weight& w, ActivationFormat format, int64_t count) {
  if (IsPlanes(format)) return kPlaneBlocks == 2 && count > kDirectTokens;
#if defined(K2_PAIR_DOT)
  return count > kDirectTokens &&
         (format == ActivationFormat::kPairs || format == ActivationFormat::kNibblePairs) &&
         w.storage != Storage::kBf16;
#else
  (void)w, (void)format, (void)count;
  return false;
#endif
}

void MultiplyRowBlockPair(const RowBlock* blocks) {
  if constexpr (kPlaneBlocks == 2) {
    if (IsPlanes(blocks[0].format) && blocks[0].count > kDirectTokens) return MultiplyPlanes<2>(blocks);
  }
#if defined(K2_PAIR_DOT)
  if (GainsByPairs(*blocks[0].weight, blocks[0].format, blocks[0].count))
    return MultiplyStored<PairMode, 2>(blocks);
#endif
  MultiplyRowBlock(blocks[0]);
  MultiplyRowBlock(blocks[1]);
}

template <Activations kActivations, bool kPlanes>
ActivationFormat FormatFor(const Weight& w, bool full_precision) {
  if (full_precision || w.storage == Storage::kF16 || w.storage == Storage::kF32)
    return ActivationFormat::kFloat;
  if (w.storage == Storage::kInt4) {
    if (kActivations == Activations::kInt8) return ActivationFormat::kBytes;
    if (kPlanes) return ActivationFormat::kBytePairs;
  }
#if defined(K2_PAIR_DOT)
  // Scaled while decoded, a weight is no bf16 number any more.
  if (ScalesInsideSteps(w)) return ActivationFormat::kFloat;
  return w.storage == Storage::kInt4 ? ActivationFormat::kNibblePairs : ActivationFormat::kPairs;
#else
  return ActivationFormat::kRounded;
#endif
}
