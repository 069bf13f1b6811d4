// Absorbed form, for decode and short calls: the up-projection of keys is moved to the query and that of
// values to the output, so all heads share one key and one value, the cached row itself.
//
//   q~[h] = q_nope[h] W_UK[h]   score = scale * ([q~ | q_rope] . row)   o[h] = sum softmax(score) latent
//   y[h] = W_UV[h] o[h]
//
// Bytes of one row: kv_b once, the cached rows once per task (from L2 for its further tiles).
// Work per position: 2 * H * (2 R + Dr) operations. Source: the DeepSeek-V2 paper, 2.1.

// out[t] = q[t] W for `rows` rows: W's rows are walked in order, a lane is a column.
inline void ProjectQueries(const Weight& w, int64_t first, int64_t count, const float* q, int64_t q_stride,
                           int64_t rows, int64_t width, float* weight_rows, float* out) {
  static_assert(kWeightRows == 4);
  memset(out, 0, sizeof(float) * static_cast<size_t>(rows * width));
  for (int64_t d = 0; d < count; d += kWeightRows) {
    const int64_t n = count - d < kWeightRows ? count - d : kWeightRows;
    for (int64_t i = 0; i < n; ++i) DecodePadded(w, first + d + i, width, weight_rows + i * width);
    if (n < kWeightRows)
      memset(weight_rows + n * width, 0, sizeof(float) * static_cast<size_t>((kWeightRows - n) * width));
    for (int64_t t = 0; t < rows; ++t) {
      const float* factors = q + t * q_stride + d;
      float* sums = out + t * width;
      const Floats q0 = Fill(factors[0]), q1 = Fill(n > 1 ? factors[1] : 0.0f);
      const Floats q2 = Fill(n > 2 ? factors[2] : 0.0f), q3 = Fill(n > 3 ? factors[3] : 0.0f);
      for (int64_t c = 0; c < width; c += kLanes) {
        const float* w_rows = weight_rows + c;
        Floats sum = MultiplyAdd(q0, Load(w_rows), Load(sums + c));
        sum = MultiplyAdd(q1, Load(w_rows + width), sum);
        sum = MultiplyAdd(q2, Load(w_rows + 2 * width), sum);
        Store(sums + c, MultiplyAdd(q3, Load(w_rows + 3 * width), sum));
      }
    }
  }
}

// y[t][first + i] = W row . o[t] for `rows` rows; a lane is a column, the lanes are added at the end. Columns
// of o past R (sums of rope keys) meet the zeros that pad W.
inline void ProjectOutputs(const Weight& w, int64_t first, int64_t count, const float* o, int64_t o_stride,
                           int64_t rows, int64_t width, float* weight_rows, float* y, int64_t y_stride) {
  static_assert(kWeightRows == 4);
  for (int64_t d = 0; d < count; d += kWeightRows) {
    const int64_t n = count - d < kWeightRows ? count - d : kWeightRows;
    for (int64_t i = 0; i < n; ++i) DecodePadded(w, first + d + i, width, weight_rows + i * width);
    for (int64_t t = 0; t < rows; ++t) {
      Floats sums[kWeightRows] = {Fill(0), Fill(0), Fill(0), Fill(0)};
      for (int64_t c = 0; c < width; c += kLanes) {
        const Floats x = Load(o + t * o_stride + c);
#pragma GCC unroll 4
        for (int i = 0; i < kWeightRows; ++i)
          sums[i] = MultiplyAdd(x, Load(weight_rows + i * width + c), sums[i]);
      }
      for (int64_t i = 0; i < n; ++i) y[t * y_stride + d + i] = Sum(sums[i]);
    }
  }
}

// The queries of a task as operands: [row, padded head, cache_width].
inline void MakeAbsorbedQueries(const AttentionTask& task, const AttentionSizes& sizes,
                                const AttentionScratch& scratch, int64_t heads) {
  const LatentAttentionParams& p = *task.params;
  const int64_t width = sizes.cache_width(), first_row = task.segment->first_row + task.first_row;
  Operand* queries = static_cast<Operand*>(scratch.queries);
  memset(queries, 0, sizeof(Operand) * static_cast<size_t>(task.rows * heads * width));
  for (int64_t i = 0; i < task.heads; ++i) {
    const int64_t head = task.first_head + i;
    const float* q = p.q.row(first_row) + head * (p.nope_dim + p.rope_dim);
    ProjectQueries(*p.kv_b, head * (p.nope_dim + p.value_dim), p.nope_dim, q, p.q.stride, task.rows,
                   sizes.rank_width(), scratch.weight_rows, scratch.projected);
    for (int64_t t = 0; t < task.rows; ++t) {
      Operand* query = queries + (t * heads + i) * width;
      ToOperands(scratch.projected + t * sizes.rank_width(), p.kv_rank, query);
      ToOperands(q + t * p.q.stride + p.nope_dim, p.rope_dim, query + p.kv_rank);
    }
  }
}

inline void AbsorbedAttention(const AttentionTask& task, const AttentionSizes& sizes,
                              const AttentionScratch& scratch) {
  const LatentAttentionParams& p = *task.params;
  const Segment& segment = *task.segment;
  const int64_t heads = PadTo(task.heads, kTile), width = sizes.cache_width(), columns = sizes.rank_width();
  const int64_t first_position = segment.first_position + task.first_row;
  const Operand* queries = static_cast<const Operand*>(scratch.queries);
  Share* shares = static_cast<Share*>(scratch.shares);
  float shrink[kTile];

  MakeAbsorbedQueries(task, sizes, scratch, heads);
  for (int64_t q = 0; q < task.rows * heads; q += kTile) {
    ClearTile(columns, scratch.outputs + q * columns, scratch.largest + q, scratch.total + q);
  }
  const int64_t positions = first_position + task.rows, tiles = task.rows * heads / kTile;
  for (int64_t start = 0; start < positions; start += kPositionBlock) {
    if (!task.pool->KeepGoing(task.thread)) return;
    const int64_t next = start + kPositionBlock, next_left = positions - next;
    RowsAhead ahead = {scratch.ahead, next_left < kPositionBlock ? next_left : kPositionBlock, 0, 0};
    if (next_left > 0) FindRows(segment.cache, width, next, ahead.n, scratch.ahead);
    // From the last row to the first: each takes the first n of the block and ends them with the row of
    // zeros.
    for (int64_t t = task.rows - 1; t >= 0; --t) {
      const int64_t left = first_position + t + 1 - start, n = left < kPositionBlock ? left : kPositionBlock;
      if (n <= 0) break;
      if (t == task.rows - 1) FindRows(segment.cache, width, start, n, scratch.rows);
      scratch.rows[n] = scratch.zeros;
      for (int64_t q = t * heads; q < (t + 1) * heads; q += kTile) {
        ahead.first = width / kColumnPad * (q / kTile) / tiles;
        ahead.last = width / kColumnPad * (q / kTile + 1) / tiles;
        ScoreTile(queries + q * width, width, scratch.rows, n, scratch.scores, ahead);
        SoftmaxTile(scratch.scores, n, static_cast<float>(p.scale), scratch.largest + q, scratch.total + q,
                    shrink, shares);
        ValueTile(shares, scratch.rows, n, columns, shrink, scratch.outputs + q * columns);
      }
    }
  }
  for (int64_t q = 0; q < task.rows * heads; ++q) {
    float* o = scratch.outputs + q * columns;
    const Floats inverse = Fill(1.0f / scratch.total[q]);
    for (int64_t c = 0; c < columns; c += kLanes) Store(o + c, Multiply(Load(o + c), inverse));
  }
  for (int64_t i = 0; i < task.heads; ++i) {
    const int64_t head = task.first_head + i;
    ProjectOutputs(*p.kv_b, head * (p.nope_dim + p.value_dim) + p.nope_dim, p.value_dim,
                   scratch.outputs + i * columns, heads * columns, task.rows, columns, scratch.weight_rows,
                   p.y.row(segment.first_row + task.first_row) + head * p.value_dim, p.y.stride);
  }
}
