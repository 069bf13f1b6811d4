// INT4 weights times activations that are planes of integers (activation_planes.h); part of
// linear_body.inl.h. A unit is 4 columns: one byte dot product of a line, 4 nibbles of each of 16 rows, with
// 4 bytes of a token. Of a step
//   part   = start + sum over its 8 units and the planes     exact, however it is ordered
//   result = fma(float(part), scale of the weight * scale of the step, result)
// so tiles, blocks and instruction sets leave no trace but in the last line, which they all share.
// Bound: memory up to about 8 tokens, then byte products: 8 * planes of them for each 3 operations on floats.
// Error against the exact sum over the same activations: at most (K / 32 + 3) eps32 * sum |x w|.

// The unit of a line is `line` of word `word` of a step: bytes into a plane of the step.
constexpr int UnitOffset(int word, int line) { return word / 2 * 16 + line * 8 + word % 2 * 4; }

constexpr int kStepWords = kStepColumns / 8;
constexpr int kStepUnits = 2 * kStepWords;
static_assert(kWords % kStepWords == 0);

// A tile has at most so many tokens, so that its sums stay in registers.
constexpr int PlaneTile(int planes, int blocks) {
  const int sums = kPlaneSums / (planes * blocks);
  return sums < 1 ? 1 : sums < K2_TILE_TOKENS ? sums : K2_TILE_TOKENS;
}

template <int kPlanes>
K2_INLINE void StartSums(const PlaneStep<kPlanes>& x, U* sums) {
  K2_UNROLL
  for (int p = 0; p + 1 < kPlanes; ++p) sums[p] = NoSum();
  sums[kPlanes - 1] = StartSum(&x.start);
}

template <int kPlanes>
K2_INLINE void AddUnit(U line, const PlaneStep<kPlanes>& x, int offset, U* sums) {
  K2_UNROLL
  for (int p = 0; p < kPlanes; ++p) sums[p] = DotBytes(sums[p], line, x.planes[p] + offset);
}

template <int kPlanes>
K2_INLINE F AddStep(const U* sums, const PlaneStep<kPlanes>& x, F scale, F result) {
  U part = TotalOf(sums[kPlanes - 1], &x.start);
  if constexpr (kPlanes == 2) part = AddTimes128(part, TotalOf(sums[0], nullptr));
  return Fma(ToFloats(part), TimesBroadcast(scale, &x.scale), result);
}

#if defined(K2_I8MM)
#include "cpu/linear_planes_i8mm.inl.h"
#endif

// The units of one step of all blocks and tokens.
template <int kPlanes, int kBlocks, int kTokens>
K2_INLINE void AddUnits(const Panels<kBlocks>& panels, const PlaneStep<kPlanes>* const* x, int64_t step,
                        U (*sums)[kTokens][kPlanes]) {
#if defined(K2_I8MM)
  if constexpr (kTokens % 2 == 0) return AddStepOfPairs<kPlanes, kTokens>(panels.lines[0], x, step, sums[0]);
#endif
  K2_UNROLL
  for (int u = 0; u < kStepUnits; ++u) {
    U lines[kBlocks];
    K2_UNROLL
    for (int b = 0; b < kBlocks; ++b) lines[b] = LoadLine(panels.lines[b] + u * kBlockRows);
    K2_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      K2_UNROLL
      for (int b = 0; b < kBlocks; ++b) AddUnit(lines[b], x[t][step], UnitOffset(u / 2, u % 2), sums[b][t]);
    }
  }
}

// One panel of each block times one tile of tokens.
template <int kPlanes, int kBlocks, int kTokens>
__attribute__((noinline)) void MultiplyPlanePanel(Panels<kBlocks> panels, const uint8_t* const* x_rows,
                                                  int64_t first_step, int64_t steps) {
  const PlaneStep<kPlanes>* x[kTokens];
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t)
    x[t] = reinterpret_cast<const PlaneStep<kPlanes>*>(x_rows[t]) + first_step;
  for (int64_t s = 0; s < steps; ++s) {
    U sums[kBlocks][kTokens][kPlanes];
    K2_UNROLL
    for (int b = 0; b < kBlocks; ++b) {
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) StartSums(x[t][s], sums[b][t]);
    }
    AddUnits<kPlanes, kBlocks, kTokens>(panels, x, s, sums);
    K2_UNROLL
    for (int b = 0; b < kBlocks; ++b) {
      const F scale = Load(panels.scales[b]);
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        float* const out = panels.sums[b] + t * kBlockRows;
        Store(out, AddStep(sums[b][t], x[t][s], scale, Load(out)));
      }
      panels.lines[b] += kStepUnits * kBlockRows;
      panels.scales[b] += kBlockRows;
    }
  }
}

template <int kPlanes, int kBlocks, int kTokens>
void MultiplyPlaneTile(int64_t tokens, const Panels<kBlocks>& panels, const uint8_t* const* x,
                       int64_t first_step, int64_t steps) {
  if (tokens == kTokens) return MultiplyPlanePanel<kPlanes, kBlocks, kTokens>(panels, x, first_step, steps);
  if constexpr (kTokens > 1)
    MultiplyPlaneTile<kPlanes, kBlocks, kTokens - 1>(tokens, panels, x, first_step, steps);
}

template <int kPlanes, int kBlocks>
void MultiplyPlaneTokens(const RowBlock& b, const Panels<kBlocks>& panels, int64_t first_step,
                         int64_t steps) {
  constexpr int kTile = PlaneTile(kPlanes, kBlocks);
  const int64_t tiles = (b.count + kTile - 1) / kTile;  // of nearly equal size
  for (int64_t tile = 0, first = 0; tile < tiles; ++tile) {
    const int64_t last = b.count * (tile + 1) / tiles;
    const uint8_t* x[kTile];
    for (int64_t t = first; t < last; ++t) x[t - first] = b.x + (b.chosen ? b.chosen[t] : t) * b.x_stride;
    Panels<kBlocks> of_tile = panels;
    for (float*& sums : of_tile.sums) sums += first * kBlockRows;
    MultiplyPlaneTile<kPlanes, kBlocks, kTile>(last - first, of_tile, x, first_step, steps);
    first = last;
  }
}

// Whole batches of words times a few tokens, from registers.
template <int kPlanes, int kTokens>
void MultiplyPlanesDirect(const RowBlock& b, const uint8_t* const* rows, int64_t step, int64_t batches,
                          const float* scales, PrefetchCursor* cursor) {
  constexpr int kSteps = kWords / kStepWords;
  const PlaneStep<kPlanes>* x[kTokens];
  F results[kTokens];
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    x[t] =
        reinterpret_cast<const PlaneStep<kPlanes>*>(b.x + (b.chosen ? b.chosen[t] : t) * b.x_stride) + step;
    results[t] = Load(b.out + t * kBlockRows);
  }
  for (int64_t offset = step * 4 * kStepWords; batches > 0; --batches, offset += 4 * kWords) {
    U batch[kWords];
    Prefetch(cursor);
    LoadTransposed(rows, offset, batch);
    K2_UNROLL
    for (int s = 0; s < kSteps; ++s, scales += kBlockRows) {
      U sums[kTokens][kPlanes];
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) StartSums(*x[t], sums[t]);
      K2_UNROLL
      for (int i = 0; i < kStepWords; ++i) {
        const U word = batch[s * kStepWords + i], low = LowNibbles(word), high = HighNibbles(word);
        K2_UNROLL
        for (int t = 0; t < kTokens; ++t) {
          AddUnit(low, *x[t], UnitOffset(i, 0), sums[t]);
          AddUnit(high, *x[t], UnitOffset(i, 1), sums[t]);
        }
      }
      const F scale = Load(scales);
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) results[t] = AddStep(sums[t], *x[t]++, scale, results[t]);
    }
  }
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) Store(b.out + t * kBlockRows, results[t]);
}

template <int kPlanes>
void MultiplyPlanesFew(const RowBlock& b, const uint8_t* const* rows, int64_t step, int64_t batches,
                       const float* scales, PrefetchCursor* cursor) {
  if (b.count == 1) return MultiplyPlanesDirect<kPlanes, 1>(b, rows, step, batches, scales, cursor);
  if (b.count == 2) return MultiplyPlanesDirect<kPlanes, 2>(b, rows, step, batches, scales, cursor);
  if (b.count == 3) return MultiplyPlanesDirect<kPlanes, 3>(b, rows, step, batches, scales, cursor);
  MultiplyPlanesDirect<kPlanes, 4>(b, rows, step, batches, scales, cursor);
}

// The interleaved words of kSteps steps times a few tokens.
template <int kPlanes, int kTokens>
struct PlaneSteps {
  const PlaneStep<kPlanes>* x[kTokens];

  explicit PlaneSteps(const RowBlock& b) {
    for (int t = 0; t < kTokens; ++t)
      x[t] = reinterpret_cast<const PlaneStep<kPlanes>*>(b.x + (b.chosen ? b.chosen[t] : t) * b.x_stride);
  }

  template <int kSteps>
  K2_MEMBER void Add(const BlockWords& words, F* results) {
    K2_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      U sums[kTokens][kPlanes];
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) StartSums(*x[t], sums[t]);
      K2_UNROLL
      for (int i = 0; i < kStepWords; ++i) {
        const U word = LoadWord(words, s * kStepWords + i), low = LowNibbles(word), high = HighNibbles(word);
        K2_UNROLL
        for (int t = 0; t < kTokens; ++t) {
          AddUnit(low, *x[t], UnitOffset(i, 0), sums[t]);
          AddUnit(high, *x[t], UnitOffset(i, 1), sums[t]);
        }
      }
      const F scale = LoadScales(words, s);
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) results[t] = AddStep(sums[t], *x[t]++, scale, results[t]);
    }
  }
};

template <int kPlanes>
void MultiplyPlanesInterleaved(const RowBlock& b) {
  if (b.count == 1) return WalkInterleaved<1>(b, PlaneSteps<kPlanes, 1>(b));
  if (b.count == 2) return WalkInterleaved<2>(b, PlaneSteps<kPlanes, 2>(b));
  if (b.count == 3) return WalkInterleaved<3>(b, PlaneSteps<kPlanes, 3>(b));
  WalkInterleaved<4>(b, PlaneSteps<kPlanes, 4>(b));
}

template <int kPlanes, class Words, int kBlocks>
void MultiplyPlaneRows(const RowBlock* blocks) {
  constexpr int64_t kPanelSteps = kPanelUnits / kStepUnits;
  const RowBlock& b = blocks[0];
  const Weight& w = *b.weight;
  const int64_t row_bytes = w.row_bytes();
  Words words[kBlocks];
  alignas(64) float lines[kBlocks][kPanelUnits * kBlockRows];
  alignas(64) float scales[kBlocks][kScaleSteps * kBlockRows];
  PrefetchCursor cursors[kBlocks];
  for (int i = 0; i < kBlocks; ++i) {
    FindWords(*blocks[i].weight, blocks[i].first_row, &words[i]);
    for (int64_t j = 0; j < b.count * kBlockRows; ++j) blocks[i].out[j] = 0.0f;
    cursors[i] = StartPrefetch(blocks[i].next, (row_bytes + 4 * kWords - 1) / (4 * kWords));
  }

  const int64_t all_steps = (w.columns + kStepColumns - 1) / kStepColumns;
  for (int64_t chunk = 0; chunk < all_steps; chunk += kScaleSteps) {
    const int64_t end = chunk + kScaleSteps < all_steps ? chunk + kScaleSteps : all_steps;
    for (int i = 0; i < kBlocks; ++i) {
      FillScales(*blocks[i].weight, blocks[i].first_row, words[i], chunk * kStepColumns, end - chunk,
                 scales[i]);
    }
    int64_t step = chunk;
    if constexpr (kBlocks == 1 && Words::kAreRows) {
      const int64_t whole = (end * 4 * kStepWords < row_bytes ? end : row_bytes / (4 * kStepWords)) - chunk;
      const int64_t batches = whole / (kWords / kStepWords);
      if (b.count <= kDirectTokens && batches > 0) {
        MultiplyPlanesFew<kPlanes>(b, words[0].rows, step, batches, scales[0], &cursors[0]);
        step += batches * (kWords / kStepWords);
      }
    }
    for (; step < end; step += kPanelSteps) {
      const int64_t steps = end - step < kPanelSteps ? end - step : kPanelSteps;
      Panels<kBlocks> panels;
      for (int i = 0; i < kBlocks; ++i) {
        // Past the end of a row lie zeros, and those of its last word meet zeros of the activations.
        Unpack<ByteMode, Storage::kInt4>(words[i], step * 4 * kStepWords, steps * kStepWords, lines[i],
                                         &cursors[i]);
        panels.lines[i] = lines[i];
        panels.scales[i] = scales[i] + (step - chunk) * kBlockRows;
        panels.sums[i] = blocks[i].out;
      }
      MultiplyPlaneTokens<kPlanes>(b, panels, step, steps);
    }
  }
}

template <int kPlanes, int kBlocks>
void MultiplyPlanesOf(const RowBlock* blocks) {
  if (!blocks[0].weight->interleaved) return MultiplyPlaneRows<kPlanes, RowWords, kBlocks>(blocks);
  if (kBlocks == 1 && blocks[0].count <= kDirectTokens) return MultiplyPlanesInterleaved<kPlanes>(blocks[0]);
  MultiplyPlaneRows<kPlanes, BlockWords, kBlocks>(blocks);
}

template <int kBlocks>
void MultiplyPlanes(const RowBlock* blocks) {
  if constexpr (kTwoPlanes) {
    if (blocks[0].format == ActivationFormat::kBytePairs) return MultiplyPlanesOf<2, kBlocks>(blocks);
  }
  MultiplyPlanesOf<1, kBlocks>(blocks);
}
