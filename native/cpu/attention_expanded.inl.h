// Expanded form, for long calls: keys and values of one head are rebuilt from the cached latents, block by
// block, and all rows of the call use them. Rebuilding costs 2 R (Dn + Dv) operations per position and head,
// a query only 2 (Dn + Dr + Dv) instead of the absorbed 2 (2 R + Dr): for K2 it pays from about 171 rows on.
//
//   k[s] = [W_UK[h] c_s | rope key s]   v[s] = W_UV[h] c_s, both rounded to bf16

// Rows [first, first + count) of kv_b as operands, padded with rows of zeros to whole tiles. Returns the end.
inline Operand* MakeWeightOperands(const Weight& w, int64_t first, int64_t count, int64_t width,
                                   float* decoded, Operand* out) {
  for (int64_t i = 0; i < count; ++i, out += width) {
    DecodePadded(w, first + i, width, decoded);
    ToOperands(decoded, width, out);
  }
  const int64_t missing = PadTo(count, kTile) - count;
  memset(out, 0, sizeof(Operand) * static_cast<size_t>(missing * width));
  return out + missing * width;
}

// out[s][d] = weights[d] . latent of row s, rounded to bf16; d runs over whole tiles.
inline void RebuildRows(const Operand* weights, int64_t count, const AttentionSizes& sizes,
                        const AttentionScratch& scratch, int64_t n, int64_t stride, uint16_t* out) {
  for (int64_t d = 0; d < count; d += kTile) {
    ScoreTile(weights + d * sizes.rank_width(), sizes.rank_width(), scratch.rows, n, scratch.scores);
    for (int64_t s = 0; s < n; ++s) StoreBf16x8(out + s * stride + d, scratch.scores + s * kTile);
  }
}

// 8 rows of the call that belong to one head: position of the first, how many there really are.
inline void AttendTile(const LatentAttentionParams& p, int64_t head, int64_t row, int64_t count,
                       int64_t position, int64_t start, int64_t block, const AttentionSizes& sizes,
                       const AttentionScratch& scratch, float* largest, float* total, float* outputs) {
  const int64_t width = sizes.key_width(), query_width = p.nope_dim + p.rope_dim;
  const int64_t left = position + count - start, n = left < block ? left : block;
  Operand* queries = static_cast<Operand*>(scratch.queries);
  for (int64_t j = 0; j < count; ++j)
    ToOperands(p.q.row(row + j) + head * query_width, query_width, queries + j * width);
  memset(queries + count * width, 0, sizeof(Operand) * static_cast<size_t>((kTile - count) * width));
  ScoreTile(queries, width, scratch.keys, n, scratch.scores);
  for (int64_t j = 0; j < count; ++j) {
    const int64_t seen = position + j + 1 - start;
    for (int64_t s = seen < 0 ? 0 : seen; s < n; ++s) scratch.scores[s * kTile + j] = -__builtin_inff();
  }
  float shrink[kTile];
  Share* shares = static_cast<Share*>(scratch.shares);
  SoftmaxTile(scratch.scores, n, static_cast<float>(p.scale), largest, total, shrink, shares);
  ValueTile(shares, scratch.values, n, sizes.value_width(), shrink, outputs);
}

inline void ExpandedAttention(const ExpandedTask& task, const AttentionSizes& sizes,
                              const AttentionScratch& scratch) {
  const LatentAttentionParams& p = *task.params;
  const Segment& segment = *task.segment;
  const int64_t head = task.head, first_weight = head * (p.nope_dim + p.value_dim);
  const int64_t key_width = sizes.key_width(), value_width = sizes.value_width(),
                rank_width = sizes.rank_width();
  Operand* key_weights = static_cast<Operand*>(scratch.weights);
  Operand* value_weights =
      MakeWeightOperands(*p.kv_b, first_weight, p.nope_dim, rank_width, scratch.weight_rows, key_weights);
  MakeWeightOperands(*p.kv_b, first_weight + p.nope_dim, p.value_dim, rank_width, scratch.weight_rows,
                     value_weights);
  memset(scratch.queries, 0, sizeof(Operand) * static_cast<size_t>(kTile * key_width));
  for (int64_t t = 0; t < segment.rows; t += kTile) {
    ClearTile(value_width, {scratch.outputs, scratch.largest, scratch.total}, t);
  }

  const int64_t positions = segment.first_position + segment.rows;
  for (int64_t start = 0; start < positions; start += kPositionBlock) {
    if (!scratch.pool->KeepGoing(scratch.thread)) return;
    const int64_t block = positions - start < kPositionBlock ? positions - start : kPositionBlock;
    ReadRows(segment.cache, sizes, start, block, scratch);
    RebuildRows(key_weights, p.nope_dim, sizes, scratch, block, key_width, scratch.key_memory);
    for (int64_t s = 0; s < block; ++s) {
      uint16_t* key = scratch.key_memory + s * key_width + p.nope_dim;
      memcpy(key, scratch.rows[s] + p.kv_rank, sizeof(uint16_t) * static_cast<size_t>(p.rope_dim));
      memset(key + p.rope_dim, 0,
             sizeof(uint16_t) * static_cast<size_t>(key_width - p.nope_dim - p.rope_dim));
    }
    RebuildRows(value_weights, p.value_dim, sizes, scratch, block, value_width, scratch.value_memory);
    if (block < kPositionBlock) {
      memset(scratch.value_memory + block * value_width, 0,
             sizeof(uint16_t) * static_cast<size_t>(value_width));
    }
    for (int64_t t = 0; t < segment.rows; t += kTile) {
      const int64_t count = segment.rows - t < kTile ? segment.rows - t : kTile;
      const int64_t position = segment.first_position + t;
      if (position + count <= start) continue;
      AttendTile(p, head, segment.first_row + t, count, position, start, block, sizes, scratch,
                 scratch.largest + t, scratch.total + t, scratch.outputs + t * value_width);
    }
  }
  for (int64_t t = 0; t < segment.rows; ++t) {
    const float inverse = 1.0f / scratch.total[t];
    float* y = p.y.row(segment.first_row + t) + head * p.value_dim;
    for (int64_t d = 0; d < p.value_dim; ++d) y[d] = scratch.outputs[t * value_width + d] * inverse;
  }
}
