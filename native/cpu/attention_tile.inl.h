// The three steps of attention for 8 queries and up to one block of positions. Both forms are made of them.
//
//   ScoreTile    S = Q C^T            [8, width] x [n, width]     8 * width * n multiply-adds
//   SoftmaxTile  P = exp(S - max)     [n, 8]
//   ValueTile    O = O * shrink + P V [8, n] x [n, columns]       8 * columns * n multiply-adds
//
// Bound: multiply-adds. Each cached row is read once per tile from L2 (a block of K2 is 288 KiB), queries and
// sums stay in L1. Every (query, position) has its own accumulator and walks columns in order; every (query,
// column) walks positions in order: what the tile holds besides never matters.
// Error: P and the operands are rounded as the ISA's Operand says (bf16: 2^-9 each), sums are f32.
// Source: flash attention's running softmax (Dao et al. 2022), with the sum taken over the rounded shares.

constexpr int kTile = static_cast<int>(kQueryTile);

// Stored rows that come next, asked of memory a little with every pair of rows of the current ones. Their
// addresses follow each other within a page only, so the hardware does not see them coming.
struct RowsAhead {
  const uint16_t* const* rows;
  int64_t n;
  int64_t first, last;  // numbers, in cache lines, of the part of each row
};
constexpr RowsAhead kNoRowsAhead = {nullptr, 0, 0, 0};

// scores[s][j] = queries[j] . rows[s]; width is a multiple of kColumnPad. May write one row behind the n-th.
inline void ScoreTile(const Operand* queries, int64_t width, const uint16_t* const* rows, int64_t n,
                      float* scores, const RowsAhead& ahead = kNoRowsAhead) {
  for (int64_t s = 0; s < n; s += kScoreRows) {
    const uint16_t* row[kScoreRows];
    for (int r = 0; r < kScoreRows; ++r) row[r] = rows[s + r < n ? s + r : s];
    for (int64_t r = s; r < s + kScoreRows && r < ahead.n; ++r) {
      for (int64_t i = ahead.first; i < ahead.last; ++i)
        __builtin_prefetch(ahead.rows[r] + i * kColumnPad, 0, 2);
    }
    Floats sums[kScoreRows * kTile];
#pragma GCC unroll 16
    for (int i = 0; i < kScoreRows * kTile; ++i) sums[i] = Fill(0);
    for (int64_t k = 0; k < width; k += kOperandLanes) {
      Operands columns[kScoreRows];
#pragma GCC unroll 2
      for (int r = 0; r < kScoreRows; ++r) columns[r] = LoadRow(row[r] + k);
#pragma GCC unroll 8
      for (int j = 0; j < kTile; ++j) {
        const Operands query = LoadOperands(queries + j * width + k);
#pragma GCC unroll 2
        for (int r = 0; r < kScoreRows; ++r) {
          sums[r * kTile + j] = Dot(query, columns[r], sums[r * kTile + j]);
        }
      }
    }
    SumEach(sums, scores + s * kTile);
  }
}

// The running softmax. Turns scores into shares exp((score - largest) * scale), updates `largest` and
// `total`, and gives in shrink[j] the factor by which everything before this block counts less.
inline void SoftmaxTile(float* scores, int64_t n, float scale, float* largest, float* total, float* shrink,
                        Share* shares) {
  // Lanes are queries, of one position or two neighbouring ones.
  constexpr int kWide = kLanes > kTile ? kLanes : kTile, kVectors = kWide / kLanes, kFolds = kWide / kTile;
  constexpr float kNever = -__builtin_inff();
  const int64_t count = PadTo(n * kTile, kWide);
  for (int64_t i = n * kTile; i < count; ++i) scores[i] = kNever;

  Floats lanes[kVectors];
  float wide[kWide];
  for (Floats& lane : lanes) lane = Fill(kNever);
  for (int64_t i = 0; i < count; i += kWide) {
    for (int v = 0; v < kVectors; ++v) lanes[v] = Maximum(Load(scores + i + v * kLanes), lanes[v]);
  }
  for (int v = 0; v < kVectors; ++v) Store(wide + v * kLanes, lanes[v]);
  for (int j = 0; j < kTile; ++j) {
    float most = largest[j];
    for (int f = 0; f < kFolds; ++f) most = wide[f * kTile + j] > most ? wide[f * kTile + j] : most;
    shrink[j] = Exp((largest[j] - most) * scale);
    largest[j] = most;
  }

  for (int i = 0; i < kWide; ++i) wide[i] = largest[i % kTile];
  Floats most[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    most[v] = Load(wide + v * kLanes);
    lanes[v] = Fill(0);
  }
  const Floats factor = Fill(scale);
  for (int64_t i = 0; i < count; i += kWide) {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t flat = i + v * kLanes;
      const Floats share = ExpOf(Multiply(Subtract(Load(scores + flat), most[v]), factor));
      lanes[v] = Add(lanes[v], StoreShares(shares, flat, share));
    }
  }
  for (int v = 0; v < kVectors; ++v) Store(wide + v * kLanes, lanes[v]);
  for (int j = 0; j < kTile; ++j) {
    float sum = wide[j];
    for (int f = 1; f < kFolds; ++f) sum += wide[f * kTile + j];
    total[j] = total[j] * shrink[j] + sum;
  }
}

// outputs[j][c] = outputs[j][c] * shrink[j] + sum over s of shares[s][j] * rows[s][c]. `columns` is a
// multiple of kColumnPad and the stride of outputs. rows[n] is a row of zeros or of finite numbers with
// shares of 0.
inline void ValueTile(const Share* shares, const uint16_t* const* rows, int64_t n, int64_t columns,
                      const float* shrink, float* outputs) {
  constexpr int kStep = kColumnVectors * kLanes;
  for (int64_t c = 0; c < columns; c += kStep) {
    Floats sums[kTile][kColumnVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kTile; ++j) {
      LoadSums(outputs + j * columns + c, sums[j]);
#pragma GCC unroll 2
      for (int v = 0; v < kColumnVectors; ++v) sums[j][v] = Multiply(sums[j][v], Fill(shrink[j]));
    }
    const Share* share = shares;
    for (int64_t s = 0; s < n; s += kShareRows, share += kTile) {
      Operands values[kColumnVectors];
      LoadColumns(rows + s, c, values);
#pragma GCC unroll 8
      for (int j = 0; j < kTile; ++j) {
        const Operands weight = BroadcastShare(share + j);
#pragma GCC unroll 2
        for (int v = 0; v < kColumnVectors; ++v) sums[j][v] = Dot(weight, values[v], sums[j][v]);
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < kTile; ++j) StoreSums(outputs + j * columns + c, sums[j]);
  }
}

// Forgets what the queries of a tile have seen.
inline void ClearTile(int64_t columns, const QuerySums& sums, int64_t query) {
  memset(sums.outputs + query * columns, 0, sizeof(float) * static_cast<size_t>(kTile * columns));
  for (int64_t j = query; j < query + kTile; ++j) {
    sums.largest[j] = -__builtin_inff();
    sums.total[j] = 0;
  }
}
