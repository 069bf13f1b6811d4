// Multiplication of decoded lines with the tokens of a row block; part of linear_body.inl.h.

constexpr int kPanelUnits = 128;
// Up to so many tokens, storing decoded lines and loading them again would cost more than the
// multiplications.
constexpr int kDirectTokens = 4;

// sums[t] += scale * (the panel's step times the activations of token t), for kSteps steps. They run side by
// side to hide the latency of their sums but are added in order, so the number of steps leaves no trace in
// the result.
template <class Mode, int kTokens, int kSteps>
K2_INLINE void MultiplySteps(const float* panel, const float* scales, const uint8_t* const* x, F* sums) {
  F parts[kSteps][kTokens];
  K2_UNROLL
  for (int s = 0; s < kSteps; ++s) {
    K2_UNROLL
    for (int t = 0; t < kTokens; ++t) parts[s][t] = Zero();
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
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        parts[s][t] = Mode::Dot(parts[s][t], Load(panel + unit * kBlockRows), x[t] + 4 * unit);
      }
    }
  }
  K2_UNROLL
  for (int s = 0; s < kSteps; ++s) {
    K2_UNROLL
    for (int t = 0; t < kTokens; ++t) sums[t] = Fma(parts[s][t], Load(scales + s * kBlockRows), sums[t]);
  }
}

// A step that K ends inside of (floats only; pairs are padded with zeros).
template <class Mode, int kTokens>
void MultiplyPartOfStep(const float* panel, const float* scales, const uint8_t* const* x, int64_t units,
                        F* sums) {
  for (int t = 0; t < kTokens; ++t) {
    F part = Zero();
    for (int64_t u = 0; u < units; ++u) part = Mode::Dot(part, Load(panel + u * kBlockRows), x[t] + 4 * u);
    sums[t] = Fma(part, Load(scales), sums[t]);
  }
}

// One panel times one tile of tokens, added to their rows of `out`.
template <class Mode, int kTokens>
void MultiplyPanel(const float* panel, const float* scales, const uint8_t* const* x_rows, int64_t x_offset,
                   int64_t units, float* out) {
  constexpr int kSideBySide = kTokens == 1 ? kSideBySideSteps : kTokens == 2 ? (kSideBySideSteps + 1) / 2 : 1;
  const uint8_t* x[kTokens];
  F sums[kTokens];
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    x[t] = x_rows[t] + x_offset;
    sums[t] = Load(out + t * kBlockRows);
  }
  int64_t steps = units / Mode::kStepUnits;
  for (; steps >= kSideBySide; steps -= kSideBySide) {
    MultiplySteps<Mode, kTokens, kSideBySide>(panel, scales, x, sums);
    panel += kSideBySide * Mode::kStepUnits * kBlockRows;
    scales += kSideBySide * kBlockRows;
    K2_UNROLL
    for (int t = 0; t < kTokens; ++t) x[t] += 4 * kSideBySide * Mode::kStepUnits;
  }
  for (; steps > 0; --steps) {
    MultiplySteps<Mode, kTokens, 1>(panel, scales, x, sums);
    panel += Mode::kStepUnits * kBlockRows;
    scales += kBlockRows;
    K2_UNROLL
    for (int t = 0; t < kTokens; ++t) x[t] += 4 * Mode::kStepUnits;
  }
  const int64_t rest = units % Mode::kStepUnits;
  if (rest != 0) MultiplyPartOfStep<Mode, kTokens>(panel, scales, x, rest, sums);
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) Store(out + t * kBlockRows, sums[t]);
}

using MultiplyFunction = void (*)(const float*, const float*, const uint8_t* const*, int64_t, int64_t,
                                  float*);

template <class Mode>
MultiplyFunction MultiplyFor(int tokens) {
  static constexpr MultiplyFunction kFunctions[] = {
    MultiplyPanel<Mode, 1>,
    MultiplyPanel<Mode, 2>,
#if K2_TILE_TOKENS > 2
    MultiplyPanel<Mode, 3>,
    MultiplyPanel<Mode, 4>,
#endif
#if K2_TILE_TOKENS > 4
    MultiplyPanel<Mode, 5>,
    MultiplyPanel<Mode, 6>,
#endif
#if K2_TILE_TOKENS > 6
    MultiplyPanel<Mode, 7>,
    MultiplyPanel<Mode, 8>,
#endif
  };
  return kFunctions[tokens - 1];
}

template <class Mode>
void MultiplyTokens(const RowBlock& b, const float* panel, const float* scales, int64_t x_offset,
                    int64_t units) {
  // Tiles of nearly equal size: 9 tokens cost less as 5 + 4 than as 8 + 1.
  const int64_t tiles = (b.count + K2_TILE_TOKENS - 1) / K2_TILE_TOKENS;
  for (int64_t tile = 0, first = 0; tile < tiles; ++tile) {
    const int64_t last = b.count * (tile + 1) / tiles;
    const uint8_t* x[K2_TILE_TOKENS];
    for (int64_t t = first; t < last; ++t) x[t - first] = b.x + (b.chosen ? b.chosen[t] : t) * b.x_stride;
    MultiplyFor<Mode>(static_cast<int>(last - first))(panel, scales, x, x_offset, units,
                                                      b.out + first * kBlockRows);
    first = last;
  }
}

// Whole batches of words times a few tokens, from registers. The sums are formed in the same order as by
// MultiplyPanel. (Where pairs are multiplied, only a full_precision linear multiplies a small format as
// floats, which is not worth code of its own.)
template <class Mode, Storage S>
constexpr bool kHasDirect = kWords* kWordUnits<Mode, S> % Mode::kStepUnits == 0 &&
                            (Mode::kPairUnits || !kHasPairDot || kBits<S> >= 16);

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
