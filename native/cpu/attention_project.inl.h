// The projections around absorbed attention, of one head for all rows of a step: kv_b is read once for up to
// kStepRows rows, whichever sessions they belong to.
//
//   q~[t] = q_nope[t] W_UK[h]   [rows, Dn] x [Dn, R]      y[t] = W_UV[h] o[t]   [rows, R] x [R, Dv]
//
// Bound: bytes of kv_b for few rows, multiply-adds in f32 for many. Nothing is rounded but the query that
// comes out. Every (row, column) has an accumulator of its own that walks the sum in order, so the number of
// rows never matters.

// Rows that share the load of a weight.
constexpr int kProjectedRows = 4;

// Decodes n <= kWeightRows rows of w.
inline void DecodeRows(const Weight& w, int64_t first, int64_t n, int64_t width, float* out) {
  for (int64_t i = 0; i < n; ++i) DecodePadded(w, first + i, width, out + i * width);
}

// sums[t] += sum over i < n of factors[t][i] * weights[i]; a lane is a column.
template <int kRows>
inline void AddScaledRows(const float* weights, int64_t n, int64_t width, const float* const* factors,
                          float* sums) {
  for (int64_t c = 0; c < width; c += kColumnVectors * kLanes) {
    Floats lanes[kRows][kColumnVectors];
#pragma GCC unroll 4
    for (int t = 0; t < kRows; ++t) {
#pragma GCC unroll 2
      for (int v = 0; v < kColumnVectors; ++v) lanes[t][v] = Load(sums + t * width + c + v * kLanes);
    }
    for (int64_t i = 0; i < n; ++i) {
      Floats weight[kColumnVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kColumnVectors; ++v) weight[v] = Load(weights + i * width + c + v * kLanes);
#pragma GCC unroll 4
      for (int t = 0; t < kRows; ++t) {
        const Floats factor = Fill(factors[t][i]);
#pragma GCC unroll 2
        for (int v = 0; v < kColumnVectors; ++v) lanes[t][v] = MultiplyAdd(factor, weight[v], lanes[t][v]);
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < kRows; ++t) {
#pragma GCC unroll 2
      for (int v = 0; v < kColumnVectors; ++v) Store(sums + t * width + c + v * kLanes, lanes[t][v]);
    }
  }
}

// y[t][i] = weights[i] . x[t] * factors[t] for i < n; lanes are columns and added at the end.
template <int kRows>
inline void MultiplyRows(const float* weights, int64_t n, int64_t width, const float* const* x,
                         const float* factors, float* const* y) {
  // As many weights as leave the accumulators in registers.
  constexpr int kWeights = 2 * kScoreRows;
  static_assert(kWeightRows % kWeights == 0);
  for (int64_t i = 0; i < n; i += kWeights) {
    Floats lanes[kRows][kWeights];
    for (int t = 0; t < kRows; ++t) {
      for (int j = 0; j < kWeights; ++j) lanes[t][j] = Fill(0);
    }
    for (int64_t c = 0; c < width; c += kLanes) {
      Floats columns[kRows];
#pragma GCC unroll 4
      for (int t = 0; t < kRows; ++t) columns[t] = Load(x[t] + c);
#pragma GCC unroll 4
      for (int j = 0; j < kWeights; ++j) {
        const Floats weight = Load(weights + (i + j) * width + c);
#pragma GCC unroll 4
        for (int t = 0; t < kRows; ++t) lanes[t][j] = MultiplyAdd(columns[t], weight, lanes[t][j]);
      }
    }
    for (int t = 0; t < kRows; ++t) {
      for (int j = 0; j < kWeights && i + j < n; ++j) y[t][i + j] = Sum(lanes[t][j]) * factors[t];
    }
  }
}

// By the number of rows.
constexpr decltype(&AddScaledRows<1>) kAddScaledRows[kProjectedRows] = {AddScaledRows<1>, AddScaledRows<2>,
                                                                        AddScaledRows<3>, AddScaledRows<4>};
constexpr decltype(&MultiplyRows<1>) kMultiplyRows[kProjectedRows] = {MultiplyRows<1>, MultiplyRows<2>,
                                                                      MultiplyRows<3>, MultiplyRows<4>};

inline void ProjectQueries(const AbsorbedStep& step, int64_t head, const AttentionSizes& sizes,
                           const AttentionScratch& scratch) {
  const LatentAttentionParams& p = *step.params;
  const int64_t width = sizes.rank_width(), first_weight = head * (p.nope_dim + p.value_dim);
  const float* q[kStepRows];
  for (int64_t t = 0; t < step.rows; ++t) q[t] = p.q.row(step.numbers[t]) + head * (p.nope_dim + p.rope_dim);
  memset(scratch.projected, 0, sizeof(float) * static_cast<size_t>(step.rows * width));
  for (int64_t d = 0; d < p.nope_dim; d += kWeightRows) {
    const int64_t n = p.nope_dim - d < kWeightRows ? p.nope_dim - d : kWeightRows;
    DecodeRows(*p.kv_b, first_weight + d, n, width, scratch.weight_rows);
    for (int64_t t = 0; t < step.rows; t += kProjectedRows) {
      const float* factors[kProjectedRows];
      const int64_t rows = step.rows - t < kProjectedRows ? step.rows - t : kProjectedRows;
      for (int64_t i = 0; i < rows; ++i) factors[i] = q[t + i] + d;
      kAddScaledRows[rows - 1](scratch.weight_rows, n, width, factors, scratch.projected + t * width);
    }
  }
  for (int64_t t = 0; t < step.rows; ++t) {
    Operand* query =
        static_cast<Operand*>(step.queries) + (t * sizes.padded_heads() + head) * sizes.cache_width();
    ToOperands(scratch.projected + t * width, p.kv_rank, query);
    ToOperands(q[t] + p.nope_dim, p.rope_dim, query + p.kv_rank);
  }
}

// Columns of the sums past R (of rope keys) meet the zeros that pad the weights.
inline void ProjectOutputs(const AbsorbedStep& step, int64_t head, const AttentionSizes& sizes,
                           const AttentionScratch& scratch) {
  const LatentAttentionParams& p = *step.params;
  const int64_t width = sizes.rank_width();
  const int64_t first_weight = head * (p.nope_dim + p.value_dim) + p.nope_dim;
  const float* outputs[kStepRows];
  float factors[kStepRows];
  for (int64_t t = 0; t < step.rows; ++t) {
    const int64_t query = t * sizes.padded_heads() + head;
    outputs[t] = step.sums.outputs + query * width;
    factors[t] = 1.0f / step.sums.total[query];
  }
  for (int64_t d = 0; d < p.value_dim; d += kWeightRows) {
    const int64_t n = p.value_dim - d < kWeightRows ? p.value_dim - d : kWeightRows;
    DecodeRows(*p.kv_b, first_weight + d, n, width, scratch.weight_rows);
    for (int64_t t = 0; t < step.rows; t += kProjectedRows) {
      float* y[kProjectedRows];
      const int64_t rows = step.rows - t < kProjectedRows ? step.rows - t : kProjectedRows;
      for (int64_t i = 0; i < rows; ++i) y[i] = p.y.row(step.numbers[t + i]) + head * p.value_dim + d;
      kMultiplyRows[rows - 1](scratch.weight_rows, n, width, outputs + t, factors + t, y);
    }
  }
}
