// Absorbed form, for decode and short calls: the up-projection of keys is moved to the query and that of
// values to the output, so all heads share one key and one value, the cached row itself.
//
//   q~[h] = q_nope[h] W_UK[h]   score = scale * ([q~ | q_rope] . row)   o[h] = sum softmax(score) latent
//   y[h] = W_UV[h] o[h]
//
// Bytes of a step: kv_b once (attention_project.inl.h), the cached rows once per task (from L2 for its
// further tiles). Work per position: 2 * H * (2 R + Dr) operations. Source: the DeepSeek-V2 paper, 2.1.

// Block of `next` at its start, to be asked of memory; nothing where `task` reads the same rows itself.
inline RowsAhead FirstRowsOf(const AbsorbedTask* next, const AbsorbedTask& task, int64_t row_bytes,
                             const uint16_t** rows) {
  if (next == nullptr || (next->cache == task.cache && next->start == task.start)) return kNoRowsAhead;
  const int64_t left = next->end - next->start, n = left < kPositionBlock ? left : kPositionBlock;
  FindRows(*next->cache, row_bytes, next->start, n, rows);
  return {rows, n, 0, 0};
}

// Sums over positions [start, end), which lie in one split. Row t of the task has its sums at first_sum + t *
// sum_stride, ...
inline void SumSplit(const AbsorbedStep& step, const AbsorbedTask& task, const AbsorbedTask* next,
                     int64_t start, int64_t end, const QuerySums& sums, int64_t first_sum, int64_t sum_stride,
                     const AttentionSizes& sizes, const AttentionScratch& scratch) {
  const int64_t heads = sizes.padded_heads(), width = sizes.cache_width(), columns = sizes.rank_width();
  const int64_t first_query = task.step_row * heads + task.first_head;
  const int64_t tiles = task.rows * task.heads / kTile, lines = PadTo(sizes.row_bytes(), 64) / 64;
  const Operand* queries = static_cast<const Operand*>(step.queries);
  Share* shares = static_cast<Share*>(scratch.shares);
  float shrink[kTile];

  for (int64_t t = 0; t < task.rows; ++t) {
    for (int64_t h = 0; h < task.heads; h += kTile) ClearTile(columns, sums, first_sum + t * sum_stride + h);
  }
  for (; start < end; start += kPositionBlock) {
    if (!scratch.pool->KeepGoing(scratch.thread)) return;
    const int64_t next_start = start + kPositionBlock, next_left = task.end - next_start;
    RowsAhead ahead = {scratch.ahead, next_left < kPositionBlock ? next_left : kPositionBlock, 0, 0};
    if (next_left > 0) {
      FindRows(*task.cache, sizes.row_bytes(), next_start, ahead.n, scratch.ahead);
    } else {
      ahead = FirstRowsOf(next, task, sizes.row_bytes(), scratch.ahead);
    }
    // From the last row to the first: each takes the first n of the block and ends them with the row of
    // zeros.
    int64_t tile = 0;
    for (int64_t t = task.rows - 1; t >= 0; --t) {
      const int64_t seen = task.first_position + t + 1, left = (seen < end ? seen : end) - start;
      const int64_t n = left < kPositionBlock ? left : kPositionBlock;
      if (n <= 0) break;
      if (t == task.rows - 1) ReadRows(*task.cache, sizes, start, n, scratch);
      scratch.rows[n] = scratch.zeros;
      for (int64_t h = 0; h < task.heads; h += kTile, ++tile) {
        ahead.first = lines * tile / tiles;
        ahead.last = lines * (tile + 1) / tiles;
        const int64_t sum = first_sum + t * sum_stride + h;
        ScoreTile(queries + (first_query + t * heads + h) * width, width, scratch.rows, n, scratch.scores,
                  ahead);
        SoftmaxTile(scratch.scores, n, static_cast<float>(step.params->scale), sums.largest + sum,
                    sums.total + sum, shrink, shares);
        ValueTile(shares, scratch.rows, n, columns, shrink, sums.outputs + sum * columns);
      }
    }
  }
}

// Both parts are scaled to the larger of their two maxima. Positions of `sums` lie before those of `split`.
inline void MergeSplit(const QuerySums& split, int64_t split_query, const QuerySums& sums, int64_t query,
                       float scale, const AttentionSizes& sizes) {
  const int64_t columns = sizes.rank_width();
  for (int64_t j = 0; j < kTile; ++j) {
    const int64_t from = split_query + j, to = query + j;
    const float most = split.largest[from] > sums.largest[to] ? split.largest[from] : sums.largest[to];
    const float shrink = Exp((sums.largest[to] - most) * scale);
    const float share = Exp((split.largest[from] - most) * scale);
    sums.largest[to] = most;
    sums.total[to] = sums.total[to] * shrink + split.total[from] * share;
    const Floats shrinks = Fill(shrink), shares = Fill(share);
    const float* added = split.outputs + from * columns;
    float* outputs = sums.outputs + to * columns;
    for (int64_t c = 0; c < columns; c += kLanes) {
      Store(outputs + c, MultiplyAdd(Load(added + c), shares, Multiply(Load(outputs + c), shrinks)));
    }
  }
}

inline void AbsorbedAttention(const AbsorbedStep& step, const AbsorbedTask& task, const AbsorbedTask* next,
                              const AttentionSizes& sizes, const AttentionScratch& scratch) {
  const int64_t heads = sizes.padded_heads(), first_sum = task.sums_row * heads + task.first_head;
  const float scale = static_cast<float>(step.params->scale);
  for (int64_t start = task.start; start < task.end; start += kPositionSplit) {
    const int64_t left = task.end - start, end = left < kPositionSplit ? task.end : start + kPositionSplit;
    if (start == task.start) {
      SumSplit(step, task, next, start, end, task.sums, first_sum, heads, sizes, scratch);
      continue;
    }
    SumSplit(step, task, next, start, end, scratch.split, 0, task.heads, sizes, scratch);
    for (int64_t t = 0; t < task.rows; ++t) {
      if (task.first_position + t < start) continue;  // sees nothing of it
      for (int64_t h = 0; h < task.heads; h += kTile)
        MergeSplit(scratch.split, t * task.heads + h, task.sums, first_sum + t * heads + h, scale, sizes);
    }
  }
}
