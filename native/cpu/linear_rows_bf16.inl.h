// BF16 weights times bf16 activations, lane = column: 32 columns of a row meet the same columns of a token in
// one instruction, so rows are used as they lie in memory and nothing has to be transposed. Up to 16
// (row, token) pairs have their sums in registers; at the end of a chunk of columns the lanes of each are
// added up.
//   result = sum over chunks in order of (sum over lanes, as a tree, of (sum over the chunk's steps in
//   order))
// The order depends on K alone: tiles of rows and tokens leave no trace.
// Bound: memory up to about 8 tokens, then multiply-adds: at most 17 loads for 16 of them.
// Error against the exact sum over the same activations: at most (kChunkSteps + 5 + K / 2048) eps32 * sum |x
// w|.

constexpr int64_t kChunkSteps = 64;  // 2048 columns: those of 4 tokens and 4 rows fill the first-level cache
constexpr int64_t kStepBytes = 2 * kStepColumns;
// For one token every step asks for as many lines as it uses.
constexpr int StepsPerPrefetch(int64_t tokens) { return tokens == 1 ? 1 : 4; }

K2_INLINE F PairDot(F sum, U a, U b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

struct ColumnRange {
  int64_t offset;  // bytes
  int64_t steps;   // whole ones
  __mmask32 rest;  // columns of a last step that K ends inside of
};

// One step of kRows rows and kTokens tokens.
template <int kRows, int kTokens>
K2_INLINE void MultiplyRowStep(const uint8_t* const* rows, const uint8_t* const* x, int64_t offset,
                               __mmask32 columns, F* sums) {
  U tokens[kTokens];
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) tokens[t] = _mm512_loadu_si512(x[t] + offset);
  K2_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const U row = _mm512_maskz_loadu_epi16(columns, rows[r] + offset);
    K2_UNROLL
    for (int t = 0; t < kTokens; ++t) sums[t * kRows + r] = PairDot(sums[t * kRows + r], row, tokens[t]);
  }
}

// out[t][r] += rows[r] . x[t] over a range of columns. Not inline: its pointers need all registers there are.
template <int kRows, int kTokens>
__attribute__((noinline)) void MultiplyRowTile(const uint8_t* const* rows, const uint8_t* const* x,
                                               const ColumnRange& range, PrefetchCursor* cursor, float* out) {
  static_assert(kRows * kTokens <= 16);
  constexpr __mmask32 kAll = 0xffffffff;
  F sums[16];
  K2_UNROLL
  for (int i = 0; i < 16; ++i) sums[i] = Zero();
  constexpr int kStepsPerPrefetch = StepsPerPrefetch(kTokens);
  // Copies, which stores through `cursor` cannot change.
  const uint8_t *row[kRows], *token[kTokens];
  K2_UNROLL
  for (int r = 0; r < kRows; ++r) row[r] = rows[r];
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) token[t] = x[t];
  int64_t offset = range.offset, steps = range.steps;
  for (; steps >= kStepsPerPrefetch; steps -= kStepsPerPrefetch) {
    Prefetch(cursor);
    K2_UNROLL
    for (int i = 0; i < kStepsPerPrefetch; ++i, offset += kStepBytes) {
      MultiplyRowStep<kRows, kTokens>(row, token, offset, kAll, sums);
    }
  }
  for (; steps > 0; --steps, offset += kStepBytes) {
    MultiplyRowStep<kRows, kTokens>(row, token, offset, kAll, sums);
  }
  if (range.rest != 0) MultiplyRowStep<kRows, kTokens>(row, token, offset, range.rest, sums);
  alignas(64) float totals[16];
  Store(totals, SumsOf(sums));
  K2_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    K2_UNROLL
    for (int r = 0; r < kRows; ++r) out[t * kBlockRows + r] += totals[t * kRows + r];
  }
}

template <int kRows, int kTokens>
void MultiplyRowTiles(const uint8_t* const* rows, const uint8_t* const* x, const ColumnRange& range,
                      PrefetchCursor* cursor, float* out) {
  for (int first = 0; first < kBlockRows; first += kRows) {
    MultiplyRowTile<kRows, kTokens>(rows + first, x, range, cursor, out + first);
  }
}

void MultiplyBf16Rows(const RowBlock& b) {
  constexpr int64_t kMostTokens = 4;
  const Weight& w = *b.weight;
  const uint8_t* rows[kBlockRows];
  FindBlockRows(w, b.first_row, w.data, w.row_bytes(), rows);
  for (int64_t i = 0; i < b.count * kBlockRows; ++i) b.out[i] = 0.0f;

  // Tiles of nearly equal size.
  const int64_t tiles = (b.count + kMostTokens - 1) / kMostTokens;
  const int64_t all_steps = w.columns / kStepColumns, rest = w.columns % kStepColumns;
  const int64_t groups = b.count == 1 ? 1 : b.count == 2 ? 2 : 4;
  PrefetchCursor cursor = StartPrefetch(b.next, tiles * groups * (all_steps / StepsPerPrefetch(b.count)) + 1);
  for (int64_t first_step = 0; first_step == 0 || first_step < all_steps; first_step += kChunkSteps) {
    const int64_t left = all_steps - first_step;
    const bool last = left <= kChunkSteps;
    const ColumnRange range = {.offset = first_step * kStepBytes,
                               .steps = last ? left : kChunkSteps,
                               .rest = last ? (__mmask32{1} << rest) - 1 : 0};
    for (int64_t tile = 0, first = 0; tile < tiles; ++tile) {
      const int64_t end = b.count * (tile + 1) / tiles;
      const uint8_t* x[kMostTokens];
      for (int64_t t = first; t < end; ++t) x[t - first] = b.x + (b.chosen ? b.chosen[t] : t) * b.x_stride;
      float* const out = b.out + first * kBlockRows;
      switch (end - first) {
        case 1:
          MultiplyRowTiles<16, 1>(rows, x, range, &cursor, out);
          break;
        case 2:
          MultiplyRowTiles<8, 2>(rows, x, range, &cursor, out);
          break;
        case 3:
          MultiplyRowTiles<4, 3>(rows, x, range, &cursor, out);
          break;
        default:
          MultiplyRowTiles<4, 4>(rows, x, range, &cursor, out);
      }
      first = end;
    }
  }
}
