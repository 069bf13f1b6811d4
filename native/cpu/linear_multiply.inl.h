// Multiplication of decoded lines with the tokens of a row block; part of linear_body.inl.h.

constexpr int kPanelUnits = 128;
// Up to so many tokens, storing decoded lines and loading them again would cost more than the
// multiplications.
constexpr int kDirectTokens = 4;

// What the lines of a panel are for weights stored as S: decoded ones, or words as they are stored, which
// every tile of tokens decodes anew. Dot products of pairs leave time for that, and less is stored.
template <class Mode, Storage S>
constexpr Storage kPanelStorage = Mode::kUnitColumns == 2 ? S : Storage::kF32;

// Panels of one or two row blocks, with the scales of their steps and where their sums are.
template <int kBlocks>
struct Panels {
  const float* lines[kBlocks];
  const float* scales[kBlocks];
  float* sums[kBlocks];  // [token][16]
};

// sums[t] += scale * (the panel's step times the activations of token t), for kSteps steps. They run side by
// side to hide the latency of their sums but are added in order, so the number of steps leaves no trace in
// the result. Nor does the number of blocks: two share each load of an activation.
template <class Mode, Storage kPanel, int kTokens, int kSteps, int kBlocks>
K2_INLINE void MultiplySteps(const Panels<kBlocks>& panels, const uint8_t* const* x) {
  constexpr int kUnits = kWordUnits<Mode, kPanel>;
  F parts[kSteps][kBlocks][kTokens];
  K2_UNROLL
  for (int s = 0; s < kSteps; ++s) {
    K2_UNROLL
    for (int b = 0; b < kBlocks; ++b) {
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) parts[s][b][t] = Zero();
    }
  }
  // The same columns of the next panel: by then other tokens have pushed them out, and the hardware does not
  // see streams as short as a panel.
  if constexpr (kTokens > kDirectTokens) {
    K2_UNROLL
    for (int t = 0; t < kTokens; ++t) __builtin_prefetch(x[t] + 4 * kPanelUnits, 0, 2);
  }
  K2_UNROLL
  for (int u = 0; u < Mode::kStepUnits; ++u) {
    K2_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      const int unit = s * Mode::kStepUnits + u;
      F lines[kBlocks];
      K2_UNROLL
      for (int b = 0; b < kBlocks; ++b) {
        const U word = LoadLine(panels.lines[b] + unit / kUnits * kBlockRows);
        lines[b] = DecodeLine<Mode, kPanel>(word, unit % kUnits);
      }
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        K2_UNROLL
        for (int b = 0; b < kBlocks; ++b) {
          parts[s][b][t] = Mode::Dot(parts[s][b][t], lines[b], x[t] + 4 * unit);
        }
      }
    }
  }
  K2_UNROLL
  for (int s = 0; s < kSteps; ++s) {
    K2_UNROLL
    for (int b = 0; b < kBlocks; ++b) {
      const F scale = Load(panels.scales[b] + s * kBlockRows);
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        float* const sum = panels.sums[b] + t * kBlockRows;
        Store(sum, Fma(parts[s][b][t], scale, Load(sum)));
      }
    }
  }
}

// A step that K ends inside of (floats only; pairs are padded with zeros).
template <class Mode, int kTokens>
void MultiplyPartOfStep(const float* panel, const float* scales, const uint8_t* const* x, int64_t units,
                        float* sums) {
  for (int t = 0; t < kTokens; ++t) {
    F part = Zero();
    for (int64_t u = 0; u < units; ++u) part = Mode::Dot(part, Load(panel + u * kBlockRows), x[t] + 4 * u);
    Store(sums + t * kBlockRows, Fma(part, Load(scales), Load(sums + t * kBlockRows)));
  }
}

template <class Mode, Storage kPanel, int kTokens, int kBlocks>
K2_INLINE void Advance(int steps, Panels<kBlocks>* panels, const uint8_t** x) {
  K2_UNROLL
  for (int b = 0; b < kBlocks; ++b) {
    panels->lines[b] += steps * Mode::kStepUnits / kWordUnits<Mode, kPanel> * kBlockRows;
    panels->scales[b] += steps * kBlockRows;
  }
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) x[t] += 4 * steps * Mode::kStepUnits;
}

// One panel of each block times one tile of tokens. Not inline: the addresses of the tokens need all
// registers there are.
template <class Mode, Storage kPanel, int kTokens, int kBlocks>
__attribute__((noinline)) void MultiplyPanel(Panels<kBlocks> panels, const uint8_t* const* x_rows,
                                             int64_t x_offset, int64_t units) {
  constexpr int kSideBySide = kBlocks > 1    ? 1
                              : kTokens == 1 ? kSideBySideSteps
                              : kTokens == 2 ? (kSideBySideSteps + 1) / 2
                                             : 1;
  const uint8_t* x[kTokens];
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) x[t] = x_rows[t] + x_offset;
  int64_t steps = units / Mode::kStepUnits;
  for (; steps >= kSideBySide; steps -= kSideBySide) {
    MultiplySteps<Mode, kPanel, kTokens, kSideBySide, kBlocks>(panels, x);
    Advance<Mode, kPanel, kTokens>(kSideBySide, &panels, x);
  }
  for (; steps > 0; --steps) {
    MultiplySteps<Mode, kPanel, kTokens, 1, kBlocks>(panels, x);
    Advance<Mode, kPanel, kTokens>(1, &panels, x);
  }
  const int64_t rest = units % Mode::kStepUnits;
  if (rest == 0) return;
  for (int b = 0; b < kBlocks; ++b) {
    MultiplyPartOfStep<Mode, kTokens>(panels.lines[b], panels.scales[b], x, rest, panels.sums[b]);
  }
}

template <int kBlocks>
using MultiplyFunction = void (*)(Panels<kBlocks>, const uint8_t* const*, int64_t, int64_t);

template <class Mode, Storage kPanel, int kBlocks>
MultiplyFunction<kBlocks> MultiplyFor(int tokens) {
  static constexpr MultiplyFunction<kBlocks> kFunctions[] = {
    MultiplyPanel<Mode, kPanel, 1, kBlocks>,
    MultiplyPanel<Mode, kPanel, 2, kBlocks>,
#if K2_TILE_TOKENS > 2
    MultiplyPanel<Mode, kPanel, 3, kBlocks>,
    MultiplyPanel<Mode, kPanel, 4, kBlocks>,
#endif
#if K2_TILE_TOKENS > 4
    MultiplyPanel<Mode, kPanel, 5, kBlocks>,
    MultiplyPanel<Mode, kPanel, 6, kBlocks>,
#endif
#if K2_TILE_TOKENS > 6
    MultiplyPanel<Mode, kPanel, 7, kBlocks>,
    MultiplyPanel<Mode, kPanel, 8, kBlocks>,
#endif
  };
  return kFunctions[tokens - 1];
}

template <class Mode, Storage kPanel, int kBlocks>
void MultiplyTokens(const RowBlock& b, const Panels<kBlocks>& panels, int64_t x_offset, int64_t units) {
  // Tiles of nearly equal size: 9 tokens cost less as 5 + 4 than as 8 + 1.
  const int64_t tiles = (b.count + K2_TILE_TOKENS - 1) / K2_TILE_TOKENS;
  for (int64_t tile = 0, first = 0; tile < tiles; ++tile) {
    const int64_t last = b.count * (tile + 1) / tiles;
    const uint8_t* x[K2_TILE_TOKENS];
    for (int64_t t = first; t < last; ++t) x[t - first] = b.x + (b.chosen ? b.chosen[t] : t) * b.x_stride;
    Panels<kBlocks> of_tile = panels;
    for (float*& sums : of_tile.sums) sums += first * kBlockRows;
    MultiplyFor<Mode, kPanel, kBlocks>(static_cast<int>(last - first))(of_tile, x, x_offset, units);
    first = last;
  }
}

// Whole batches of words times a few tokens, from registers. The sums are formed in the same order as by
// MultiplyPanel. (Where pairs are multiplied, only a full_precision linear multiplies a small format as
// floats, which is not worth code of its own.)
template <class Mode, Storage S>
constexpr bool kHasDirect = kWords* kWordUnits<Mode, S> % Mode::kStepUnits == 0 &&
                            (Mode::kUnitColumns == 2 || !kHasPairDot || kBits<S> >= 16);

template <class Mode, Storage S, int kTokens>
void MultiplyDirect(const RowBlock& b, const uint8_t* const* rows, int64_t offset, int64_t batches,
                    const float* scales, int64_t x_offset, PrefetchCursor* cursor) {
  constexpr int kUnits = kWords * kWordUnits<Mode, S>, kSteps = kUnits / Mode::kStepUnits;
  constexpr int kStepWords = kWords / kSteps;
  const uint8_t* x[kTokens];
  F sums[kTokens];
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    x[t] = b.x + (b.chosen ? b.chosen[t] : t) * b.x_stride + x_offset;
    sums[t] = Load(b.out + t * kBlockRows);
  }
  for (; batches > 0; --batches, offset += 4 * kWords, scales += kSteps * kBlockRows) {
    U batch[kWords];
    Prefetch(cursor);
    LoadTransposed(rows, offset, batch);
    F parts[kSteps][kTokens];
    K2_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) parts[s][t] = Zero();
    }
    // Side by side: the words of different steps do not wait for each other's sums.
    K2_UNROLL
    for (int i = 0; i < kStepWords; ++i) {
      K2_UNROLL
      for (int s = 0; s < kSteps; ++s) {
        const int word = s * kStepWords + i;
        K2_UNROLL
        for (int u = 0; u < kWordUnits<Mode, S>; ++u) {
          const F line = DecodeLine<Mode, S>(batch[word], u);
          K2_UNROLL
          for (int t = 0; t < kTokens; ++t) {
            parts[s][t] = Mode::Dot(parts[s][t], line, x[t] + 4 * (word * kWordUnits<Mode, S> + u));
          }
        }
      }
    }
    K2_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) sums[t] = Fma(parts[s][t], Load(scales + s * kBlockRows), sums[t]);
    }
    K2_UNROLL
    for (int t = 0; t < kTokens; ++t) x[t] += 4 * kUnits;
  }
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) Store(b.out + t * kBlockRows, sums[t]);
}

template <class Mode, Storage S>
void MultiplyFew(const RowBlock& b, const uint8_t* const* rows, int64_t offset, int64_t batches,
                 const float* scales, int64_t x_offset, PrefetchCursor* cursor) {
  if (b.count == 1) return MultiplyDirect<Mode, S, 1>(b, rows, offset, batches, scales, x_offset, cursor);
  if (b.count == 2) return MultiplyDirect<Mode, S, 2>(b, rows, offset, batches, scales, x_offset, cursor);
  if (b.count == 3) return MultiplyDirect<Mode, S, 3>(b, rows, offset, batches, scales, x_offset, cursor);
  MultiplyDirect<Mode, S, 4>(b, rows, offset, batches, scales, x_offset, cursor);
}
