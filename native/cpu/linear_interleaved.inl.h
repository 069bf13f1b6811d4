// Interleaved weights (interleave.h): how they are made, and their products with a few tokens, one walk
// through a block in the order of memory, which bounds it; part of linear_body.inl.h. Sums are formed in the
// same order as by MultiplyPanel.

// The words of a scale row are what the chunks want: the scales of two steps side by side.
void InterleaveBlock(const Weight& w, int64_t first_row, uint8_t* out) {
  constexpr int64_t kChunks = kPanelUnits / (kChunkColumns / 8);
  alignas(64) float words[kPanelUnits * kBlockRows];
  alignas(64) float scales[(kChunks + kWords) * kBlockRows];
  RowWords rows;
  FindWords(w, first_row, &rows);
  const int64_t scale_bytes = w.scale_columns() * 2;
  PrefetchCursor none = {};
  for (int64_t column = 0; column < w.columns; column += kChunks * kChunkColumns) {
    const int64_t left = (w.columns - column + kChunkColumns - 1) / kChunkColumns;
    const int64_t chunks = left < kChunks ? left : kChunks;
    const int64_t columns = chunks * kChunkColumns;
    UnpackRows<FloatMode, Storage::kF32>(rows.rows, rows.row_bytes, column / 2, columns / 8, words, &none);
    UnpackRows<FloatMode, Storage::kF32>(rows.scale_rows, scale_bytes, column / 16, chunks, scales, &none);
    for (int64_t i = 0; i < chunks; ++i, out += kChunkBytes) {
      __builtin_memcpy(out, words + i * (kChunkWordBytes / 4), kChunkWordBytes);
      __builtin_memcpy(out + kChunkWordBytes, scales + i * kBlockRows, 4 * kBlockRows);
    }
  }
}

constexpr int kStepsAtOnce = 4;  // enough sums in flight

// Adds all steps to the results of kTokens tokens. `steps.Add<n>(words, results)` adds the first n steps at
// `words` and moves on in the activations.
template <int kTokens, class Steps>
K2_INLINE void WalkInterleaved(const RowBlock& b, Steps steps) {
  constexpr int64_t kBytesAtOnce = kStepsAtOnce / 2 * kChunkBytes;
  BlockWords words;
  FindWords(*b.weight, b.first_row, &words);
  F results[kTokens];
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) results[t] = Zero();
  int64_t left = b.weight->columns / kStepColumns;
  for (; left >= kStepsAtOnce; left -= kStepsAtOnce, words.block += kBytesAtOnce) {
    // What comes next, before the processor has come so far by itself. Farther ahead, or all of the next
    // block, has been slower: the hardware sees a single stream, and hints hold up its own.
    K2_UNROLL
    for (int64_t i = 0; i < kBytesAtOnce; i += 64) __builtin_prefetch(words.block + kBytesAtOnce + i);
    steps.template Add<kStepsAtOnce>(words, results);
  }
  for (; left >= 2; left -= 2, words.block += kChunkBytes) steps.template Add<2>(words, results);
  if (left > 0) steps.template Add<1>(words, results);
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) Store(b.out + t * kBlockRows, results[t]);
}

template <class Mode, int kTokens>
struct DotSteps {
  const uint8_t* x[kTokens];

  explicit DotSteps(const RowBlock& b) {
    for (int t = 0; t < kTokens; ++t) x[t] = b.x + (b.chosen ? b.chosen[t] : t) * b.x_stride;
  }

  template <int kSteps>
  K2_MEMBER void Add(const BlockWords& words, F* results) {
    constexpr int kWordsOfStep = kStepColumns / 8, kUnits = kWordUnits<Mode, Storage::kInt4>;
    F parts[kSteps][kTokens];
    K2_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) parts[s][t] = Zero();
    }
    // Side by side: the words of different steps do not wait for each other's sums.
    K2_UNROLL
    for (int i = 0; i < kWordsOfStep; ++i) {
      K2_UNROLL
      for (int s = 0; s < kSteps; ++s) {
        const U word = LoadWord(words, s * kWordsOfStep + i);
        K2_UNROLL
        for (int u = 0; u < kUnits; ++u) {
          const F line = DecodeLine<Mode, Storage::kInt4>(word, u);
          const int unit = (s * kWordsOfStep + i) * kUnits + u;
          K2_UNROLL
          for (int t = 0; t < kTokens; ++t) parts[s][t] = Mode::Dot(parts[s][t], line, x[t] + 4 * unit);
        }
      }
    }
    K2_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      const F scale = LoadScales(words, s);
      K2_UNROLL
      for (int t = 0; t < kTokens; ++t) results[t] = Fma(parts[s][t], scale, results[t]);
    }
    K2_UNROLL
    for (int t = 0; t < kTokens; ++t) x[t] += 4 * kSteps * Mode::kStepUnits;
  }
};

template <class Mode>
void MultiplyInterleaved(const RowBlock& b) {
  if (b.count == 1) return WalkInterleaved<1>(b, DotSteps<Mode, 1>(b));
  if (b.count == 2) return WalkInterleaved<2>(b, DotSteps<Mode, 2>(b));
  if (b.count == 3) return WalkInterleaved<3>(b, DotSteps<Mode, 3>(b));
  WalkInterleaved<4>(b, DotSteps<Mode, 4>(b));
}
